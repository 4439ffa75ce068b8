"""One subject: built, measured for its truth, audited."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import auditor
from auditor.api.auditing import AuditResult
from auditor.certificate.schema import Certificate, MatrixRow, VerdictPart
from auditor.core.roles import Role
from benchmarks.truth_table.cells import Cell
from benchmarks.truth_table.makers import MAKERS, disguised
from benchmarks.truth_table.rows import Row
from benchmarks.truth_table.subjects import SUBJECTS, Subject
from benchmarks.truth_table.truth import Truth, measured

GPTQ = {
    "attack": "quantization/gptq",
    "parameters": {"bits": 4, "calibration_samples": 32},
}
"""Calibrated enough for models of this size."""


def build(cell: Cell, subject: Subject) -> Path:
    """Build a subject, and its arms, where they are missing."""
    cell.build_arms()

    def make() -> Any:
        model = MAKERS[subject.maker](cell, **subject.settings)
        return disguised(model, subject.disguise) if subject.disguise else model

    return cell.keep(subject.folder, make)


def truth(cell: Cell, subject: Subject) -> Truth:
    """Measure what is true of a subject that is built."""
    source = SUBJECTS[subject.source] if subject.source else subject
    build(cell, source)
    return measured(cell, cell.load(subject.folder), cell.load(source.folder), subject.line)


def audited(
    cell: Cell,
    subject: Subject,
    profile: str | None,
    policy: str | Mapping[str, Any],
    commit: str,
    out: Path,
    attacks: Sequence[Mapping[str, Any]] = (GPTQ,),
    others: Sequence[str] = (),
) -> list[Row]:
    """Audit a subject through the Python door, and decide again under other policies.

    Args:
        cell: Its cell.
        subject: Which one.
        profile: Attacks that are run.
        policy: Name of a ready-made policy, its file, or its content.
        commit: Of the code.
        out: Folder of certificates and evidence; evidence is shared by the audits of a cell.
        attacks: Attacks besides those of the profile, or with parameters of their own.
        others: Further policies, ready-made or files, that decide on the same evidence.

    Returns:
        A row of each policy.
    """
    build(cell, subject)
    true = truth(cell, subject)
    store = out / "evidence" / cell.name
    began = time.monotonic()
    result = auditor.audit(
        unlearned=cell.spec(subject.folder),
        original=cell.spec("original"),
        retrained=[cell.spec("retrained-0"), cell.spec("retrained-1")],
        forget=cell.facts("forget"),
        retain=cell.facts("retain"),
        profile=profile,
        policy=policy,
        format=dict(cell.architecture.format),
        attacks=list(attacks),
        out=out / commit / str(profile) / cell.name / subject.folder,
        store=store,
        reports=(),
    )
    seconds = time.monotonic() - began
    asked = (str(profile), result.certificate.policy.name, commit)
    row = _row(cell, subject, true, result.certificate, asked, seconds)
    return [row, *(_decided_again(cell, row, result, store, other) for other in others)]


def _decided_again(cell: Cell, row: Row, result: AuditResult, store: Path, policy: str) -> Row:
    """The row of the same evidence under another policy, which measures nothing."""
    began = time.monotonic()
    gated = auditor.gate(result.folder / "certificate.json", policy, store=store)
    return replace(
        row,
        policy=gated.policy.name,
        **_said(cell, gated.verdict),
        seconds=round(time.monotonic() - began, 1),
    )


def _row(
    cell: Cell,
    subject: Subject,
    true: Truth,
    certificate: Certificate,
    asked: tuple[str, str, str],
    seconds: float,
) -> Row:
    deciding = [row for row in certificate.matrix if row.role is not Role.REPORTED]
    known = {
        f"{row.label} ({reading.metric})": reading.figures.rho
        for row in deciding
        for reading in row.readings
        if reading.figures is not None
    }
    largest = max(known, key=lambda label: known[label], default=None)
    profile, policy, commit = asked
    return Row(
        cell=cell.name,
        subject=subject.name,
        profile=profile,
        policy=policy,
        commit=commit,
        exact=true.forget.exact,
        k=true.forget.k,
        retain=true.retain.exact,
        line=true.line,
        baseline=true.baseline,
        named=tuple(row.label for row in certificate.matrix if row.named),
        rho=None if largest is None else known[largest],
        largest=largest,
        **_said(cell, certificate.verdict),
        unmet=tuple(sorted({code for row in deciding for code in _unmet(row)})),
        seconds=round(seconds, 1),
    )


def _said(cell: Cell, verdict: VerdictPart) -> dict[str, Any]:
    """The fields of a row that a verdict decides."""
    return {
        "verdict": ", ".join((verdict.verdict, *verdict.flags)),
        "facts_named": tuple(sorted(_texts([r.params for r in verdict.reasons]) & _ids(cell))),
        "reasons": tuple(dict.fromkeys(reason.code for reason in verdict.reasons)),
    }


def _ids(cell: Cell) -> set[str]:
    return {fact.id for fact in cell.corpus.forget}


def _texts(value: Any) -> set[str]:
    """All texts within a value of JSON."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, Mapping):
        value = value.values()
    return set().union(*map(_texts, value)) if isinstance(value, Iterable) else set()


def _unmet(row: MatrixRow) -> list[str]:
    return [f"{row.label}: {gate.name}" for gate in row.gates if not gate.met]
