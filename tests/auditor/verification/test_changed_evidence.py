"""Evidence of any attack that was changed is refused, whichever file it is and however.

Every registered attack is in here (`every_attack`); nothing of its evidence may be changed without
`verify` refusing the certificate, and an audit that finds it in its store stops.
"""

import json
import shutil
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest
import torch
from every_attack import BUDGETS, ELSEWHERE, NOT_MEASURED, WORLDS, names_in

from auditor.api.certificates import verify
from auditor.attack import ATTACKS
from auditor.certificate.files import read_certificate
from auditor.core.errors import ContradictedError, EvidenceChangedError
from auditor.core.hashing import canonical_json, digest_file
from auditor.core.progress import SilentProgress
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.plan import parse_plan
from auditor.engine.preparation import prepare
from auditor.policy import AS_IS
from auditor.store.folder_store import FolderStore
from auditor.verification.evidence import check_changed

ARMS = ("unlearned", "original", "retrained-0")
ATTACKS_IN_WORLDS = [(AS_IS, "dense")]
ATTACKS_IN_WORLDS += [(name, world) for world in WORLDS for name in names_in(world)]
QUICK = ("mixtures", "thinkers")
"""Worlds that are made and attacked in seconds; the others are every night's."""


def nightly(world, *arguments):
    """Parameters of a test in a world."""
    marks = () if world in QUICK else (pytest.mark.nightly, pytest.mark.timeout(3000))
    return pytest.param(*arguments, world, marks=marks)


EACH = [nightly(world, name) for name, world in ATTACKS_IN_WORLDS]
NOT_SEALED = "cost.json"


def test_every_attack_is_in_a_world_and_no_budget_is_of_another():
    here = {name for world in WORLDS for name in names_in(world)}
    assert here == {*ATTACKS.names()} - {AS_IS, *ELSEWHERE}
    assert ELSEWHERE.keys() <= set(ATTACKS.names())
    assert BUDGETS.keys() <= set(ATTACKS.names())


@pytest.mark.parametrize("world", [nightly(world) for world in WORLDS])
def test_every_attack_is_measured_but_those_whose_needs_are_not_met(world, every_attack):
    """A level that is not measured stands in the list with its reason, and only as long."""
    rows = read_certificate(every_attack(world) / "certificate.json").matrix
    reasons = {row.label: row.reason for row in rows if row.status != "measured"}
    found = {
        label: (reason.nested("reason") if reason.code == "on_arm" else reason)
        for label, reason in reasons.items()
    }
    listed = dict(NOT_MEASURED.get(world, {}))
    if torch.cuda.is_available():
        listed = {label: code for label, code in listed.items() if "gpu" not in code}
    assert {label: reason.code for label, reason in found.items()} == listed, found
    assert {row.attack for row in rows} == {AS_IS, *names_in(world)}


class Evidence:
    """The audit of a world, its store free to be changed."""

    def __init__(self, finished: Path, root: Path) -> None:
        self.file = finished / "certificate.json"
        self.root = shutil.copytree(finished / "evidence", root / "evidence")
        self.store = FolderStore(self.root)
        plan = json.loads((finished / "plan.json").read_text(encoding="utf-8"))
        self.prepared = prepare(parse_plan(plan, "the test's plan"), self.store, SilentProgress())
        self.certificate = read_certificate(self.file)

    def folder(self, key):
        return self.root / "jobs" / key[:2] / key

    def jobs(self, name):
        """Jobs of an attack's first level that was measured, by stage and arm."""
        row = next(r for r in self.certificate.matrix if r.attack == name and r.jobs)
        measured = {arm: row.jobs[arm][0] for arm in ARMS}
        pool = self.store.identity(measured["unlearned"]).get("pool", ())
        searched = {entry["arm"]: entry["key"] for entry in pool}
        return {"measure": measured, **({"search": searched} if searched else {})}

    def audit_again(self, name):
        """Run the audit anew under one attack, with what the store holds."""
        variants = [v for v in self.prepared.variants if v.attack.name in (AS_IS, name)]
        prepared = self.prepared.only(variants)
        return run_audit(prepared, self.store, LocalExecutor(), SilentProgress())


