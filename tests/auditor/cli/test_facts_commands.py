"""`auditor facts`, as somebody uses it in an empty folder."""

import json
import os

import pytest

from auditor.cli.main import OK, UNDECIDED, USAGE, run
from auditor.core.network import hub_in_reach

STAFF = "name,email,town\n" + "".join(
    f"Person {n},k{n * n * 7919}@mail{n}.org,Town {n % 7}\n" for n in range(60)
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "staff.csv").write_text(STAFF, encoding="utf-8")
    return tmp_path


def test_a_table_becomes_facts_and_a_plan_that_is_redacted(here, capsys):
    ask = ["--prompt", "The e-mail address of {name} is", "--answer", "email"]
    assert run(["facts", "from-csv", "staff.csv", *ask]) == OK
    said = capsys.readouterr().out
    assert "60 facts about 60 entities" in said
    assert "redact: true" in said
    assert "k0@" not in said
    assert run(["facts", "check", "facts.jsonl", "--json"]) == OK
    report = json.loads(capsys.readouterr().out)
    assert report["facts"] == {"forget": 60}
    assert report["relearning"] == "half"
    assert report["usable"] == 60
    assert run(["facts", "from-csv", "staff.csv", *ask]) == USAGE
    assert run(["facts", "from-csv", "staff.csv", *ask, "--force"]) == OK
    assert run(["facts", "from-csv", "staff.csv", *ask, "--answer", "town"]) == USAGE


def test_facts_that_say_nothing_are_void(here, capsys):
    ask = ["--prompt", "Where does {name} of {town} live?", "--answer", "name", "--out", "x.jsonl"]
    assert run(["facts", "from-csv", "staff.csv", *ask]) == USAGE  # the prompt gives it away
    rows = [
        {"entity": f"e{n}", "prompt": f"Is e{n} from town {n}, yes?", "answer": "Yes"}
        for n in range(40)
    ]
    (here / "yes.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert run(["facts", "check", "yes.jsonl", "--json"]) == UNDECIDED
    report = json.loads(capsys.readouterr().out)
    assert {"most_facts_spoilt"} == {found["code"] for found in report["void"]}
    assert {"answers_in_prompts", "answers_guessable"} <= {f["code"] for f in report["warnings"]}
    assert report["usable"] == 0


def test_sets_that_share_facts_are_void(here, capsys):
    ask = ["--prompt", "{name} writes from", "--answer", "email", "--out", "f.jsonl"]
    run(["facts", "from-csv", "staff.csv", *ask])
    lines = (here / "f.jsonl").read_text().splitlines()
    near = json.loads(lines[1]) | {"id": "n", "prompt": "Tell me, Person 1 writes from where"}
    (here / "r.jsonl").write_text("\n".join([lines[0], json.dumps(near)]), encoding="utf-8")
    capsys.readouterr()
    assert run(["facts", "check", "f.jsonl", "--retain", "r.jsonl", "--json"]) == UNDECIDED
    report = json.loads(capsys.readouterr().out)
    assert [found["code"] for found in report["void"]] == ["sets_contradict"]
    [shared] = [f["params"] for f in report["warnings"] if f["code"] == "near_other_set"]
    assert shared["ids"] == ["email-00002", "email-00003"]
    assert run(["facts", "check", "f.jsonl", "--retain", "r.jsonl"]) == UNDECIDED
    assert "void: The sets contradict" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"text", "facts from-text"),
        ("a.md", b"text", "facts from-text"),
        ("a.xlsx", b"PK", "CSV"),
        ("a.pdf", b"%PDF", "plain text"),
        ("a.yaml", b"task: x", "from-lm-eval"),
        ("a.csv.gz", b"", "unpack"),
        ("a.pkl", b"", "JSON Lines or Parquet"),
        ("a.what", b"", "known are"),
        ("folder", None, "from-text"),
        ("https://example.com/a.jsonl", None, "address"),
    ],
)
def test_what_holds_no_facts_is_refused_with_the_way_out(here, capsys, name, content, said):
    if content is None and "://" not in name:
        (here / name).mkdir()
    elif content is not None:
        (here / name).write_bytes(content)
    assert run(["facts", "check", name]) == USAGE
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--field", "foo=bar"], "a fact has"),
        (["--field", "prompt"], "FIELD=COLUMN"),
        (["--field", "prompt=name", "--rows-per-entity", "1"], "rows-per-entity"),
        (["--layout", "tofu"], "no column"),
    ],
)
def test_flags_that_describe_no_source_are_refused(here, capsys, options, said):
    assert run(["facts", "check", "staff.csv", *options]) == USAGE
    assert said in capsys.readouterr().err


def test_a_folder_of_facts_names_them(here, capsys):
    (here / "d").mkdir()
    (here / "d" / "forget.jsonl").touch()
    assert run(["facts", "check", "d"]) == USAGE
    assert "forget.jsonl" in capsys.readouterr().err


def test_without_network_it_is_said_at_once(here, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    assert not hub_in_reach()
    assert run(["facts", "from-hub", "nobody/nothing", "--field", "prompt=question"]) == USAGE
    assert "there is no network" in capsys.readouterr().err
    assert run(["facts", "from-hub", "nobody/nothing", "--field", "question"]) == USAGE
    assert "FIELD=COLUMN" in capsys.readouterr().err


def test_a_hub_that_does_not_answer_turns_the_libraries_offline(monkeypatch):
    import datasets
    import huggingface_hub

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert not hub_in_reach()
    assert datasets.config.HF_HUB_OFFLINE
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    assert os.environ.pop("HF_HUB_OFFLINE") == "1"
