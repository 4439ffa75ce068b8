"""Report of what an engine that writes texts did in an audit."""

from collections.abc import Iterable

from auditor.core.messages import Message, message
from auditor.engine.execution import ENGINE_NOTE
from auditor.models.text_engine import AskedEngine
from auditor.store.base import EvidenceStore


def engine_message(
    asked: AskedEngine | None, store: EvidenceStore, keys: Iterable[str]
) -> Message | None:
    """Return what an engine wrote, and why it was refused.

    Args:
        asked: The plan's engine.
        store: Where the evidence is.
        keys: Keys of the finished jobs.

    Returns:
        None where the plan names no engine.

    Raises:
        EvidenceChangedError: Evidence was changed after it was measured, or is not there.
    """
    if asked is None:
        return None
    noted = [store.notes(key).get(ENGINE_NOTE) for key in keys]
    counted = [note for note in noted if isinstance(note, dict)]
    refused = [Message.model_validate(said) for note in counted for said in note["refused"]]
    texts, network, read = (
        sum(int(note[name]) for note in counted) for name in ("engine", "network", "read")
    )
    return message(
        "text_engine_wrote",
        engine=asked.versions["vllm"],
        texts=texts,
        network=network,
        read=read,
        jobs=sum(bool(note["refused"]) for note in counted),
        refused=list(dict.fromkeys(refused)),
    )