@pytest.fixture(scope="module")
def evidence_of(every_attack, tmp_path_factory):
    """World to its evidence; every test leaves it as it found it."""
    opened = {}

    def open_(world):
        if world not in opened:
            opened[world] = Evidence(every_attack(world), tmp_path_factory.mktemp("changed"))
        return opened[world]

    return open_


@contextmanager
def restored(folder):
    """Put a folder back as it was."""
    files = {file: file.read_bytes() for file in folder.iterdir()}
    try:
        yield files
    finally:
        shutil.rmtree(folder)
        folder.mkdir()
        for file, content in files.items():
            file.write_bytes(content)


def flipped(content):
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


WAYS = {
    "a byte is another": lambda file: file.write_bytes(flipped(file.read_bytes())),
    "its end is cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "it is gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize(("name", "world"), EACH)
def test_a_file_that_was_changed_is_refused(name, world, evidence_of):
    """Each file of each arm, in each way; the commands are given one of these by turns."""
    evidence = evidence_of(world)
    turn = ATTACKS_IN_WORLDS.index((name, world))
    for keys in evidence.jobs(name).values():
        for arm, key in keys.items():
            folder = evidence.folder(key)
            files = sorted(f.name for f in folder.iterdir() if f.name != NOT_SEALED)
            assert {"rows.parquet", "notes.json", "job.json", "seal.json"} <= set(files)
            ways = list(product(files, WAYS))
            for number, (file, how) in enumerate(ways):
                with restored(folder):
                    WAYS[how](folder / file)
                    with pytest.raises(EvidenceChangedError):
                        evidence.store.seal(key)
                    if arm == "unlearned" and number == turn % len(ways):
                        refused_by_commands(evidence, name, file, how)
    check(evidence)


def refused_by_commands(evidence, name, file, how):
    """Neither `verify` nor an audit over the store takes it."""
    with pytest.raises(EvidenceChangedError):
        verify(evidence.file, store=evidence.root)
    if (file, how) != ("seal.json", "it is gone"):  # then it is not done, and measured again
        with pytest.raises(EvidenceChangedError):
            evidence.audit_again(name)


@pytest.mark.parametrize(("name", "world"), EACH)
def test_the_evidence_of_another_arm_is_refused(name, world, evidence_of):
    """Its whole folder, its record under this arm's name, and its name in the certificate."""
    evidence = evidence_of(world)
    for keys in evidence.jobs(name).values():
        for arm, other in (("unlearned", "retrained-0"), ("retrained-0", "unlearned")):
            own, foreign = (evidence.folder(keys[a]) for a in (arm, other))
            before = evidence.store.seal(keys[arm])
            with restored(own):
                shutil.rmtree(own)
                shutil.copytree(foreign, own)
                for ask in (lambda: evidence.audit_again(name), lambda: check(evidence)):
                    with pytest.raises(EvidenceChangedError, match="it is of another job"):
                        ask()
            with restored(own):
                put_in_place(foreign, own)
                after = evidence.store.seal(keys[arm])  # a store alone cannot tell
                if after == before:
                    continue  # both arms have the same record
                with pytest.raises(EvidenceChangedError, match="is not the evidence"):
                    check(evidence)
    matrix = tuple(
        row.model_copy(update={"jobs": row.jobs | {"unlearned": row.jobs["retrained-0"]}})
        if row.attack == name and row.jobs
        else row
        for row in evidence.certificate.matrix
    )
    forged = evidence.certificate.model_copy(update={"matrix": matrix})
    with pytest.raises(ContradictedError, match="measured another model"):
        check_changed(forged, evidence.store, SilentProgress())


def check(evidence):
    return check_changed(evidence.certificate, evidence.store, SilentProgress())


def put_in_place(foreign, own):
    """Give a job another one's record, and a seal that fits."""
    kept = ("job.json", "environment.json", NOT_SEALED)
    for file in [f for f in own.iterdir() if f.name not in kept]:
        file.unlink()
    for file in [f for f in foreign.iterdir() if f.name not in (*kept, "seal.json")]:
        shutil.copy(file, own)
    sealed = sorted(f for f in own.iterdir() if f.name != NOT_SEALED)
    (own / "seal.json").write_bytes(canonical_json({f.name: digest_file(f) for f in sealed}))
