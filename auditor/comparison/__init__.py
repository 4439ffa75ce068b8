"""Comparison of two certificates, and ranking of many."""
