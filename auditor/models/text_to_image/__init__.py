"""Text-to-image diffusion pipelines."""
