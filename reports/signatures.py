"""Knowledge of a certificate's signatures, in words."""

import re
from dataclasses import dataclass
from typing import Literal

from auditor.report import Signatures

KEY_DIGITS = 12
"""Most digits of a key's id that are shown."""

_KEY_ID = re.compile(r"[0-9a-f]+")
_NAMED = 80
"""Most characters of a name under which somebody signed without a key."""

KEYS = 8
"""Most keys that are named: many keys must not push out whether they were checked."""


@dataclass(frozen=True)
class SignatureState:
    """State of the signatures, in words.

    Attributes:
        state: state for the colour.
        words: what is known.
        advice: what a reader does about it.
    """

    state: Literal["unsigned", "unchecked", "checked"]
    words: str
    advice: str


def signature_state(signatures: Signatures | None) -> SignatureState:
    """Returns what the front page says of the signatures.

    A signature without a key counts as none.
    """
    if signatures is None or not signatures.keys:
        advice = ": anybody can write such a page, so ask for the signed certificate"
        return SignatureState("unsigned", "not signed", advice)
    named = not all(map(_KEY_ID.fullmatch, signatures.keys))
    keys = ", ".join(map(_shown, signatures.keys[:KEYS]))
    if len(signatures.keys) > KEYS:
        keys += f" and {len(signatures.keys) - KEYS} more"
    if not signatures.checked:
        several = "s" if len(signatures.keys) > 1 else ""
        by = keys if named else f"key{several} {keys}"
        words = f"signed by {by}; NOT checked when this report was made"
        return SignatureState("unchecked", words, ": run")
    trusted = "what" if named else "the keys that"
    words = f"signatures of {keys} checked against {trusted} the maker of this report trusts"
    advice = "; a page can be forged, so verify the envelope:"
    return SignatureState("checked", words, advice)


def _shown(key: str) -> str:
    """Return the beginning of a key's id, or who signed without."""
    length = KEY_DIGITS if _KEY_ID.fullmatch(key) else _NAMED
    return key if len(key) <= length else f"{key[:length]}…"


def signature_sentence(signatures: Signatures | None) -> str:
    """Returns the same as a sentence, for reports that are plain text."""
    words = signature_state(signatures).words
    return f"{words[0].upper()}{words[1:]}."
