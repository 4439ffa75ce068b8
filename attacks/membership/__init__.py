"""Telling what a model was trained on from how sure it is of it."""
