"""The certificate: what was decided, on what evidence, and how to check it."""
