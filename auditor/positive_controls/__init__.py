"""Positive controls: suppressions planted in the original for attacks to find."""
