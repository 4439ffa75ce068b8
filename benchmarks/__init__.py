"""Measurements that are too long for tests; results in RESULTS.md."""
