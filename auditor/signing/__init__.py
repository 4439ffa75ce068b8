"""Signing and opening of certificates, with keys as PEM files.

A signed certificate is an in-toto Statement in a DSSE envelope.
"""
