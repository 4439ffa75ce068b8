"""What is known of a certificate's signatures, in one sentence."""

from auditor.report import Signatures
from reports.visible_text import inline

KEYS_SHOWN = 8


def signature_sentence(signatures: Signatures | None) -> str:
    """Returns the sentence; ids of keys are made visible, but not escaped."""
    if signatures is None:
        return "Not signed."
    count = len(signatures.keys)
    if not count:
        return "Wrapped for signing, but nobody signed."
    named = ", ".join(inline(key, 80) for key in signatures.keys[:KEYS_SHOWN])
    more = f" and {count - KEYS_SHOWN} more" if count > KEYS_SHOWN else ""
    if signatures.checked:
        return (
            "Signed, and checked against the keys that whoever made this report trusts: "
            f"{named}{more}."
        )
    return f"Says it is signed by {named}{more}; the signatures were not checked for this report."
