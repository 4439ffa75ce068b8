"""Models as they are released, without any attack."""
