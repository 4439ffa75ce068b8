"""Ways to a PASS for a model that knows, by what its submitter controls."""
