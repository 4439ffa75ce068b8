"""Prompt attacks on models with an erased concept."""
