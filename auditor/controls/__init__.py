"""Positive controls: shallow suppressions planted for the attacks of an audit to find."""
