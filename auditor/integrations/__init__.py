"""Parts for other tools: inspect_ai and the Trainer of transformers."""
