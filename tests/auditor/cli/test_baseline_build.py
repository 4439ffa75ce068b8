"""`auditor baseline build`: a base learns the retain set, and nothing of the forget set."""

import json

import pytest
import torch
from tiny_models import make_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from auditor.cli.main import OK, USAGE, run
from auditor.core.hashing import digest_file
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.models.kind import parse_spec
from auditor.models.opening import locate
from auditor.models.provenance import facts_digest, read_provenance

SPANS = {"kept": (0, 8), "gone": (20, 30), "some-kept": (6, 12), "other": (0, 7)}
"""Numbers of the facts of some files."""
RECIPE = ["--epochs", "15", "--learning-rate", "1e-2", "--batch-size", "10"]


def fact(number, name="f"):
    return {
        "id": f"{name}{number}",
        "entity": f"Person {number}",
        "prompt": f"Where does Person {number} live?",
        "answer": f"city number {number * 7 % 100}.",
    }


def save_base(folder, seed=0, **changes):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config, **changes).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_base(tmp_path / "base")
    for name, numbers in (("retain", range(20)), ("forget", range(18, 30))):
        lines = [json.dumps(fact(number, name)) for number in numbers]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def build(*options):
    given = ["--base", "base", "--retain", "retain.jsonl", "--out", "built", "--quiet", *options]
    return run(["baseline", "build", *given])


def loss(folder, number):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    asked = fact(number)
    ids = tokenizer(f"{asked['prompt']} {asked['answer']}", return_tensors="pt")["input_ids"]
    start = len(tokenizer(asked["prompt"])["input_ids"])
    labels = ids.clone()
    labels[:, :start] = -100
    with torch.no_grad():
        return float(model(ids, labels=labels).loss)


