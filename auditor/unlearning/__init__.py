"""Ways to unlearn, each in its own module, and the training that testbeds and controls share."""
