"""Ways to make a model seem to have forgotten; each is undone by one line of its owner."""
