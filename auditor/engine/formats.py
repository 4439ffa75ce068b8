"""Formats of prompts, tried on the original before any attack."""

from dataclasses import replace

from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.core.messages import Message, message
from auditor.core.progress import Progress
from auditor.engine.executors.base import Executor, LabelledJob
from auditor.engine.job import Job
from auditor.engine.preparation import Prepared, TriedFormat
from auditor.engine.tried_formats import better_format, lines, mean_knowledge, sample
from auditor.metrics.metric import METRICS
from auditor.models.asked import AskedFacts
from auditor.models.opening import asked_facts
from auditor.models.spec import PromptFormat
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore


def compare_formats(
    prepared: Prepared, store: EvidenceStore, executor: Executor, progress: Progress
) -> Prepared:
    """Ask the original some forget facts in several formats.

    They are the plan's format and the obvious others.

    Returns:
        The same audit with what was found, and with a warning of each format that could not be
        tried, and where another format is better.

    Raises:
        AuditorError: The original is not asked in a way in which it knows the facts, and another
            format would do; says which lines the plan needs.
    """
    tried, failed = _tried(prepared, store, executor, progress)
    prepared = replace(prepared, warnings=[*prepared.warnings, *failed])
    if not tried or tried[0].format != prepared.plan.format:
        return prepared
    own, best = tried[0], max(tried, key=lambda one: one.k)
    found = replace(prepared, formats=tuple(tried))
    better = better_format(tried, _asked(prepared), prepared.plan.metrics.primary)
    if better is None:
        return found
    needed = prepared.plan.policy.minimum_gap
    if own.k < needed <= best.k:
        raise AuditorError(
            f"asked in the plan's format, the original knows the forget facts with a mean K of "
            f"{own.k:.3f} ({prepared.plan.metrics.primary}, {_asked(prepared)} facts), and less "
            f"than {needed:g} cannot be audited; in another format it is {best.k:.3f}. Write into "
            f"the plan:\n\n{lines(best.format)}"
        )
    return replace(found, warnings=[*prepared.warnings, better])


def unused_chat_template(prepared: Prepared) -> Prepared:
    """Warn of a chat template that the plan does not use.

    It is found as far as files alone show.
    """
    original = prepared.plan.original
    others = prepared.plan.kind.other_formats(
        original, prepared.locations[Arm.ORIGINAL], prepared.plan.format
    )
    if prepared.plan.format.chat or not any(other.chat for other in others):
        return prepared
    unused = message("chat_template_unused", lines=lines(PromptFormat(chat=True)))
    return replace(prepared, warnings=[*prepared.warnings, unused])


def _asked(prepared: Prepared) -> int:
    return len(sample(prepared.sets.forget))


def _tried(
    prepared: Prepared, store: EvidenceStore, executor: Executor, progress: Progress
) -> tuple[list[TriedFormat], list[Message]]:
    """Return the original's mean K in each format, and failures.

    The plan's format comes first.
    """
    plan = prepared.plan
    others = plan.kind.other_formats(
        plan.original, prepared.locations[Arm.ORIGINAL], prepared.plan.format
    )
    if not others:
        return [], []
    sets = FactSets(forget=sample(prepared.sets.forget))
    facts = store.put_facts(sets)
    metrics = plan.metrics.model_copy(update={"deciding": (), "reported": ()})
    jobs: list[tuple[PromptFormat, Job]] = []
    for tried in (plan.format, *others):
        asked = plan.model_copy(update={"format": tried, "metrics": metrics})
        small = replace(prepared, plan=asked, sets=sets, facts=facts)
        small = replace(small, asked=_asked_in(small))
        as_is = next(v for v in prepared.variants if v.attack.name == AS_IS)
        jobs.append((tried, small.measurements(as_is)[Arm.ORIGINAL][0]))
    labelled = [LabelledJob(f"format {number}", job) for number, (_, job) in enumerate(jobs)]
    failures = executor.run(labelled, prepared.models, store, progress)
    found, failed = [], []
    for tried, job in jobs:
        if job.key in failures:
            reason = failures[job.key].reason
            failed.append(message("prompt_format_failed", lines=lines(tried), reason=reason))
            continue
        k = mean_knowledge(store, job.key, plan.metrics.primary)
        found.append(TriedFormat(tried, k, job.key, store.seal(job.key)))
    return found, failed


def _asked_in(prepared: Prepared) -> dict[str, AskedFacts]:
    """Return what the original is asked in a format."""
    if not prepared.asked:
        return {}
    spec, location = prepared.plan.original, prepared.locations[Arm.ORIGINAL]
    metrics = prepared.plan.metrics.all
    generates = any(METRICS.get(name).generates for name in metrics)
    try:
        asked = asked_facts(
            spec, location, prepared.sets, prepared.plan.format, generates=generates
        )
    except AuditorError:  # its job fails, and says why
        return {}
    return {Arm.ORIGINAL: asked}
