"""Report of what an engine that writes texts did in an audit."""

from collections.abc import Iterable

from auditor.core.hashing import canonical_json
from auditor.core.messages import Message, message
from auditor.engine.execution import ENGINE_NOTE
from auditor.store.base import EvidenceStore


def engine_message(store: EvidenceStore, keys: Iterable[str]) -> Message | None:
    """Return what an engine wrote, and why it was refused.

    Args:
        store: Where the evidence is.
        keys: Keys of the finished jobs, in any order.

    Returns:
        None where no job was to ask an engine.

    Raises:
        EvidenceChangedError: Evidence was changed after it was measured, or is not there.
    """
    asked = {key: engine for key in keys if (engine := store.identity(key).get("engine"))}
    if not asked:
        return None
    counted = [store.notes(key)[ENGINE_NOTE] for key in asked]
    refused = {canonical_json(said): said for note in counted for said in note["refused"]}
    texts, network, read = (
        sum(int(note[name]) for note in counted) for name in ("engine", "network", "read")
    )
    return message(
        "text_engine_wrote",
        engine=", ".join(sorted({engine["versions"]["vllm"] for engine in asked.values()})),
        texts=texts,
        network=network,
        read=read,
        jobs=sum(bool(note["refused"]) for note in counted),
        refused=[said for _, said in sorted(refused.items())],
    )
