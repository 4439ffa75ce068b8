"""What "knows" means: from what a model left behind and a fact to knowledge K in [0, 1]."""
