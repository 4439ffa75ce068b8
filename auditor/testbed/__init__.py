"""Small worlds trained from scratch: original, retrained, and unlearned by known methods."""
