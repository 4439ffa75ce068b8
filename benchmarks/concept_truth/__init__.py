"""Text-to-image models whose truth is known, audited."""
