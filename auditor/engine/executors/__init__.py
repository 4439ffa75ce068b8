"""Executors: ways to run the jobs of an audit."""
