"""A read-only page over a folder of certificates and evidence stores, for this machine alone."""
