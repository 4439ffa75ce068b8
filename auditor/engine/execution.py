"""Running one job against a store."""

import time
import traceback
from dataclasses import dataclass, replace

from auditor.core.errors import AuditorError, UnavailableError
from auditor.core.facts import FactSets
from auditor.core.findings import Finding
from auditor.core.records import Cost, Record, check_malformed
from auditor.engine.environment import environment_of
from auditor.engine.instruments import concepts_of, opened_classifier
from auditor.engine.job import Job, measuring_code
from auditor.evidence.store import EvidenceStore
from auditor.models.causal_lm.evaluator import Evaluator
from auditor.models.model import AuditedModel
from auditor.models.text_to_image.evaluator import ImageEvaluator


@dataclass(frozen=True)
class Failure:
    """Why a job has no evidence."""

    reason: str
    unavailable: bool = False
    """The attack does not apply here, rather than having gone wrong."""


def execute(job: Job, subject: AuditedModel, store: EvidenceStore) -> Failure | None:
    """Run one job and keep its evidence: all that a worker does.

    A worker of any executor finds the model's files (`Locations.find`), opens them
    (`open_model`), and calls this for one job after the other. Everything else that a job needs
    (facts, findings of searches) is in the store, and so is the evidence when this returns; nothing
    has to be sent back but why a job failed. After a failure the model may be in any state, so the
    worker closes it and opens it anew for the next job.

    Args:
        job: What is asked.
        subject: The job's model, opened.
        store: Where facts and findings are read and the evidence is kept.

    Returns:
        None if the evidence is in the store now, else why it is not. A failure is logged in the
        store, unless the attack does not apply here.

    Raises:
        AuditorError: This worker has other code than whoever asked.
        OSError: The evidence could not be written (the audit fails, not the attack).
    """
    _check_other_code(job)
    attack = job.instantiate()
    evaluator = _examiner(job, store.facts(job.facts))
    pool = [Finding(entry.arm, entry.own, store.read(entry.key)) for entry in job.pool]
    before, began = subject.meter.forward_tokens, time.monotonic()
    try:
        with store.temporary_folder() as scratch:
            if job.stage == "search":
                record = attack.search(subject, evaluator, job.seed) or Record()
            else:
                record = attack.measure(subject, evaluator, pool, job.seed, scratch)
            tokens = subject.meter.forward_tokens - before
            record = replace(record, notes={**record.notes, "forward_tokens": tokens})
            check_malformed(record)
    except UnavailableError as error:
        return Failure(str(error), unavailable=True)
    except (Exception, SystemExit) as error:  # an attack can fail in any way; the audit goes on
        store.log_failure(job.key, traceback.format_exc())
        return Failure(f"{type(error).__name__}: {error}")
    seconds = time.monotonic() - began
    store.write(job.key, job.identity, record, Cost(seconds, tokens), environment_of(job))
    return None


def _check_other_code(job: Job) -> None:
    if measuring_code(job.attack, job.metrics, job.spec.kind) != job.code:
        raise AuditorError(
            f"this worker has other code for {job.attack} than the process that asked; install the "
            "same version of this package and its plug-ins on every machine of the audit."
        )


def _examiner(job: Job, sets: FactSets) -> Evaluator | ImageEvaluator:
    if job.spec.kind == "causal-lm":
        return Evaluator(sets, job.metrics)
    tools = job.auxiliary
    classifier = opened_classifier(tools.classifier, tools.classifier_digest, concepts_of(sets))
    return ImageEvaluator(sets, job.metrics, classifier, tools.pictures)
