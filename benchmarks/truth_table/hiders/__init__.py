"""Ways to seem to have forgotten, each undone by one line."""
