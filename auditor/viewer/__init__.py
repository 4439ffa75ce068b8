"""Read-only page over a folder of certificates and evidence stores.

It is served to this machine alone.
"""
