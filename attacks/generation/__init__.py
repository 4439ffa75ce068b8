"""Generation from searched latents, and the quality of what is generated."""
