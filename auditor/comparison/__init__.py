"""Certificates beside one another: what changed between two, and which of many is best."""