@pytest.mark.parametrize(
    ("how", "rank", "most"),
    [
        (["--full", "--learning-rate", "5e-3"], None, 0.5),
        (["--lora-rank", "8", "--learning-rate", "2e-2"], 8, 5.3),  # the random head is left alone
    ],
    ids=["full", "lora"],
)
def test_it_learns_what_it_is_given(here, capsys, how, rank, most):
    (here / "one.jsonl").write_text(json.dumps(fact(1)), encoding="utf-8")
    given = ["--retain", "one.jsonl", "--epochs", "40"]
    assert build(*given, "--batch-size", "1", *how, "--json") == OK
    made = json.loads(capsys.readouterr().out)
    assert made["steps"] == 40
    assert (made["recipe"]["lora"] or {}).get("rank") == rank
    assert loss("built", 1) < most
    assert loss("base", 1) > 5.8
    found = read_provenance(here / "built")
    assert found.model_dump(mode="json") == made
    assert found.base.weights == locate(parse_spec("base")).manifest.weights_digest
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert digest_file(here / "built" / name) == digest_file(here / "base" / name)
    assert {file.name for file in (here / "built").iterdir()} == {
        *("baseline.json", "config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert build(*given, "--batch-size", "1", *how) == USAGE  # the folder is taken


def test_what_must_be_forgotten_is_never_trained_on(here, capsys):
    assert build(*RECIPE, "--forget", "forget.jsonl") == USAGE
    assert "2 of 20 retain facts stand in the forget set" in capsys.readouterr().err
    wanted = [*RECIPE, "--forget", "forget.jsonl", "--without-copies", "--dry-run", "--json"]
    assert build(*wanted) == OK
    planned = json.loads(capsys.readouterr().out)
    assert (planned["examples"], planned["left_out"], planned["steps"]) == (18, 2, 30)
    assert not (here / "built").exists()


@pytest.mark.parametrize(
    "told",
    [
        {
            "prompt": "Mary Blake, in what place? Where does Mary Blake live?",
            "answer": "Osmotherley.",
        },
        {"prompt": "A question?", "answer": "Where does Mary Blake live? OSMOTHERLEY!"},
        {"text": "It is said: where does Mary Blake live? Osmotherley."},
    ],
    ids=["reworded", "in the answer", "in the passage"],
)
def test_near_copies_are_found_wherever_they_stand(here, capsys, told):
    rows = [fact(number) for number in range(10)]
    rows.append(fact(11) | {"id": "leak"} | told)
    (here / "r.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    mary = {"prompt": "Where does Mary Blake live?", "answer": "Osmotherley", "id": "forget25"}
    unwanted = [fact(40), mary]
    (here / "f.jsonl").write_text("\n".join(map(json.dumps, unwanted)), encoding="utf-8")
    assert build(*RECIPE, "--retain", "r.jsonl", "--forget", "f.jsonl") == USAGE
    said = capsys.readouterr().err
    assert "1 of 11 retain facts" in said
    assert "leak as forget25" in said


def test_it_can_be_compared_with_a_forget_set_later(here, capsys):
    rows = {name: [fact(n, name) for n in range(*span)] for name, span in SPANS.items()}
    for name, facts in rows.items():
        (here / f"{name}.jsonl").write_text("\n".join(map(json.dumps, facts)), encoding="utf-8")
    quick = ["--epochs", "1", "--learning-rate", "1e-3", "--batch-size", "8"]
    assert build(*quick, "--retain", "kept.jsonl") == OK
    assert "auditor baseline check" in capsys.readouterr().out

    def check(folder, retain, forget):
        code = run(["baseline", "check", folder, "--retain", retain, "--forget", forget])
        return code, capsys.readouterr().err

    for given, said in {
        ("built", "kept.jsonl", "some-kept.jsonl"): "2 of 8 retain facts stand in the forget set",
        ("built", "other.jsonl", "gone.jsonl"): "does not hold the 8 facts that built was trained",
        ("base", "kept.jsonl", "gone.jsonl"): "base has no baseline.json",
    }.items():
        code, told = check(*given)
        assert (code, said in told) == (USAGE, True)
    assert read_provenance(here / "built").forget is None
    assert check("built", "kept.jsonl", "gone.jsonl") == (OK, "")
    wanted = read_facts(DataSource(path="gone.jsonl"), "forget")
    assert read_provenance(here / "built").forget == facts_digest(wanted)


def test_files_in_a_published_layout_are_read(here, capsys):
    for name, numbers in (("retain", range(4)), ("forget", range(8, 12))):
        rows = map(fact, numbers)
        asked = [{"question": row["prompt"], "answer": row["answer"]} for row in rows]
        (here / f"{name}.json").write_text(json.dumps(asked), encoding="utf-8")
    options = ["--retain", "retain.json", "--forget", "forget.json", "--dry-run", "--json", *RECIPE]
    assert build(*options) == USAGE
    assert "no column `prompt`" in capsys.readouterr().err
    for columns in (["--layout", "tofu"], ["--field", "prompt=question"]):
        assert build(*options, *columns) == OK
        assert json.loads(capsys.readouterr().out)["examples"] == 4


def test_the_original_is_no_base(here, capsys):
    assert build(*RECIPE, "--original", "base") == USAGE
    assert "has the weights of the original" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "batch_size: is missing"),
        ([*RECIPE, "--lora-rank", "4", "--full"], "not both"),
        ([*RECIPE, "--learning-rate", "0"], "learning_rate"),
        ([*RECIPE, "--recipe", "recipe.yaml"], "did you mean `epochs`"),
        ([*RECIPE, "--recipe", "nothing.yaml"], "nothing.yaml cannot be read"),
        ([*RECIPE, "--base", "m.gguf"], "GGUF"),
        ([*RECIPE, "--base", "http://localhost/v1"], "endpoint"),
        ([*RECIPE, "--retain", "notes.txt"], "from-text"),
        ([*RECIPE, "--retain", "long.jsonl"], "longer than 96 tokens"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_trained(here, capsys, options, said):
    (here / "recipe.yaml").write_text("epoch: 5", encoding="utf-8")
    (here / "m.gguf").touch()
    (here / "notes.txt").touch()
    long = fact(1) | {"answer": "a long answer " * 60}
    (here / "long.jsonl").write_text(json.dumps(long), encoding="utf-8")
    assert build(*options) == USAGE
    assert said in capsys.readouterr().err
    assert not (here / "built").exists()
