"""Asking in other ways: other words, a given beginning, samples, searched prompts."""
