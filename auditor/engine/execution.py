"""Running one job against a store."""

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import (
    AuditorError,
    DoesNotFitError,
    LostContextError,
    OpeningError,
    UnavailableError,
)
from auditor.core.faults import is_context_lost
from auditor.core.findings import Finding
from auditor.core.messages import message, plain
from auditor.core.records import Cost, Record, check_malformed
from auditor.engine.derived_models import DerivedModels
from auditor.engine.environment import environment_of
from auditor.engine.failure import Failure, FailureKind, kind_of
from auditor.engine.job import Job, measuring_code, writing_code
from auditor.models.model import AuditedModel
from auditor.models.served import EngineUse, ServedModel
from auditor.store.base import EvidenceStore

ENGINE_NOTE = "text_engine"
"""Note on how many texts an engine wrote, how many the network, and why it was refused."""
_SHOWN = 300
"""Most characters of a library's own message that are quoted."""


def execute(
    job: Job,
    model: AuditedModel,
    store: EvidenceStore,
    report: Callable[[str], None] = lambda step: None,
    donor: AuditedModel | None = None,
) -> Failure | None:
    """Run one job and keep its evidence: all that a worker does.

    A worker of any executor finds the model's files (`Locations.find`), opens them
    (`open_model`), and calls this for one job after the other. Everything else that a job needs
    (facts, findings of searches) is in the store, and so is the evidence when this returns; nothing
    has to be sent back but why a job failed. After a failure the model may be in any state, so the
    worker closes it and opens it anew for the next job.

    Args:
        job: What is asked.
        model: The job's model, opened.
        store: Where facts and findings are read and the evidence is kept.
        report: Shows how far the attack has come.
        donor: The job's donor, opened, where it has one.

    Returns:
        None if the evidence is in the store now, else why it is not. A failure is logged in the
        store, unless the attack does not apply here.

    Raises:
        AuditorError: This worker has other code than whoever asked, or the model does not open.
        LostContextError: The accelerator was lost to this process.
        OSError: The evidence could not be written (the audit fails, not the attack).
    """
    _check_other_code(job)
    attack = job.instantiate()
    evaluator = job.kind.evaluator(store.facts(job.facts), job.metrics, job.auxiliary)
    pool = [Finding(Arm(entry.arm), entry.own, store.read(entry.key)) for entry in job.pool]
    before, began = model.meter.forward_tokens, time.monotonic()
    written = replace(model.use) if isinstance(model, ServedModel) else EngineUse()
    try:
        with store.temporary_folder() as scratch:
            kept = DerivedModels(job, store)
            context = AttackContext(evaluator, job.seed, scratch, pool, report, donor, kept)
            if job.stage == "search":
                record = attack.search(model, context) or Record()
            else:
                record = attack.measure(model, context)
            tokens = model.meter.forward_tokens - before
            used = model.use.since(written) if isinstance(model, ServedModel) else EngineUse()
            noted = {"forward_tokens": tokens, **_engine_noted(job, used)}
            record = replace(record, notes={**record.notes, **noted})
            check_malformed(record)
    except UnavailableError as error:
        reason = message("unavailable", quoted=("error",), error=str(error))
        return Failure(reason, FailureKind.UNAVAILABLE)
    except (KeyboardInterrupt, OpeningError):
        raise
    except BaseException as error:  # an attack can fail in any way (extension modules panic)
        store.log_failure(job.key, traceback.format_exc())
        return _failure(error, ends_model=not model.fits)
    seconds = time.monotonic() - began
    store.write(job.key, job.identity, record, Cost(seconds, tokens), environment_of(job, used))
    return None


def _engine_noted(job: Job, used: EngineUse) -> dict[str, Any]:
    """Return what is noted of a job's engine; empty without one."""
    if job.engine is None:
        return {}
    reasons = [plain(reason) for reason in (used.refused, used.adapters_refused) if reason]
    counts = {"engine": used.engine, "network": used.network, "read": used.tokens}
    adapters = {"adapted": used.adapted, "unadapted": used.unadapted}
    return {ENGINE_NOTE: {**counts, **adapters, "refused": reasons}}


def _failure(error: BaseException, *, ends_model: bool) -> Failure:
    """Return what an attack's error says of its job.

    Raises:
        LostContextError: Every later job of this process would fail, too.
    """
    if is_context_lost(error):
        raise LostContextError(
            f"the accelerator was lost to this process ({' '.join(str(error).split())[:_SHOWN]}), "
            "and every further job would fail in it. What was measured is kept: run the same "
            "command again to go on."
        ) from error
    if ends_model and isinstance(error, DoesNotFitError):
        reason = message("does_not_fit", needed=error.needed, free=error.free)
    else:
        reason = message("error", quoted=("error",), type=type(error).__name__, error=str(error))
    return Failure(reason, kind_of(error), ends_model)


def _check_other_code(job: Job) -> None:
    own = measuring_code(job.attack, job.metrics, job.kind, job.spec)
    engine = job.engine
    asks = engine is None or writing_code(job.kind, engine.settings.engine) == engine.code
    if own != job.code or not asks:
        about = job.attack if asks else "texts by an engine"
        raise AuditorError(
            f"this worker has other code for {about} than the process that asked; install the "
            "same version of this package and its plug-ins on every machine of the audit."
        )
