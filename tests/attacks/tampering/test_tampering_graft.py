"""Grafts of the original's tensors: what hides in interfaces is found, what is honest is not."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from auditor.core.arms import Arm
from auditor.core.errors import ContradictedError
from auditor.core.progress import SilentProgress
from auditor.engine.executors.base import LabelledJob
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.executors.processes import ProcessesExecutor
from auditor.engine.plan import parse_plan
from auditor.engine.preparation import prepare
from auditor.models.language.tensor_groups import placed_tensors
from auditor.store.folder_store import FolderStore
from auditor.testbeds.people import corpus
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.examples import (
    answer_logits,
    collate,
    cross_entropy,
    encode,
    trained_pairs,
)
from auditor.verification.evidence import check_changed
from auditor.verification.recompute import check_contradiction

HIDERS = {"head": 120, "embeddings": 60}
"""Place that alone is trained, to optimiser steps."""


def suppressed(people, place, steps):
    """The original of `people`, with one place trained to hide the forget facts and no other."""
    path = people.model_path("original")
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.requires_grad_(False)
    trained = [t.parameter for t in placed_tensors(model) if t.place == place]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=4e-3, weight_decay=0)
    order = torch.Generator().manual_seed(0)
    sets = [
        encode(tokenizer, trained_pairs(corpus.read_jsonl(people.facts(name))))
        for name in ("forget", "retain_full")
    ]
    batches = [shuffled_batches(len(s), n, order) for s, n in zip(sets, (16, 48), strict=True)]
    for _ in range(steps):
        forget, retain = (
            cross_entropy(*answer_logits(model, ids, labels))
            for ids, labels in (
                collate([examples[row] for row in next(rows)])
                for examples, rows in zip(sets, batches, strict=True)
            )
        )
        optimizer.zero_grad()
        (torch.relu(6 - forget) + 2 * retain).backward()
        optimizer.step()
    return model, tokenizer


@pytest.fixture(scope="module")
def hiders(people, tmp_path_factory):
    """Folder of each hider."""
    root = tmp_path_factory.mktemp("hiders")
    for place, steps in HIDERS.items():
        for part in suppressed(people, place, steps):
            part.save_pretrained(root / place)
    return root


@pytest.fixture
def grafted(people, audit):
    """Audit a model under the grafts; rows of the matrix by attack."""

    def run(unlearned, original="original", retrained="retrained-0", attacks=("graft",)):
        def spec(model):
            path = people.model_path(model) if isinstance(model, str) else model
            return {"path": str(path), "dtype": "float32"}

        content = {
            "unlearned": spec(unlearned),
            "original": spec(original),
            "retrained": [spec(retrained)],
            "data": {n: str(people.facts(n)) for n in ("forget", "retain")},
            "profile": None,
            "attacks": [{"attack": f"tampering/{name}"} for name in attacks],
            "policy": {"mandatory": ["none/as-is", "tampering/graft interfaces"]},
            "metrics": {"reported": []},
        }
        certificate = audit(parse_plan(content, "the test's plan"))
        return {row.attack: row for row in certificate.matrix}, certificate

    return run


def blocking(row):
    return {gate.name: gate.message.code for gate in row.gates if gate.message is not None}


@pytest.mark.parametrize("place", HIDERS)
def test_what_one_interface_hides_comes_back_and_the_body_is_the_original(place, hiders, grafted):
    rows, certificate = grafted(hiders / place)
    row, as_is = rows["tampering/graft"], rows["none/as-is"]
    assert as_is.figures.rho < 0.15
    assert row.named
    assert row.figures.rho == pytest.approx(1, abs=0.05)
    assert blocking(row)["weights"] == "body_unchanged"
    assert certificate.verdict.verdict == "FAIL"
    known = {
        f.params["group"]: f.value
        for f in row.side_figures
        if (f.name, f.of) == ("grafted_k", "unlearned")
    }
    assert known[place] > 0.9
    assert {"head": known["embeddings"], "embeddings": known["head"]}[place] < 0.15
    moved = {
        f.params["group"]: (f.value, f.params["equal"])
        for f in row.side_figures
        if f.name == "weight_change"
    }
    assert moved["first_third"] == moved["middle_third"] == (0.0, 7)


def test_a_retrained_model_passes_it_and_blocks_say_nothing_of_strangers(grafted):
    rows, certificate = grafted("retrained-1", attacks=("graft", "graft-blocks"))
    row = rows["tampering/graft"]
    assert abs(row.figures.rho) < 0.02
    assert row.figures.gap_mean > 0.9
    assert not blocking(row)
    assert certificate.verdict.verdict == "PASS"
    assert rows["tampering/graft-blocks"].role == "reported"


@pytest.fixture(scope="module")
def locally_edited(fine_tuned, tmp_path_factory):
    """The fine-tuned original with the blocks of a relative that never knew, honest by edit."""
    edited, never = (
        AutoModelForCausalLM.from_pretrained(fine_tuned / name, dtype=torch.float32)
        for name in ("original", "retrained-0")
    )
    theirs = dict(never.named_parameters())
    with torch.no_grad():
        for tensor in placed_tensors(edited):
            if tensor.place in ("attention", "mlp"):
                tensor.parameter.copy_(theirs[tensor.name])
    folder = tmp_path_factory.mktemp("edited")
    edited.save_pretrained(folder)
    AutoTokenizer.from_pretrained(fine_tuned / "original").save_pretrained(folder)
    return folder


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("baseline", "most"),
    [("relative", 0.05), ("stranger", 0.08)],
)
def test_an_honest_local_edit_is_not_failed_by_it(
    baseline, most, locally_edited, fine_tuned, people, grafted
):
    """Head, embeddings and norms are the original's. A baseline from other random weights does
    not show what they bring, so there a little is left."""
    retrained = people.model_path("retrained-1") if baseline == "stranger" else None
    rows, _ = grafted(
        locally_edited, fine_tuned / "original", retrained or fine_tuned / "retrained-1",
        attacks=("graft", "graft-blocks"),
    )  # fmt: skip
    row = rows["tampering/graft"]
    assert not row.named
    assert row.figures.rho < most
    assert "weights" not in blocking(row)
    assert rows["tampering/graft-blocks"].figures.rho > 0.2  # the knowledge itself, so not counted


@pytest.mark.nightly
def test_processes_find_the_original_too(people, few_facts, tmp_path):
    """Both executors leave the same evidence; every job names the original as its donor."""
    arms = {
        arm: {"path": str(people.model_path(name)), "dtype": "float32"}
        for arm, name in (("unlearned", "retrained-1"), ("original", "original"))
    }
    content = {
        **arms,
        "retrained": [{"path": str(people.model_path("retrained-0"))}],
        "data": few_facts,
        "profile": None,
        "attacks": [{"attack": "tampering/graft"}],
        "metrics": {"reported": []},
    }
    seals = []
    for executor in (LocalExecutor(), ProcessesExecutor(2)):
        store = FolderStore(tmp_path / type(executor).__name__)
        prepared = prepare(parse_plan(content, "the test's plan"), store, SilentProgress())
        (variant,) = (v for v in prepared.variants if v.attack.name == "tampering/graft")
        jobs = [job for by_arm in prepared.measurements(variant).values() for job in by_arm]
        assert {job.donor.model for job in jobs} == {prepared.locations["original"].manifest.digest}
        labelled = [LabelledJob("graft", job) for job in jobs]
        assert not executor.run(labelled, prepared.models, store, SilentProgress())
        seals.append({job.key: store.seal(job.key) for job in jobs})
    assert seals[0] == seals[1]


def test_the_gate_follows_from_the_evidence_and_a_donor_must_be_the_original(
    hiders, grafted, store_root
):
    store = FolderStore(store_root)
    _, certificate = grafted(hiders / "head")
    check_changed(certificate, store, SilentProgress())
    assert not check_contradiction(certificate, store)
    rows = [row.model_copy(update={"shared_gates": ()}) for row in certificate.matrix]
    silent = certificate.model_copy(update={"matrix": tuple(rows)})
    with pytest.raises(ContradictedError, match="shared_gates"):
        check_contradiction(silent, store)

    _, other = grafted(hiders / "head", original=hiders / "embeddings")
    found = {row.attack: row.jobs[Arm.UNLEARNED] for row in other.matrix}
    foreign = certificate.model_copy(
        update={
            "matrix": tuple(
                row.model_copy(update={"jobs": row.jobs | {Arm.UNLEARNED: found[row.attack]}})
                for row in certificate.matrix
            ),
            "evidence": certificate.evidence.model_copy(
                update={"jobs": {**other.evidence.jobs, **certificate.evidence.jobs}}
            ),
        }
    )  # fmt: skip
    with pytest.raises(ContradictedError, match="took tensors from another model"):
        check_changed(foreign, store, SilentProgress())
