"""Attacks on text-to-image models."""
