"""Forget, retain and holdout facts; readers for the field's formats."""
