"""Logs of evaluations by other tools, which stand in for models."""
