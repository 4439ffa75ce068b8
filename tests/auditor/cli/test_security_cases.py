"""Cases of abuse that once passed or broke, each run as its description says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WRONG_TYPES = 15
"""Variants of the case on configurations of wrong types."""
AUDITOR = (sys.executable, "-m", "auditor.cli.entry")
AUDIT = ("audit", "plan.yaml", "--out", "out", "-q")
ADDED = (
    "MODEL.SAFETENSORS",
    "consolidated.00.pth",
    "model.gguf",
    "original/model.safetensors",
    "pytorch_model.bin",
    "qwen.tiktoken",
)


def one_sentence(said):
    """Whether an error is told in a line, and not as a traceback."""
    return "Traceback" not in said and len(said.strip().splitlines()) == 1


def test_the_unlearned_model_saved_again_is_no_baseline(case):
    code, said = case("security-baseline-is-the-unlearned-model").auditor(*AUDIT)
    assert code == 2
    assert "unlearned and retrained-0 are one model, saved again" in said
    assert not Path("out", "certificate.json").exists()


def test_a_diluted_grid_of_checkpoints_does_not_meet_the_budget(case):
    code, said = case("security-checkpoints-diluted").auditor("plan", "plan.yaml")
    assert code == 0
    assert "the budget is smaller than the policy demands" in " ".join(said.split())


@pytest.mark.parametrize("number", range(WRONG_TYPES))
def test_wrong_types_are_told_in_a_line_that_names_the_file(case, number):
    code, said = case("security-config-of-wrong-types", str(number)).auditor(*AUDIT)
    assert code == 2
    assert one_sentence(said)
    assert any(name in said for name in ("config.json", "index.json", "tokenizer", "/U", "xxx"))


def test_the_name_of_a_ready_made_policy_means_that_policy(case):
    held = case("security-local-file-shadows-policy")
    assert held.auditor(*AUDIT)[0] in {0, 1, 3}
    code, said = held.auditor(
        "gate", "out/certificate.json", "--policy", "release-gate", "--unsigned", "--json"
    )
    assert (code, '"ready_made": true' in said, "0.99" in said) == (3, True, False)
    code, shown = held.auditor("policy", "show", "release-gate")
    assert (code, "delta: 0.1" in shown, "0.99" in shown) == (0, True, False)


def test_files_that_were_put_beside_the_model_are_named(case):
    held = case("security-model-folder-holds-more")
    assert held.auditor(*AUDIT)[0] in {0, 1, 3}
    held.script("more.py")
    code, said = held.auditor(
        "verify", "out/certificate.json", "--unsigned", "--model", "U", "-q", "--json"
    )
    assert code == 16
    assert [name for name in ADDED if name not in said] == []


def test_a_panic_in_a_library_says_nothing_of_the_model(case):
    case("security-panic-exits-1")
    done = subprocess.run([*AUDITOR, *AUDIT], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "PanicException" in done.stderr
    assert not Path("out", "certificate.json").exists()
    assert "Traceback" not in done.stderr


def test_relearning_that_teaches_one_fact_is_not_run(case):
    held = case("security-subjects-starve-relearning")
    code, said = held.auditor("plan", "plan.yaml", "--json")
    assert code == 0
    assert "forget_facts_not_divided" in said
    assert held.auditor(*AUDIT)[0] == 3
    rows = json.loads(Path("out", "certificate.json").read_text(encoding="utf-8"))["matrix"]
    [asked] = [row for row in rows if row["attack"] == "relearning/held-out-facts"]
    assert (asked["role"], asked["status"]) == ("mandatory", "unavailable")


def test_two_policies_at_once_are_both_on_record(case):
    case("security-two-policies-at-once")
    both = [
        subprocess.Popen([*AUDITOR, "audit", plan, "--out", out, "--store", "s", "-q"])
        for plan, out in (("plan.yaml", "a"), ("strict.yaml", "b"))
    ]
    codes = [process.wait() for process in both]
    assert set(codes) <= {0, 1, 3}
    entries = [
        json.loads(file.read_text(encoding="utf-8")) for file in Path("s").glob("audits/*/*.json")
    ]
    decided = {entry["policy"] for entry in entries if entry.get("event") == "decided"}
    assert len(decided) == 2
    told = [
        json.loads(Path(out, "certificate.json").read_text(encoding="utf-8"))["identity"]
        for out in "ab"
    ]
    named = [set(identity["earlier_policies"]) for identity in told]
    assert any(named), "the later of the two names the earlier"
    assert named[0] | named[1] <= decided
