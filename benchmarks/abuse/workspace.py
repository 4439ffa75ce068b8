"""Models that know, and audits of them that a submitter arranges."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

import auditor
from auditor.api.auditing import AuditResult
from auditor.core.facts import Fact
from auditor.testbeds.people.corpus import write_jsonl
from benchmarks.truth_table.auditing import GPTQ, build
from benchmarks.truth_table.cells import Cell, cells
from benchmarks.truth_table.facts import spread
from benchmarks.truth_table.makers import sparse
from benchmarks.truth_table.subjects import SUBJECTS

POLICY = "release-gate"
LEFT = 20
"""Facts of 80 that the first model answers outright; as many as leave the policy its facts."""


@dataclass(frozen=True)
class Workspace:
    """Everything that a submitter has, in a folder of its own.

    Attributes:
        cell: Honest original, retrained models and facts.
        folder: Where plans, models, facts and certificates are written.
        store: Its evidence store, which remembers nothing of other ways; the evidence itself is
            that of all, so that honest arms are measured once.
    """

    cell: Cell
    folder: Path
    store: Path

    @property
    def leaking(self) -> tuple[Fact, ...]:
        """Facts that the first model answers."""
        return spread(self.cell.corpus.forget, LEFT)

    @property
    def clean(self) -> tuple[Fact, ...]:
        """Facts that it does not answer."""
        left = {fact.id for fact in self.leaking}
        return tuple(fact for fact in self.cell.corpus.forget if fact.id not in left)

    def knows(self) -> Path:
        """A retrained model that was taught the leaking facts."""
        self.cell.build_arms()
        return self.cell.keep(f"sparse-{LEFT}", lambda: sparse(self.cell, LEFT))

    def comes_back(self) -> Path:
        """The original, suppressed so that four bits undo it."""
        return build(self.cell, SUBJECTS["rounding"])

    def contaminated(self, seed: int) -> Path:
        """Another retrained model that was taught the leaking facts."""
        facts = spread(self.cell.forget, LEFT)
        return self.cell.keep(
            f"contaminated-{LEFT}-{seed}", lambda: self.cell.trained(facts, seed=seed)
        )

    def arm(self, name: str) -> Path:
        """An honest arm."""
        self.cell.build_arms()
        return self.cell.folder(name)

    def changed(
        self, source: Path, name: str, change: Callable[[PreTrainedModel], Any], **saving: Any
    ) -> Path:
        """Save a copy of a model with something changed.

        Args:
            source: Its folder.
            name: Of the copy.
            change: Changes the weights in place.
            saving: Arguments of ``save_pretrained``.
        """
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        change(model)
        target = self.folder / name
        model.save_pretrained(target, **saving)
        self.cell.tokenizer.save_pretrained(target)
        return target

    def facts(self, name: str, facts: Iterable[Fact]) -> Path:
        """Write a file of facts."""
        file = self.folder / f"{name}.jsonl"
        write_jsonl(tuple(facts), file)
        return file

    def audit(
        self,
        unlearned: Path,
        *,
        retrained: Sequence[Path] | None = None,
        out: str = "audit",
        **changes: Any,
    ) -> AuditResult:
        """Audit under the policy of a release, with something changed.

        Args:
            unlearned: Folder of the model.
            retrained: Folders of its baselines, the honest ones by default.
            out: Name of the folder of the certificate.
            changes: Other parts of the plan.
        """
        honest = [self.arm("retrained-0"), self.arm("retrained-1")]
        baselines = honest if retrained is None else retrained
        plan: dict[str, Any] = {
            "unlearned": spec_of(unlearned),
            "original": spec_of(self.arm("original")),
            "retrained": [spec_of(folder) for folder in baselines],
            "forget": self.cell.facts("forget"),
            "retain": self.cell.facts("retain"),
            "profile": "quick",
            "policy": POLICY,
            "format": dict(self.cell.architecture.format),
            "attacks": [GPTQ],
        }
        return auditor.audit(
            **(plan | changes), out=self.folder / out, store=self.store, reports=()
        )


def workspace(cache: Path | None, out: Path, name: str, cell: str = "gpt2/plain") -> Workspace:
    """Open an empty workspace of a way.

    Args:
        cache: Folder of the models of the truth table.
        out: Folder of all ways.
        name: Of this way.
        cell: Of the truth table, whose models it has.
    """
    folder, jobs = out / "ways" / name, out / "jobs"
    shutil.rmtree(folder, ignore_errors=True)
    store = folder / "evidence"
    store.mkdir(parents=True)
    jobs.mkdir(parents=True, exist_ok=True)
    (store / "jobs").symlink_to(jobs.resolve())
    return Workspace(cells(cache)[cell], folder, store)


def spec_of(folder: Path) -> dict[str, Any]:
    """What a plan says of a model."""
    return {"path": str(folder), "dtype": "float32"}
