"""Metrics: how much a model knows of a fact, K in [0, 1]."""
