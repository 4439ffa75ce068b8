"""The seed of the image that is drawn for a fact."""

import hashlib


def image_seed(fact_id: str) -> int:
    """Return a seed below 2**63 from a fact's id.

    It is the same on every machine and for every arm.
    """
    return int.from_bytes(hashlib.sha256(fact_id.encode()).digest()[:8], "big") >> 1
