"""A killed audit goes on where it stopped, and nobody can tell from its certificate."""

import json
import random
import signal
import time
from copy import deepcopy

import pytest

from auditor.api.auditing import audit as audit_to_files
from auditor.core.errors import AuditorError
from auditor.core.quiet import quiet_libraries

MIXTURE = [
    {"attack": "quantization/bnb", "parameters": {"format": ["int8", "nf4", "fp4"]}},
    {"attack": "quantization/rtn", "parameters": {"bits": [4, 3]}},
    {"attack": "quantization/gptq", "parameters": {"bits": 4, "calibration_samples": 4}},
]


def asked(attack, **parameters):
    return {"attack": attack, "parameters": parameters}


FAMILIES = {
    "relearning": [
        asked("relearning/held-out-facts", split=["attribute", "entity"], checkpoints=[2, 4]),
        asked("relearning/benign", on=["retain", "generic"], checkpoints=[2, 4]),
        asked("relearning/same-facts", limit=4, every=2),
        asked("relearning/service", steps=4, targets=["linear", "attention"]),
    ],
    "membership": [
        asked("membership/likelihood", score=["loss", "min-k++", "recall"]),
        asked("membership/gradient-norm"),
        asked("membership/neighbourhood", neighbours=2),
    ],
    "prompting": [
        asked("prompting/paraphrase", source=["given", "rules"]),
        asked("prompting/prefill"),
        asked("prompting/few-shot", draws=1),
        asked("prompting/reframing"),
        asked("prompting/surface"),
        asked("prompting/related-facts", relation=["multi-hop", "alias", "twins"], readings=1),
        asked("prompting/cloze"),
        asked("prompting/reminders", shown=2),
        asked("prompting/best-of-n", samples=4, k=2),
        asked("prompting/attacker-model", attacker="attacker", rounds=1, split="half"),
        asked("prompting/sampling", samples=4, k=2),
        asked("prompting/gcg", steps=2, candidates=8),
        asked("prompting/soft", steps=4),
        asked("prompting/checkpoint-pair"),
    ],
    "tampering and latent": [
        asked("tampering/noise", level=[0.1, 0.2]),
        asked("tampering/pruning"),
        asked("tampering/revive"),
        asked("steering/refusal-direction", refusing=0),
        asked("steering/suppression", layers=1, strengths=[1.0], steps=2),
        asked("tampering/interpolation", base="retrained-2", step=0.5),
        asked("probing/linear-probe"),
        asked("probing/output-probe", halves=["entity", "attribute"]),
        asked("probing/activation-patching"),
        asked("probing/mode-connectivity", points=3, facts=8),
        asked("probing/detectability", texts=40),
    ],
    "generation": [
        asked("generation/gibberish", wrong_answers=1),
        asked("generation/knowledge-holes", neighbours=1),
    ],
    "thinking": [
        asked("prompting/thinking"),
        asked("prompting/thinking", thinking=["opened", "emptied", "short"], place="answer"),
    ],
    "quantization": [
        asked("quantization/awq", calibration_samples=4),
        asked("quantization/torchao"),
        asked("quantization/bnb", format="nf4-double"),
        asked("quantization/half-types", type=["bfloat16", "float16"]),
    ],
}
"""Every attack with a small budget, by family; another model is a subject of the world."""
FORMATS = {"thinking": {"trace": {"open": " <think>", "close": " </think>", "tokens": 8}}}
"""Formats other than the usual one: models of the world know no markers of their own."""
NOT_HERE = {"probing/activation-patching"}
"""Models trained from other random weights do not read each other's states."""


def _run(plan, out):
    quiet_libraries()
    import torch

    torch.set_num_threads(1)
    audit_to_files(plan, out=out)


def content(out):
    """The certificate without what may differ: timing, and the folder in its own command."""
    certificate = json.loads((out / "certificate.json").read_text(encoding="utf-8"))
    del certificate["timing"]
    return json.dumps(certificate, indent=2).replace(str(out), "OUT").encode()


def killed_and_resumed(server, plan, folder, kills):
    """Run an audit whole, then again with kills at random moments; both certificates."""
    out = folder / "audit"
    whole = server.Process(target=_run, args=(plan, out))
    began = time.monotonic()
    whole.start()
    whole.join()
    seconds = time.monotonic() - began
    assert whole.exitcode == 0
    undisturbed = content(out)
    (out / "evidence").rename(folder / "evidence-of-the-whole-run")
    (out / "certificate.json").unlink()

    moments = random.Random(7)
    killed = 0
    for _ in range(kills):
        process = server.Process(target=_run, args=(plan, out))
        process.start()
        process.join(moments.uniform(0.05, 1.0) * seconds / 3)
        if process.exitcode is None:
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            killed += 1
    assert killed >= (kills + 1) // 2, "the audit was over before it could be killed often enough"
    last = server.Process(target=_run, args=(plan, out))
    last.start()
    last.join()
    assert last.exitcode == 0
    return undisturbed, content(out)


@pytest.mark.slow
def test_killed_at_random_moments_the_certificate_is_the_same(
    server, passing_plan, few_facts, tmp_path
):
    sets = {name: few_facts[name] for name in ("forget", "retain")}
    plan = passing_plan(attacks=MIXTURE, data=sets)
    undisturbed, resumed = killed_and_resumed(server, plan, tmp_path, 5)
    assert resumed == undisturbed


@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES)
def test_killed_in_any_attack_the_certificate_is_the_same(
    server, passing_plan, people, told_otherwise, few_facts, tmp_path, family
):
    requests = deepcopy(FAMILIES[family])
    for request in requests:
        if base := request["parameters"].get("base"):
            request["parameters"]["base"] = str(people.model_path(base))
        if attacker := request["parameters"].get("attacker"):
            request["parameters"]["attacker"] = str(told_otherwise[attacker])
    plan = passing_plan(
        attacks=requests,
        data=few_facts,
        seeds=[0],
        policy={"mandatory": ["none/as-is"]},
        metrics={"reported": []},
        format=FORMATS.get(family, {}),
    )
    undisturbed, resumed = killed_and_resumed(server, plan, tmp_path, 3)
    assert resumed == undisturbed
    measured = json.loads(undisturbed)["matrix"]
    assert {row["attack"] for row in measured if row["status"] == "measured"} >= {
        request["attack"] for request in requests
    } - NOT_HERE


def test_finished_jobs_are_not_measured_again(passing_plan, audit, tmp_path):
    plan = passing_plan()
    audit(plan, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "jobs").rglob("*") if p.is_file()}
    assert len(before) > 0
    audit(plan, tmp_path)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "jobs").rglob("*") if p.is_file()}
    assert after == before


def test_evidence_that_was_changed_is_refused(passing_plan, audit, tmp_path):
    plan = passing_plan()
    audit(plan, tmp_path)
    rows = next((tmp_path / "jobs").rglob("rows.parquet"))
    rows.write_bytes(rows.read_bytes() + b"\0")
    with pytest.raises(AuditorError, match="evidence was changed after it was measured"):
        audit(plan, tmp_path)
