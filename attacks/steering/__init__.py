"""Steering activations."""
