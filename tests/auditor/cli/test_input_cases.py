"""Cases of files as people have them, each run as its description says."""

import json
from pathlib import Path

import pytest

AUDIT = ("audit", "plan.yaml", "--out", "out", "-q")
PLAN = ("plan", "plan.yaml", "--no-pilot", "--out", "out")


def certificate():
    return json.loads(Path("out", "certificate.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("chat-without-template", (), "has none"),
        ("checkpoint-with-more-layers", (), "model.layers.1."),
        ("encoder-as-causal-lm", (), "is no causal language model"),
        ("fact-longer-than-context", (), "g3 (18"),
        ("index-answers-in-csv", (), "layout: wmdp"),
        ("one-mistake-many-rows", (), "semicolons"),
        ("prompt-tuning-adapter", (), "merge"),
        ("prompt-tuning-adapter", ("prefix",), "merge"),
        ("system-message-refused", (), "format.system"),
        ("two-checkpoints-in-one-folder", (), "model.safetensors.index.json"),
    ],
)
def test_a_users_mistake_is_told_before_any_attack(case, name, arguments, told):
    opened = case(name, *arguments)
    for command in (PLAN, AUDIT):
        code, said = opened.auditor(*command)
        assert code == 2, said
        assert told in said
        assert "Traceback" not in said
        assert said.count("auditor: ") == 1
    assert not Path("out", "certificate.json").exists()


@pytest.mark.parametrize("name", ["byte-order-mark", "json-lines-named-json"])
def test_files_as_published_are_read(case, name):
    code, said = case(name).auditor(*PLAN)
    assert code == 0, said


@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        ("begin-token-twice", {"begin_token_twice"}),
        ("chat-template-of-u-differs", {"facts_read_otherwise"}),
        ("pad-token-beyond-vocabulary", set()),
    ],
)
def test_arms_are_asked_and_what_is_odd_is_said(case, name, warnings):
    code, said = case(name).auditor(*AUDIT)
    assert code == 3, said
    found = certificate()
    assert warnings <= {warning["code"] for warning in found["warnings"]}
    assert {row["status"] for row in found["matrix"] if row["attack"] == "none/as-is"} == {
        "measured"
    }


def test_line_ends_after_answers_are_trimmed_and_counted(case, people):
    opened = case("answers-with-edge-whitespace", str(people.facts("forget")))
    arms = {name: str(people.model_path(name)) for name in ("original", "retrained-0")}
    code, said = opened.auditor(
        *("plan", "--no-pilot", "--json", f"--unlearned={people.model_path('npo_gdr')}"),
        *(f"--original={arms['original']}", f"--retrained={arms['retrained-0']}"),
        *("--forget=forget.jsonl", f"--retain={people.facts('retain')}"),
    )
    assert code == 0, said
    assert "edges_trimmed" in said


@pytest.mark.nightly
def test_a_state_space_model_is_relearned_or_says_why_not(case):
    code, said = case("state-space-relearning").auditor(*AUDIT)
    assert code == 3, said
    (row,) = (r for r in certificate()["matrix"] if r["attack"] == "relearning/held-out-facts")
    assert row["status"] in ("measured", "unavailable")
