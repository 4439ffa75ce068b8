"""Common parts of all kinds of models that answer in text."""
