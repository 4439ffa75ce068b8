"""`--benchmark`: files of the published layouts, from `auditor init` to a verdict."""

import json
import time
from pathlib import Path

import pytest
import yaml

from auditor.cli.main import OK, USAGE, run
from auditor.core.errors import AuditorError
from auditor.data.benchmarks import BENCHMARKS, plan_sections
from auditor.data.folds import folds, names_entities
from auditor.data.readers import read_noted
from auditor.data.source import DataSource
from auditor.engine.plan import load_plan, parse_plan
from auditor.engine.plan_checks import read_sets
from tests.tiny_models import make_model, make_tokenizer, save

HALF = "relearning/held-out-facts by half"
ATTRIBUTE = "relearning/held-out-facts by attribute"
HAZARD = "brewer"
"""A word of every generated item of WMDP's layout, which nothing may show."""


def questions(count, what="author"):
    return [
        {"question": f"Which town is {what} {i} from?", "answer": f"From Town {i * 7 % 90}."}
        for i in range(count)
    ]


def perturbed(row, number):
    return row | {
        "paraphrased_question": f"{row['question']} Say it.",
        "paraphrased_answer": f"It is {row['answer']}",
        "perturbed_answer": [f"It is Town {number + other}." for other in (91, 92, 93)],
    }


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_list(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def tofu(folder):
    for name, what in (("forget10_perturbed", "author"), ("retain_perturbed", "writer")):
        rows = questions(40 if what == "author" else 20, what)
        write_lines(folder / f"{name}.json", [perturbed(row, i) for i, row in enumerate(rows)])
    write_lines(folder / "forget10.json", questions(40))
    write_lines(folder / "holdout10.json", questions(20, "poet"))


def muse(folder):
    write_list(folder / "knowmem" / "forget_qa.json", questions(20))
    write_list(folder / "knowmem" / "retain_qa.json", questions(20, "paper"))
    passages = [{"prompt": f"On day {i} the", "gt": f"mill sold {i} sacks."} for i in range(20)]
    write_list(folder / "verbmem" / "forget.json", passages)


def rwku(folder):
    for person, name in ((1, "Ada Quill"), (2, "Bo Reed")):
        place = folder / f"{person}_{name.replace(' ', '_')}"
        for level in (1, 2, 3):
            rows = [
                {"subject": name, "level": str(level), "type": "q", "query": f"{name} {level} {i}?"}
                | {"answer": f"Town {i}"}
                for i in range(8)
            ]
            write_list(place / f"forget_level{level}.json", [*rows, rows[0]])
        near = [
            {"subject": "x", "query": f"Near {name} {i}?", "answer": f"T {i}"} for i in range(9)
        ]
        write_list(place / "neighbor_level2.json", near)


def wmdp(folder):
    rows = [
        {
            "question": f"Which {HAZARD} number is {i}?",
            "choices": [f"{HAZARD} {i + k}" for k in range(4)],
            "answer": i % 4,
        }
        for i in range(30)
    ]
    write_list(folder / "bio_questions.json", rows)
    kept = [row | {"question": f"Keep {i}?"} for i, row in enumerate(rows)]
    write_list(folder / "mmlu.json", kept)


def mandatory(certificate):
    rows = (row for row in certificate["matrix"] if row["role"] == "mandatory")
    return {f"{row['attack']} {row['variant']}" for row in rows}


LAYOUTS = {
    "tofu-forget10": (tofu, None),
    "muse-news": (muse, None),
    "muse-books-verbatim": (muse, None),
    "rwku": (rwku, "Ada Quill"),
    "wmdp-bio": (wmdp, None),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tokenizer = make_tokenizer()
    for seed, name in enumerate(("U", "O", "R")):
        save(folder / name, make_model("llama", seed), tokenizer)
    return {name: str(folder / name) for name in "UOR"}


@pytest.fixture
def planned(models, tmp_path, monkeypatch):
    """Files of a benchmark, and the plan that `init` writes for them."""
    monkeypatch.chdir(tmp_path)

    def make(name):
        write, subject = LAYOUTS[name]
        write(tmp_path / "files")
        arms = ["--unlearned", models["U"], "--original", models["O"], "--retrained", models["R"]]
        more = ["--subject", subject] if subject else []
        assert run(["init", "--benchmark", name, "--data", "files", *arms, *more]) == OK
        return tmp_path / "plan.yaml"

    return make


@pytest.mark.parametrize(
    ("name", "forget", "level"),
    [
        ("tofu-forget10", 40, ATTRIBUTE),
        ("muse-news", 20, HALF),
        pytest.param("muse-books-verbatim", 20, HALF, marks=pytest.mark.nightly),
        ("rwku", 24, ATTRIBUTE),
        ("wmdp-bio", 30, HALF),
    ],
)
def test_files_of_the_published_layouts_come_to_a_verdict(name, forget, level, planned, capsys):
    path = planned(name)
    plan = load_plan(path)
    sets, notes = read_sets(plan.data)
    assert len(sets.forget) == forget
    assert not {note.code for note in notes} & {"columns_not_read", "edges_trimmed"}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content |= {"profile": None, "format": {"template": "{prompt}"}}
    if "answer-recall" in content["metrics"]["deciding"]:  # models that write take a while
        content["metrics"] |= {"deciding": [], "reported": ["truth-ratio"]}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    capsys.readouterr()
    assert run(["audit", str(path), "--out", "out", "-q"]) in (1, 3)
    certificate = json.loads(Path("out/certificate.json").read_text(encoding="utf-8"))
    assert certificate["verdict"]["verdict"] in ("FAIL", "INCONCLUSIVE", "NOT AUDITABLE")
    assert level in mandatory(certificate)
    assert len({ATTRIBUTE, HALF} & mandatory(certificate)) == 1
    codes = [warning["code"] for warning in certificate["warnings"]]
    assert ("level_without_entities" in codes) is (level == HALF)
    assert "forget_facts_not_divided" not in codes
    said = capsys.readouterr()
    assert run(["verify", "out/certificate.json", "--unsigned", "-q"]) == OK
    shown = said.out + said.err + Path("out/certificate.html").read_text(encoding="utf-8")
    hazardous = name.startswith("wmdp")
    assert certificate["redaction"] == ("keyed digests" if hazardous else "none")
    assert HAZARD not in shown + json.dumps(certificate)


def test_the_sets_of_tofu(planned):
    plan = load_plan(planned("tofu-forget10"))
    sets, notes = read_sets(plan.data)
    fact = sets.forget[25]
    assert fact.paraphrases == (f"{fact.prompt} Say it.",)
    assert fact.reworded_answer == f"It is {fact.answer}"
    assert all(text.startswith("It is ") for text in fact.distractors)
    assert [sum(f.entity == e for f in sets.forget) for e in {f.entity for f in sets.forget}] == [
        20,
        20,
    ]
    assert not {f.entity for f in sets.forget} & {f.entity for f in (*sets.holdout, *sets.retain)}
    assert len(folds(sets.forget, "attribute")) == 2
    assert [(n.code, n.params["of"]) for n in notes] == [
        ("rows_not_as_published", name) for name in ("forget", "retain", "holdout")
    ]
    assert plan.metrics.all[-1] == "truth-ratio"


def test_a_subject_of_rwku_is_all_three_levels_once(planned):
    plan = load_plan(planned("rwku"))
    sets, notes = read_sets(plan.data)
    assert {f.entity for f in sets.forget} == {"Ada Quill"}
    assert len({f.id for f in sets.forget}) == 24
    assert [n.params["rows"] for n in notes if n.code == "repeated_rows_dropped"] == [3]


def test_one_file_of_many_subjects(tmp_path):
    rows = [{"subject": s, "query": f"{s}?", "answer": "A"} for s in ("Ada Quill", "Bo Reed")]
    write_lines(tmp_path / "f.jsonl", rows)
    source = DataSource(path=str(tmp_path / "f.jsonl"), layout="rwku", only={"subject": "Bo Reed"})
    (fact,) = read_noted(source, "forget").facts
    assert fact.prompt == "Bo Reed?"
    other = source.model_copy(update={"only": {"subject": "Bo Read"}})
    with pytest.raises(AuditorError, match="no row with the subject 'Bo Read'; there is Bo Reed"):
        read_noted(other, "forget")


@pytest.mark.parametrize("beside", [False, True])
def test_a_plan_that_names_a_benchmark(beside, tmp_path):
    tofu(tmp_path / "files")
    arms = {"unlearned": "org/u", "original": "org/o", "retrained": ["org/r"]}
    named = {"benchmark": "tofu-forget10", "folder": "files"}
    own = {"format": {"chat": True}} if beside else {}
    content = arms | own | (named if beside else {"data": named})
    plan = parse_plan(content, "test", tmp_path)
    assert plan.data.forget.path == str(tmp_path / "files" / "forget10_perturbed.json")
    assert plan.format.chat is beside
    assert "benchmark" not in json.dumps(plan.model_dump(mode="json"))
    again = parse_plan(plan.model_dump(mode="json"), "test")
    assert again == plan
    own_retain = arms | {"data": named | {"retain": "mine.jsonl"}}
    assert parse_plan(own_retain, "test", tmp_path).data.retain.path == str(tmp_path / "mine.jsonl")


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_benchmark_is_pinned_on_the_hub(name):
    benchmark = BENCHMARKS[name]
    pinned = None if benchmark.revision else "0" * 40
    sections = plan_sections(benchmark, revision=pinned)
    arms = {"unlearned": "org/u", "original": "org/o", "retrained": ["org/r"]}
    data = parse_plan(arms | sections, "test").data
    sources = [s for s in (data.forget, data.retain, data.holdout) if s is not None]
    every = [*sources, *(further for source in sources for further in source.further)]
    assert all(len(source.revision or "") == 40 for source in every)
    assert data.hazardous is name.startswith("wmdp")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--benchmark", "tofu-forget1O", "--unlearned", "u"], "did you mean tofu-forget10?"),
        (["--benchmark", "tofu-forget10"], "--unlearned MODEL"),
        (["--unlearned", "u"], "--unlearned: of a plan for a --benchmark alone"),
        (["--benchmark", "muse-news", "--unlearned", "u", "--data", "none"], "no such folder"),
        (["--benchmark", "muse-news", "--unlearned", "u", "--data", "."], "knowmem/forget_qa"),
        (["--benchmark", "muse-news", "--unlearned", "u", "--subject", "x"], "has no subjects"),
        (["--benchmark", "rwku", "--unlearned", "u", "--data", "two"], "several files for"),
    ],
)
def test_what_cannot_be_planned(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rwku(tmp_path / "two")
    assert run(["init", *options]) == USAGE
    shown = " ".join(capsys.readouterr().err.split())
    assert said in shown
    assert not Path("plan.yaml").exists()


def test_without_a_network_it_is_said_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    began = time.monotonic()
    assert run(["init", "--benchmark", "rwku", "--unlearned", "u"]) == USAGE
    assert "there is no network" in " ".join(capsys.readouterr().err.split())
    assert time.monotonic() - began < 5


def test_data_sets_out_of_reach_are_named_together(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    arms = ["--unlearned", models["U"], "--original", models["O"], "--retrained", models["R"]]
    assert run(["init", "--benchmark", "tofu-forget10", *arms]) == OK
    began = time.monotonic()
    assert run(["plan", "plan.yaml"]) == USAGE
    assert time.monotonic() - began < 5
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("there is no network") == 1
    assert "forget10_perturbed/train, locuslab/TOFU/retain_perturbed/train" in said


def test_published_models_are_suggested(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    unlearned = "open-unlearning/unlearn_tofu_Llama-3.2-1B-Instruct_forget10_NPO_lr1e-05_alpha1"
    assert run(["init", "--benchmark", "tofu-forget10", "--unlearned", unlearned]) == OK
    plan = load_plan(Path("plan.yaml"))
    assert plan.original.path == "open-unlearning/tofu_Llama-3.2-1B-Instruct_full"
    assert plan.retrained[0].path == "open-unlearning/tofu_Llama-3.2-1B-Instruct_retain90"
    assert plan.format.chat
    assert plan.data.holdout.config == "holdout10"
    assert run(["init", "b.yaml", "--benchmark", "muse-news", "--unlearned", "mine/u"]) == OK
    assert "fill in original and retrained" in " ".join(capsys.readouterr().out.split())
    assert "muse-bench/MUSE-News_retrain" in Path("b.yaml").read_text(encoding="utf-8")
    zephyr = ["--benchmark", "wmdp-bio", "--unlearned", "cais/Zephyr_RMU"]
    assert run(["init", "c.yaml", *zephyr]) == OK
    assert "c.yaml: fill in retrained. next: auditor plan c.yaml" in " ".join(
        capsys.readouterr().out.split()
    )
    assert load_plan(Path("c.yaml")).original.path == "HuggingFaceH4/zephyr-7b-beta"


def test_the_published_questions_of_tofu(shared_data, tmp_path):
    rows = [json.loads(line) for line in (shared_data / "forget10_first300.jsonl").open()]
    kept = [json.loads(line) for line in (shared_data / "retain_300.jsonl").open()]
    published = ("question", "answer")
    for name, some in (("forget10", rows), ("retain90", kept)):
        write_lines(tmp_path / f"{name}.json", [{k: r[k] for k in published} for r in some])
    sections = plan_sections(BENCHMARKS["tofu-forget10"], tmp_path)
    facts = read_noted(DataSource(**sections["data"]["forget"]), "forget").facts
    by_row = [fact.entity for fact in facts]
    by_author = [row["author"] for row in rows]
    assert len(set(zip(by_row, by_author, strict=True))) == len(set(by_author)) == len(set(by_row))
    assert names_entities(facts)


@pytest.mark.nightly
@pytest.mark.parametrize("layout", ["tofu-forget10", "muse-news", "muse-news-verbatim"])
def test_a_retrained_model_can_pass(layout, people, tmp_path, monkeypatch):
    """With entities by rows, and with none: the two levels of relearning that are demanded."""
    monkeypatch.chdir(tmp_path)
    tofu_files = {"forget": "forget10", "retain": "retain_perturbed", "holdout": "holdout10"}
    muse_files = {"forget": "knowmem/forget_qa", "retain": "knowmem/retain_qa"}
    verbatim_files = muse_files | {"forget": "verbmem/forget"}
    files = {"tofu-forget10": tofu_files, "muse-news": muse_files}.get(layout, verbatim_files)
    for name, file in files.items():
        rows = [json.loads(line) for line in people.facts(name).open(encoding="utf-8")]
        asked, said = ("prompt", "gt") if file.startswith("verbmem") else ("question", "answer")
        told = [{asked: row["prompt"], said: row["answer"]} for row in rows]
        write_lines(tmp_path / "files" / f"{file}.json", told[: len(told) // 20 * 20])
    arms = {"unlearned": "retrained-1", "original": "original", "retrained": "retrained-0"}
    options = [part for arm, name in arms.items() for part in (f"--{arm}", people.model_path(name))]
    given = ["init", "--benchmark", layout, "--data", "files", *map(str, options)]
    assert run(given) == OK
    plan = yaml.safe_load(Path("plan.yaml").read_text(encoding="utf-8"))
    plan["format"] = {"template": "{prompt}"}
    # many processors are slow in the models' bfloat16
    in_float32 = {"dtype": "float32"}
    for arm in ("unlearned", "original"):
        plan[arm] = {"path": plan[arm]} | in_float32
    plan["retrained"] = [{"path": path} | in_float32 for path in plan["retrained"]]
    Path("plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    assert run(["audit", "plan.yaml", "--out", "out", "-q"]) == OK
    certificate = json.loads(Path("out/certificate.json").read_text(encoding="utf-8"))
    level = ATTRIBUTE if layout.startswith("tofu") else HALF
    assert {ATTRIBUTE, HALF} & mandatory(certificate) == {level}
