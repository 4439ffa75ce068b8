"""Cases of files as people have them, each run as its description says."""

import ast
import csv
import json
import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tiny_models import edit_json
from transformers import AutoModelForCausalLM, AutoTokenizer

PLANNED = Path("plan.yaml")
AUDIT = ("audit", "plan.yaml", "--out", "out", "-q")
PLAN = ("plan", "plan.yaml", "--no-pilot", "--out", "out")


def certificate():
    return json.loads(Path("out", "certificate.json").read_text(encoding="utf-8"))


def evidence(opened, out="out"):
    """Rows of the exported evidence of an audit."""
    code, said = opened.auditor("export", f"{out}/certificate.json", "--answers")
    assert code == 0, said
    with Path(out, "certificate.evidence.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


@torch.inference_mode()
def beside(base, adapter):
    """K of each forget fact, of a model with its adapter beside it."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = {}
    for line in Path("forget.jsonl").read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        asked = f"{fact['prompt']} "
        read = tokenizer(asked + fact["answer"], return_offsets_mapping=True)
        ids = torch.tensor([read["input_ids"]])
        told = torch.log_softmax(model(ids).logits[0, :-1], -1).gather(-1, ids[0, 1:, None])
        own = [end > len(asked) for _, end in read["offset_mapping"]][1:]
        found[fact["id"]] = math.exp(told[torch.tensor(own)].mean())
    return found


def test_every_case_is_run_by_a_test(cases):
    named = {
        node.value
        for file in Path(__file__).parent.glob("test_*_cases.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    found = {folder.name for folder in cases.iterdir() if (folder / "make.py").is_file()}
    assert found - named == set()


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


@pytest.mark.parametrize(
    "target", ["embed_tokens", pytest.param("lm_head", marks=pytest.mark.nightly)]
)
def test_an_adapter_on_tied_embeddings_scores_as_it_does_beside_them(case, target):
    opened = case("lora-on-tied-embeddings", target)
    edit_json(PLANNED, attacks=[], data={"forget": "forget.jsonl"})
    code, said = opened.auditor(*AUDIT)
    assert code == 3, said
    found = {
        row["fact"]: float(row["k"])
        for row in evidence(opened)
        if (row["arm"], row["set"], row["metric"]) == ("unlearned", "forget", "answer-probability")
    }
    assert found == pytest.approx(beside("O", "A"), rel=1e-3)


def test_a_network_that_reads_padding_answers_alike_in_batches_of_any_size(case):
    opened = case("recurrent-model-without-mask")
    told = []
    for budget in (8192, 1):
        edit_json(
            PLANNED,
            token_budget=budget,
            data={"forget": "forget.jsonl"},
            metrics={"reported": ["rouge-l-recall"]},
        )
        code, said = opened.auditor("audit", "plan.yaml", "--out", f"by-{budget}", "-q")
        assert code == 3, said
        rows = evidence(opened, f"by-{budget}")
        told.append(
            {(row["arm"], row["fact"], row["metric"]): (row["answer"], row["k"]) for row in rows}
        )
    assert {answer for answer, _ in told[0].values()} - {""}
    assert told[0] == told[1]


@pytest.mark.nightly
def test_a_state_space_model_is_relearned_or_says_why_not(case):
    code, said = case("state-space-relearning").auditor(*AUDIT)
    assert code == 3, said
    (row,) = (r for r in certificate()["matrix"] if r["attack"] == "relearning/held-out-facts")
    assert row["status"] in ("measured", "unavailable")
