"""Logs of evaluations by other tools, one module a layout."""
