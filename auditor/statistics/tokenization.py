"""Whether the arms' own tokenizers read the facts as the original's does.

An arm whose tokenizer or chat template makes other tokens of a fact was asked something else than
the original by every attack that asks through it. That blocks a PASS; it fails no model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from auditor.core.arms import Arm
from auditor.core.messages import Message, message

NOTE = "tokenization"
"""Name under which a measurement notes it."""


def tokenization_note(otherwise: int, facts: int) -> dict[str, Any]:
    """Return what a measurement notes of its arm's tokenizer, under its name.

    Args:
        otherwise: facts of which the arm's own tokenizer makes other tokens than the original's.
        facts: facts that were compared.
    """
    return {NOTE: {"read_otherwise": otherwise, "facts": facts}}


def read_otherwise(attack: str, notes: Mapping[str, Sequence[Mapping[str, Any]]]) -> Message | None:
    """Say which arms' tokenizers read facts otherwise than the original's.

    Args:
        attack: label of the attack that compared them.
        notes: arm to what its measurements noted.

    Returns:
        None where all read alike, or nothing was noted.
    """
    found = {arm: [note[NOTE] for note in noted if NOTE in note] for arm, noted in notes.items()}
    arms = {
        str(arm): max(note["read_otherwise"] for note in noted)
        for arm, noted in found.items()
        if any(note["read_otherwise"] for note in noted)
    }
    if not arms:
        return None
    facts = max(note["facts"] for noted in found.values() for note in noted)
    return message("read_otherwise", attack=attack, arms=arms, facts=facts)


def asked_otherwise(attack: str, prompts: Mapping[str, str | None]) -> Message | None:
    """Say which arms were asked in other tokens than the original.

    Args:
        attack: label of the attack that asked them.
        prompts: arm to the digest of the token ids that it was asked in; None where nothing was
            kept of them.

    Returns:
        None where all were asked alike, or nothing was kept.
    """
    own = prompts.get(Arm.ORIGINAL)
    arms = [str(arm) for arm, found in prompts.items() if found != own]
    if own is None or not arms:
        return None
    return message("asked_in_other_tokens", attack=attack, arms=arms)
