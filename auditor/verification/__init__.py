"""Verification of certificates.

The verdict is computed again, and the files are checked.
"""
