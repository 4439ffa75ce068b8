"""Models under audit: where they are, how they open, one folder a kind."""
