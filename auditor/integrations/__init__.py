"""Doors into other tools: a task of inspect_ai, a callback of transformers' Trainer."""
