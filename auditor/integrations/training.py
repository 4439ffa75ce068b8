"""Callback of transformers' Trainer that measures knowledge while a model unlearns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from auditor.api.auditing import Known, Modelled, plan_of
from auditor.api.issuing import make_folder, open_store
from auditor.api.measuring import record_of, wrap_model
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.progress import SilentProgress
from auditor.core.records import SPECIFICITY, Row
from auditor.core.wording import sentence
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.job import Job
from auditor.engine.preparation import Prepared, prepare
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore

_PREFIX = "knowledge"
"""First part of the names under which figures are logged."""


class KnowledgeCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Measures what a model knows while it is trained.

    K is measured on the forget and the retain set.

    The original and the retrained models are measured once, and kept in the evidence store, where
    an audit finds the same jobs. The model in training is asked as it stands, without attack;
    figures steer a training and are no verdict: nothing ties them to files, and what hides from a
    question is found by attacks alone.

    Attributes:
        history: A row for each measurement: ``step``, and mean K as ``forget/METRIC`` and
            ``retain/METRIC``; ``residual/METRIC`` is E[K_U - K_R] / E[K_O - K_R] of the forget
            set, 0 as the retrained models and 1 as the original, where the original knows enough.

    Args:
        tokenizer: Tokenizer of the model in training.
        original: The model before unlearning: a path, or what a plan says of it.
        retrained: Models trained without the forget set.
        forget: Facts that must be gone: a file, or the facts.
        retain: Facts that must stay.
        every: Steps between measurements; by default only when the trainer evaluates, and at the
            end.
        out: Folder of the store and of facts that were given as such.
        store: Folder or URL of the evidence, by default ``evidence`` in ``out``.
        settings: Other parts of a plan: ``format``, ``metrics``, ``token_budget``.

    Raises:
        AuditorError: A part of the plan cannot be used.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        original: Modelled,
        retrained: Modelled | Sequence[Modelled],
        forget: Known,
        retain: Known,
        every: int | None = None,
        out: str | Path = "unlearning",
        store: str | Path | None = None,
        **settings: Any,
    ) -> None:
        if every is not None and every < 1:
            raise AuditorError(f"every={every}: give a number of steps, 1 or more.")
        folder = Path(out)
        make_folder(folder)
        parts = {"unlearned": original, "original": original, "retrained": retrained}
        facts = {"forget": forget, "retain": retain}
        plan = plan_of(None, parts | facts | {"profile": None} | settings, folder)
        self.history: list[dict[str, float]] = []
        self._tokenizer = tokenizer
        self._every = every
        self._store = open_store(folder, store)
        prepared = prepare(plan, self._store, SilentProgress())
        self._prepared = prepared.only([v for v in prepared.variants if v.attack.name == AS_IS])
        (as_is,) = self._prepared.variants
        jobs = self._prepared.measurements(as_is)
        self._jobs = {arm: job for arm, (job,) in jobs.items()}
        self._known: Mapping[str, Sequence[Row]] = {}

    def to_frame(self) -> pd.DataFrame:
        """Return the history as a table, a row for each measurement."""
        return pd.DataFrame(self.history)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the original and the retrained models, where the store lacks them."""
        if args.world_size > 1:
            raise AuditorError(
                "this callback asks a whole model, and this training spreads it over "
                f"{args.world_size} processes; audit its checkpoints instead."
            )
        self._known = _measured(self._prepared, self._jobs, self._store)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the model every so many steps."""
        if self._every is not None and state.global_step % self._every == 0:
            self._measure(state, kwargs["model"])

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the model when the trainer evaluates."""
        self._measure(state, kwargs["model"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the model as training leaves it."""
        self._measure(state, kwargs["model"])

    def _measure(self, state: TrainerState, network: Any) -> None:
        if self.history and self.history[-1]["step"] == state.global_step:
            return
        plan = self._prepared.plan
        training = network.training
        try:
            model = wrap_model(
                network, self._tokenizer, format=plan.format, token_budget=plan.token_budget
            )
            job = self._jobs[Arm.ORIGINAL]
            record = record_of(job.instantiate(), model, self._prepared.sets, metrics=job.metrics)
        finally:
            network.train(training)
        figures = _figures(record.rows, self._known, plan.policy.minimum_gap)
        self.history.append({"step": state.global_step} | figures)
        logged = {f"{_PREFIX}/{name}": value for name, value in figures.items()}
        state.log_history.append(logged | {"step": state.global_step})


def _measured(
    prepared: Prepared, jobs: Mapping[str, Job], store: EvidenceStore
) -> dict[str, Sequence[Row]]:
    """Return the rows of the models that are not trained, by arm."""
    known = [arm for arm in prepared.arms if arm.model != Arm.UNLEARNED]
    outcome = run_audit(prepared, store, LocalExecutor(), SilentProgress(), known)
    for run in outcome.runs:
        if run.evidence.reason is not None and not run.evidence.jobs:
            raise AuditorError(sentence(run.evidence.reason))
    return {arm: store.read(jobs[arm].key).rows for arm in known}


def _figures(
    rows: Sequence[Row], known: Mapping[str, Sequence[Row]], minimum_gap: float
) -> dict[str, float]:
    """Return mean K by set and metric, and residuals.

    Args:
        rows: Rows of the model in training.
        known: Rows of the other models by arm.
        minimum_gap: Least gap of the original for a residual to be told.
    """
    mine = _means(rows)
    others = {arm: _means(measured) for arm, measured in known.items()}
    original = others.pop(Arm.ORIGINAL)
    figures = {f"{name}/{metric}": k for (name, metric), k in mine.items()}
    for (name, metric), k in mine.items():
        if name != "forget":
            continue
        baseline = sum(other[name, metric] for other in others.values()) / len(others)
        gap = original[name, metric] - baseline
        if gap >= minimum_gap:
            figures[f"residual/{metric}"] = (k - baseline) / gap
    return figures


def _means(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    """Return mean K by set and metric.

    Facts that lack what a metric needs are left out of its mean.
    """
    frame = pd.DataFrame(
        [(row.set, row.metric, row.k) for row in rows if row.metric != SPECIFICITY]
    )
    means = frame.dropna().groupby([0, 1])[2].mean()
    return {(str(name), str(metric)): float(k) for (name, metric), k in means.items()}
