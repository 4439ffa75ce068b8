"""Models under audit: load, hash, copy, generate, score."""
