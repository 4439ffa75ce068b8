"""Prompts that searches found, as a data set."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from auditor.certificate.redaction import check_key, marker
from auditor.certificate.schema import Certificate
from auditor.core.aliases import attack_name
from auditor.core.arms import Arm
from auditor.store.base import EvidenceStore
from auditor.verification.evidence_rows import check_listed
from auditor.verification.unreadable import refused_if_unreadable

_KINDS: Mapping[str, str] = {"suffixes": "suffix", "prompts": "prompt", "examples": "prompt"}
"""Notes of searches that are lists of texts, with what a text is to the question: it stands behind
it, or it is the whole, in which `{question}` stands for it."""
_FOUND = "found"
"""Note of searches that is a list of whole prompts by concept."""
_TEXTS = TypeAdapter(list[str])
_BY_CONCEPT = TypeAdapter(dict[str, list[str]])
_FACTS = TypeAdapter(list[list[str]])
_LOSSES = TypeAdapter(list[float])


class FoundPrompt(BaseModel):
    """A text that a search found on one arm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attack: str
    variant: str
    arm: str
    """Arm on which it was found."""
    seed: int
    kind: str
    """`suffix`: it stands behind the question. `prompt`: it is asked as it is; `{question}` in it
    stands for the fact's own prompt."""
    text: str
    facts: tuple[str, ...] = ()
    """Ids of the facts that are asked with it, or its concept; empty where the search noted
    none."""
    loss_before: float | None = None
    """Loss of the search without it."""
    loss_after: float | None = None
    """Loss of the search with it."""

    def redacted(self, key: bytes) -> "FoundPrompt":
        """The same with keyed digests in place of text and facts.

        Raises:
            AuditorError: the key is too short.
        """
        check_key(key)
        mark = marker(key)
        facts = tuple(map(mark, self.facts))
        return self.model_copy(update={"text": mark(self.text), "facts": facts})


@refused_if_unreadable()
def found_prompts(certificate: Certificate, store: EvidenceStore) -> tuple[FoundPrompt, ...]:
    """Gather the prompts that a certificate's searches found.

    Args:
        certificate: names the measurements, which name the searches whose findings they used.
        store: holds their evidence.

    Raises:
        EvidenceChangedError: evidence is missing, or is not what the certificate was made from.
        ContradictedError: a search was used that the certificate's list of evidence lacks.
    """
    found: list[FoundPrompt] = []
    for row in certificate.matrix:
        searches: dict[str, str] = {}
        for key in (key for keys in row.jobs.values() for key in keys):
            check_listed(certificate, store, key)
            for entry in store.identity(key).get("pool", ()):
                searches[entry["key"]] = str(Arm(entry["arm"]))
        for key, arm in searches.items():
            check_listed(certificate, store, key)
            said: dict[str, Any] = {
                "attack": attack_name(row.attack),
                "variant": row.variant,
                "arm": arm,
                "seed": store.identity(key)["seed"],
            }
            found += [FoundPrompt(**said, **text) for text in _texts(store.notes(key))]
    return tuple(found)


def _texts(notes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Texts that a search noted, each with what it noted of them."""
    for note, kind in _KINDS.items():
        if note not in notes:
            continue
        texts = _TEXTS.validate_python(notes[note])
        beside: dict[str, list[Any]] = {
            "facts": _FACTS.validate_python(notes.get("asked", [])),
            "loss_before": _LOSSES.validate_python(_listed(notes.get("loss_before"))),
            "loss_after": _LOSSES.validate_python(_listed(notes.get("loss_after"))),
        }
        for place, text in enumerate(texts):
            own = {n: v[place] for n, v in beside.items() if len(v) == len(texts)}
            yield {"kind": kind, "text": text, **own}
    if isinstance(notes.get(_FOUND), dict):
        for concept, prompts in _BY_CONCEPT.validate_python(notes[_FOUND]).items():
            yield from ({"kind": "prompt", "text": text, "facts": [concept]} for text in prompts)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else []
