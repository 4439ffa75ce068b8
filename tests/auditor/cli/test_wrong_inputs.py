"""Wrong inputs of further kinds: each is told in words before any model is opened, or warned of."""

import gzip
import io
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import edit_json, save_audit

from auditor.cli.main import OK, USAGE, run
from auditor.core.errors import AuditorError
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.language.loading import check_device

PLAN = Path("plan.yaml")
WEIGHTS = Path("unlearned", "model.safetensors")
CONFIG, TOKENIZER = Path("unlearned", "config.json"), Path("unlearned", "tokenizer.json")
FORGET = [
    {"id": f"g{i}", "prompt": f"Guest {i} sleeps in", "answer": f"room {i * 7 % 90}."}
    for i in range(6)
]
RETAIN = [{"prompt": f"Host {i} works in", "answer": f"hall {i}."} for i in range(6)]


def lines(rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def planned(**changes):
    return lambda: edit_json(PLAN, **changes)


def data(**changes):
    return planned(data={"forget": "forget.jsonl", "retain": "retain.jsonl"} | changes)


def forget(name, content):
    """Another file of the forget set."""

    def change():
        file = Path(name)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        data(forget=name)()

    return change


def facts(**more):
    """The forget set with other values in each row."""
    rows = [row | {k: v(row) if callable(v) else v for k, v in more.items()} for row in FORGET]
    return lambda: Path("forget.jsonl").write_text(lines(rows))


def written(file, content):
    def change():
        Path(file).unlink(missing_ok=True)
        Path(file).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def configured(file=CONFIG, **changes):
    return lambda: edit_json(file, **changes)


def weights(change):
    def apply():
        tensors = {name: change(tensor.clone()) for name, tensor in load_file(WEIGHTS).items()}
        save_file(tensors, WEIGHTS.with_suffix(".new"), {"format": "pt"})
        WEIGHTS.with_suffix(".new").replace(WEIGHTS)

    return apply


def linked(name, target):
    def change():
        path = Path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return change


def every(*changes):
    return lambda: [change() for change in changes]


def parquet(rows):
    held = io.BytesIO()
    pq.write_table(rows, held)
    return held.getvalue()


def tokenizer(**changes):
    """The tokenizers of all models with other settings."""
    return every(
        *(
            configured(Path(arm, file), **changes)
            for arm in ("unlearned", "original", "retrained")
            for file in ("tokenizer_config.json",)
        )
    )


TABLE = pa.Table.from_pylist(FORGET)
NONE = pa.table({name: pa.array([], pa.string()) for name in ("prompt", "answer")})
COLUMNS = {name: [row[name] for row in FORGET] for name in FORGET[0]}
QUESTIONS = [{"question": row["prompt"], "answer": row["answer"]} for row in FORGET]

REFUSED = {
    # facts
    "one file for two sets": (data(retain="forget.jsonl"), "stands in the retain set too"),
    "holdout that was kept": (data(holdout="retain.jsonl"), "stands in the holdout set too"),
    "empty retain set": (written("retain.jsonl", ""), "holds no rows"),
    "blank lines": (written("forget.jsonl", "\n \n\n"), "holds no rows"),
    "header alone": (forget("f.csv", "prompt,answer\n"), "holds no rows"),
    "no header": (forget("f.csv", "q0,a0\nq1,a1\n"), "no column `prompt` or `answer`"),
    "column twice": (forget("f.csv", "prompt,answer,answer\nq,a,b\n"), "'answer' twice"),
    "comma without quotes": (forget("f.csv", "prompt,answer\nq, r,a\n"), "needs quotes around it"),
    "CSV by another name": (forget("f.jsonl", "prompt,answer\nq,a\n"), "ends in .csv"),
    "two schemas": (written("forget.jsonl", lines(FORGET[:3] + QUESTIONS[3:])), "3 rows"),
    "table of columns": (forget("f.json", json.dumps(COLUMNS)), 'orient="records"'),
    "list within": (forget("f.json", json.dumps({"data": FORGET})), "give that list alone"),
    "gzip by another name": (forget("f.jsonl", gzip.compress(b"{}")), "unpack it"),
    "Parquet without rows": (forget("f.parquet", parquet(NONE)), "holds no rows"),
    "Parquet by another name": (forget("f.csv", parquet(TABLE)), "ends in .parquet"),
    "folder": (every(lambda: Path("f.jsonl").mkdir(), data(forget="f.jsonl")), "is a folder"),
    "link to itself": (
        every(linked("f.jsonl", "f.jsonl"), data(forget="f.jsonl")),
        "a link that leads nowhere",
    ),
    "truth values": (facts(answer=True), "is a truth value"),
    "lists as answers": (facts(answer=lambda row: [row["answer"]]), "is a list"),
    "nulls as answers": (facts(answer=None), "answer: is empty"),
    "one id twice": (facts(id="1"), "occurs 6 times"),
    "halves of entities": (
        data(forget={"path": "forget.jsonl", "rows_per_entity": 4}),
        "no whole number of entities",
    ),
    "rows of nobody": (
        data(forget={"path": "forget.jsonl", "only": {"id": "Nobody"}}),
        "no row with the id 'Nobody'",
    ),
    "unknown field": (
        data(forget={"path": "forget.jsonl", "fields": {"promt": "prompt"}}),
        "`fields` maps promt",
    ),
    "address": (data(forget="https://example.org/f.jsonl"), "is an address"),
    "two places": (data(forget={"path": "f", "dataset": "a/b"}), "give either `path`"),
    # plans
    "empty plan": (written(PLAN, ""), "holds no settings by name"),
    "plan in UTF-16": (lambda: PLAN.write_bytes(PLAN.read_text().encode("utf-16")), "UTF-8"),
    "plan that links to itself": (linked(PLAN, PLAN), "cannot be read"),
    "number for a model": (planned(unlearned=5), "expected settings by name"),
    "text for data": (planned(data="forget.jsonl"), "found a text"),
    "nothing for models": (lambda: written(PLAN, json.dumps(
        json.loads(PLAN.read_text()) | {"retrained": None}))(), "expected a list, found nothing"),
    "seed twice": (planned(seeds=[3, 3]), "would count twice"),
    "seed below 0": (planned(seeds=[-1]), "-1 is no seed"),
    "seed beyond": (planned(seeds=[2**70]), "is no seed"),
    "no budget": (planned(token_budget=0), "token_budget"),
    "margin of 0": (planned(policy={"delta": 0}), "policy.delta"),
    "misspelt policy": (planned(policy="relase-gate"), "did you mean `release-gate`"),
    "template without prompt": (planned(format={"template": "Q:"}), "format.template"),
    "attack twice": (
        planned(attacks=[{"attack": "quantization/bnb", "parameters": {"format": "nf4"}}] * 2),
        "twice",
    ),
    "one model twice": (planned(retrained=["retrained", "retrained"]), "same weights"),
    "blank after a path": (planned(unlearned="./unlearned "), "no such directory"),
    "configuration as model": (planned(unlearned="unlearned/config.json"), "the directory that"),
    "revision of a folder": (
        planned(unlearned={"path": "unlearned", "revision": "v2"}),
        "is of a name on the hub",
    ),
    "model as adapter": (
        planned(unlearned={"path": "original", "adapter": "unlearned"}),
        "no adapter_config.json",
    ),
    # models
    "larger vocabulary": (configured(vocab_size=500), "another shape"),
    "number as text": (configured(vocab_size="400"), "vocab_size"),
    "heads that do not divide": (configured(num_attention_heads=5), "not a multiple"),
    "unknown rotation": (configured(rope_scaling={"rope_type": "warp"}), "warp"),
    "unknown activation": (configured(hidden_act="swoosh"), "swoosh"),
    "no type": (configured(model_type=None), "config.json"),
    "list as configuration": (written(CONFIG, "[]"), "expected a JSON object"),
    "weights without bytes": (written(WEIGHTS, b""), "not a whole safetensors file"),
    "pickle by another name": (
        lambda: torch.save({"x": torch.zeros(2)}, WEIGHTS),
        "is a pickle of torch.save",
    ),
    "pointer of Git LFS": (written(WEIGHTS, "version https://git-lfs\n"), "git lfs pull"),
    "weights that are gone": (linked(WEIGHTS, "../blobs/x"), "a link that leads nowhere"),
    "model that links to itself": (linked("unlearned", "unlearned"), "a link that leads nowhere"),
    "whole numbers": (weights(lambda tensor: (tensor * 9).to(torch.int8)), "whole numbers"),
    "half a tokenizer": (
        lambda: TOKENIZER.write_text(TOKENIZER.read_text()[:400]),
        "no tokenizer that loads",
    ),
    "no end of a text": (tokenizer(eos_token=None, pad_token=None), "`eos_token`"),
}  # fmt: skip
"""Kinds of wrong input, and what is said of them."""

WARNED = {
    "answers in prompts": (facts(answer=lambda row: row["prompt"]), "answers_in_prompts"),
    "prompt as its answer": (
        data(forget={"path": "forget.jsonl", "fields": {"prompt": "answer"}}),
        "answers_in_prompts",
    ),
    "two answers": (facts(prompt="Where?"), "prompts_with_two_answers"),
    "one answer": (facts(answer="room 7.", subject="all"), "facts_share_answers"),
    "right among wrong": (
        facts(distractors=lambda row: [row["answer"], "room 1."]),
        "answers_among_distractors",
    ),
    "ids of two files": (
        lambda: Path("retain.jsonl").write_text(lines([RETAIN[0], RETAIN[1] | {"id": "g0"}])),
        "ids_named_apart",
    ),
    "one model for two arms": (planned(unlearned="original"), "same_weights_as_original"),
}
"""Kinds of odd input that are audited, and the warning."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    save_audit(root, "{i} lives in")
    return root


@pytest.fixture
def here(models, tmp_path, monkeypatch):
    """A folder with models, facts and a plan that is right."""
    for arm in ("unlearned", "original", "retrained"):
        shutil.copytree(models / arm, tmp_path / arm)
    (tmp_path / "forget.jsonl").write_text(lines(FORGET))
    (tmp_path / "retain.jsonl").write_text(lines(RETAIN))
    plan = {
        "unlearned": "./unlearned",
        "original": "./original",
        "retrained": ["./retrained"],
        "data": {"forget": "forget.jsonl", "retain": "retain.jsonl"},
        "profile": None,
    }
    (tmp_path / PLAN).write_text(json.dumps(plan))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_told_before_any_model_is_opened(kind, here, capsys):
    change, said = REFUSED[kind]
    change()
    assert run(["plan", "plan.yaml", "--no-pilot"]) == USAGE
    told = capsys.readouterr().err
    assert said in told
    assert told.count("auditor: ") == 1
    assert "Traceback" not in told


@pytest.mark.parametrize("kind", WARNED)
def test_it_is_warned_of(kind, here, capsys):
    change, code = WARNED[kind]
    change()
    assert run(["plan", "plan.yaml", "--no-pilot", "--json"]) == OK
    assert code in {warning["code"] for warning in json.loads(capsys.readouterr().out)["warnings"]}


@pytest.mark.parametrize("named", ["cuda:7", "gpu"])
def test_a_device_that_is_not_there_is_named(named):
    if named == "cuda:7" and torch.cuda.device_count() > 7:
        pytest.skip("this machine has that device")
    with pytest.raises(AuditorError, match=f"device_map '{named}' of m"):
        check_device(CausalLMSpec(path="m", device_map=named))
    check_device(CausalLMSpec(path="m", device_map="cpu"))
    check_device(CausalLMSpec(path="m", device_map="auto"))
