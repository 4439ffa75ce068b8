"""Encoder-decoders that answer in text."""
