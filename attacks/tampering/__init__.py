"""Changing the weights or activations without any training."""
