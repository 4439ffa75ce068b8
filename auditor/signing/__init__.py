"""Certificates signed and opened: in-toto Statements in DSSE envelopes, with keys as PEM files."""
