"""Audits of text-to-image models through the command line."""

import io
import json
import pickle
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_pipelines import make_pipeline

from auditor.certificate.files import write_certificate
from auditor.certificate.schema import Certificate
from auditor.cli.main import OK, run
from auditor.models.text_to_image.convolutional_classifier import (
    ClassifierConfig,
    ConvolutionalClassifier,
)

ARMS = ("unlearned", "original", "retrained")
NOT_AUDITABLE, USAGE = 3, 2
SAMPLING = {"steps": 2, "guidance": 2.0}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folder with random pipelines of two layouts, a random classifier, and facts."""
    root = tmp_path_factory.mktemp("tiny")
    for layout in ("sd1", "sdxl"):
        for seed, arm in enumerate(ARMS):
            pipeline = make_pipeline(layout, seed)
            pipeline.set_progress_bar_config(disable=True)
            pipeline.save_pretrained(root / f"{layout}-{arm}")
    torch.manual_seed(0)
    (root / "classifier").mkdir()
    ConvolutionalClassifier(ClassifierConfig(labels=("cat", "dog", "none"))).save(
        root / "classifier"
    )
    for name, concept in (("forget", "cat"), ("retain", "dog")):
        facts = [
            {"id": f"{concept}-{i}", "subject": concept, "prompt": f"a {concept} {i}"}
            | {"answer": concept}
            for i in range(6)
        ]
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, facts)))
    return root


@pytest.fixture
def plan_file(tiny, tmp_path):
    """Writes a plan for pipelines of a layout; arms and sections may be changed."""

    def write(layout="sd1", **changes):
        def spec(arm):
            return {
                "path": str(tiny / f"{layout}-{arm}"),
                "kind": "text-to-image",
                "sampling": SAMPLING,
                "allow_pickle": arm == "unlearned",
            } | changes.get(arm, {})

        content = {
            "unlearned": spec("unlearned"),
            "original": spec("original"),
            "retrained": [spec("retrained")],
            "data": {name: str(tiny / f"{name}.jsonl") for name in ("forget", "retain")},
            "metrics": {"classifier": str(tiny / "classifier")},
            "profile": None,
            "policy": {"mandatory": ["none/as-is"]},
        }
        content |= {name: value for name, value in changes.items() if name not in ARMS}
        file = tmp_path / "plan.yaml"
        file.write_text(yaml.safe_dump(content))
        return str(file)

    return write


def audit(plan, out):
    code = run(["audit", plan, "--out", str(out), "--quiet"])
    return code, json.loads((out / "certificate.json").read_text())


def rewrite(certificate, file):
    """Write an edited certificate under an id that fits it."""
    write_certificate(Certificate.model_validate(certificate).named(), file)


@pytest.mark.parametrize("layout", ["sd1", "sdxl"])
@pytest.mark.nightly
def test_random_pipelines_run_through_and_are_not_auditable(layout, plan_file, tmp_path):
    code, certificate = audit(plan_file(layout), tmp_path / "out")
    assert code == NOT_AUDITABLE
    assert certificate["verdict"]["verdict"] == "NOT AUDITABLE"
    (row,) = certificate["matrix"]
    assert row["status"] == "measured"
    assert set(row["forget"]) == {"concept", "concept-top-1"}
    page = (tmp_path / "out" / "certificate.html").read_text()
    assert "NOT AUDITABLE" in page


def test_other_parts_beside_the_network_are_warned_of(tiny, plan_file, tmp_path, capsys):
    other = shutil.copytree(tiny / "sd1-retrained", tmp_path / "other")
    file = other / "scheduler" / "scheduler_config.json"
    settings = json.loads(file.read_text()) | {"set_alpha_to_one": True}
    file.write_text(json.dumps(settings))
    audit(plan_file(retrained={"path": str(other)}), tmp_path / "out")
    said = json.loads((tmp_path / "out" / "certificate.json").read_text())["warnings"]
    [files] = [
        warned["params"]["files"]
        for warned in said
        if warned["code"] == "files_differ_from_original"
        and warned["params"]["arm"] == "retrained-0"
    ]
    assert "scheduler/scheduler_config.json" in files


def test_what_judges_is_named_and_checked(plan_file, tmp_path, capsys):
    out = tmp_path / "out"
    _, certificate = audit(plan_file(), out)
    named = certificate["identity"]["auxiliary_inputs"]
    assert set(named) == {"classifier"}
    assert named["classifier"][:12] in (out / "certificate.html").read_text()
    assert run(["verify", str(out / "certificate.json"), "--unsigned", "--quiet"]) == 0
    named["classifier"] = "0" * 64
    rewrite(certificate, out / "certificate.json")
    capsys.readouterr()
    assert run(["verify", str(out / "certificate.json"), "--unsigned", "--quiet"]) == 14
    assert "measured another auxiliary" in " ".join(capsys.readouterr().err.split())


def test_a_detector_is_named_hashed_and_read(plan_file, tiny, tmp_path, capsys):
    torch.manual_seed(1)
    (tmp_path / "detector").mkdir()
    ConvolutionalClassifier(ClassifierConfig(labels=("cat", "none"))).save(tmp_path / "detector")
    asked = {"classifier": str(tiny / "classifier"), "reported": ["concept-detector"]}
    named = asked | {"detector": str(tmp_path / "detector")}
    _, certificate = audit(plan_file(metrics=named), tmp_path / "out")
    assert set(certificate["identity"]["auxiliary_inputs"]) == {"classifier", "detector"}
    (row,) = certificate["matrix"]
    assert set(row["forget"]) == {"concept", "concept-detector"}
    assert "concept-detector" not in row["retain"]  # it need not know what must stay
    capsys.readouterr()
    refused = [
        (asked, "the plan names none"),
        (named | {"reported": []}, "read by the metric concept-detector alone"),
        (named | {"detector": str(tiny / "classifier")}, "the classifier once more"),
    ]
    for metrics, said in refused:
        assert run(["audit", plan_file(metrics=metrics), "--out", str(tmp_path / "no")]) == USAGE
        assert said in " ".join(capsys.readouterr().err.split())


def test_a_gate_without_a_list_demands_what_the_kind_of_the_evidence_does(
    plan_file, tmp_path, capsys
):
    out = tmp_path / "out"
    _, certificate = audit(plan_file(), out)
    policy = tmp_path / "ours.yaml"
    policy.write_text("delta: 0.1")
    capsys.readouterr()
    asked = ["gate", str(out / "certificate.json"), "--policy", str(policy), "--unsigned", "--json"]
    assert run(asked) == NOT_AUDITABLE
    report = json.loads(capsys.readouterr().out)
    assert "prompting/concept-inversion 1 vector" in report["missing"]
    certificate["reproduction"]["plan"]["unlearned"]["kind"] = "nonsense"
    rewrite(certificate, out / "certificate.json")
    assert run(asked) == 14, "its plan says another kind than the certificate"


def test_a_classifier_that_lacks_the_concept(tiny, plan_file, tmp_path, capsys):
    folder = tmp_path / "classifier"
    folder.mkdir()
    ConvolutionalClassifier(ClassifierConfig(labels=("cat", "none"))).save(folder)
    assert run(["plan", plan_file(metrics={"classifier": str(folder)})]) == USAGE
    said = capsys.readouterr().err
    assert "dog" in said
    assert "'cat', 'none'" in said


def test_a_plan_without_a_classifier(plan_file, capsys):
    assert run(["plan", plan_file(metrics={})]) == USAGE
    assert "metrics: {classifier: …}" in capsys.readouterr().err


def test_a_pipeline_without_a_component(tiny, plan_file, tmp_path, capsys):
    broken = shutil.copytree(tiny / "sd1-unlearned", tmp_path / "broken")
    shutil.rmtree(broken / "text_encoder")
    assert run(["plan", plan_file(unlearned={"path": str(broken)})]) == USAGE
    assert "text_encoder" in capsys.readouterr().err


def test_a_malicious_pickle_is_not_run(tiny, plan_file, tmp_path, capsys):
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return (open, (str(trap), "w"))

    stream = io.BytesIO()
    torch.save({"conv_in.weight": Trap()}, stream, pickle_module=pickle)
    file = tmp_path / "unet.pt"
    file.write_bytes(stream.getvalue())
    assert run(["plan", plan_file(unlearned={"replacement": str(file)})]) == USAGE
    assert "unet.pt" in capsys.readouterr().err
    assert not trap.exists()


@pytest.mark.parametrize("change", ["foreign", "missing"])
def test_a_state_dict_with_other_keys(change, tiny, plan_file, tmp_path, capsys):
    state = load_file(tiny / "sd1-original" / "unet" / "diffusion_pytorch_model.safetensors")
    if change == "foreign":
        state = {"conv_in.weight": state["conv_in.weight"], "no.such.key": torch.zeros(2)}
        file, named = tmp_path / "delta.safetensors", "no.such.key"
        save_file(state, file)
    else:
        state.pop("conv_out.bias")
        file, named = tmp_path / "whole.pt", "conv_out.bias"
        torch.save(state, file)
    plan = plan_file(unlearned={"path": str(tiny / "sd1-original"), "replacement": str(file)})
    assert run(["plan", plan]) == USAGE
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": {"template": "draw {prompt}"}}, "leave `format` out"),
        ({"attacks": [{"attack": "quantization/bnb"}]}, "attacks causal-lm, seq2seq models"),
        ({"controls": True}, "no suppression can be planted in text-to-image models"),
        (
            {"retrained": {"kind": "causal-lm", "sampling": None}},
            "different kinds: causal-lm, text-to-image",
        ),
        ({"retrained": {"sampling": {"steps": 3}}}, "retrained-0 would draw in another way"),
        ({"metrics": {"primary": "rouge-l-recall", "classifier": "x"}}, "rouge-l-recall"),
    ],
)
def test_what_belongs_to_language_models_is_refused(changes, said, plan_file, capsys):
    assert run(["plan", plan_file(**changes)]) == USAGE
    assert said in " ".join(capsys.readouterr().err.split())


def test_pictures_that_are_not_there(tiny, plan_file, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    data = {name: str(tiny / f"{name}.jsonl") for name in ("forget", "retain")}
    plan = plan_file(data=data | {"images": str(tmp_path / "images")})
    assert run(["plan", plan]) == USAGE
    assert "cat-0.png" in capsys.readouterr().err


def test_flags_say_what_a_plan_does(tiny, tmp_path, capsys):
    state = load_file(tiny / "sd1-unlearned" / "unet" / "diffusion_pytorch_model.safetensors")
    delta = tmp_path / "delta.safetensors"
    save_file({name: value for name, value in state.items() if "attn2" in name}, delta)
    flags = {
        "kind": "text-to-image",
        "unlearned": tiny / "sd1-original",
        "replacement": delta,
        "original": tiny / "sd1-original",
        "retrained": tiny / "sd1-retrained",
        "forget": tiny / "forget.jsonl",
        "retain": tiny / "retain.jsonl",
        "classifier": tiny / "classifier",
    }
    given = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    capsys.readouterr()
    assert run(["plan", *given, "--out", str(tmp_path / "out"), "--json"]) == 0
    variants = json.loads(capsys.readouterr().out)["variants"]
    assert {entry["label"].partition("/")[0] for entry in variants} == {
        "none",
        "prompting",
        "quantization",
        "relearning",
        "tampering",
    }
    inversion = next(e for e in variants if e["label"].startswith("prompting/concept-inversion"))
    assert inversion["unavailable"]["code"] == "pictures_not_given"


def test_the_template_for_pictures_is_a_plan(tmp_path, monkeypatch):
    from auditor.engine.plan import load_plan

    monkeypatch.chdir(tmp_path)
    assert run(["init", "--kind", "text-to-image"]) == 0
    plan = load_plan(tmp_path / "plan.yaml")
    assert {spec.kind for spec in plan.arms.values()} == {"text-to-image"}
    assert plan.metrics.all == ("concept", "concept-likeness", "concept-top-1")
    assert plan.metrics.decides == ("concept", "concept-likeness")


@pytest.mark.parametrize("erasure", ["esd_x", "rece", "mace"])
@pytest.mark.nightly
def test_the_published_formats(erasure, shapes_world, tmp_path):
    world = shapes_world
    published = world.published(erasure)
    drawing = {"kind": "text-to-image", "sampling": {"steps": 4, "guidance": 1.0}}
    original = drawing | {"path": str(world.model_path("original"))}
    whole = published.is_dir()
    unlearned = drawing | {"path": str(published)} if whole else original
    if not whole:
        unlearned = original | {
            "replacement": str(published),
            "allow_pickle": published.suffix == ".pt",
        }
    content = {
        "unlearned": unlearned,
        "original": original,
        "retrained": [drawing | {"path": str(world.model_path("retrained-0"))}],
        "data": {name: str(world.facts(name)) for name in ("forget", "retain")},
        "metrics": {"classifier": str(world.classifier)},
        "profile": None,
        "policy": {"mandatory": ["none/as-is"]},
    }
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(content))
    code, certificate = audit(str(plan), tmp_path / "out")
    assert code in (0, 1, 3)
    (row,) = certificate["matrix"]
    known = row["forget"]["concept"]
    assert known["original"] > known["unlearned"] + 0.3
    assert row["retain"]["concept"]["unlearned"] > 0.5


@pytest.mark.nightly
@pytest.mark.timeout(1800)  # ten minutes of one core, which other tests may share
def test_demo_of_a_text_to_image_model_shows_a_fail_and_a_pass(shapes_world, tmp_path, capsys):
    out = tmp_path / "demo"
    assert run(["demo", "--world", "shapes", "--out", str(out), "--quiet"]) == OK
    said = capsys.readouterr().out
    assert "exit code of this audit: 1" in said
    assert "exit code of this audit: 0" in said
    failed, passed = (
        json.loads((out / name / "certificate.json").read_text())
        for name in ("unlearned", "retrained")
    )
    assert failed["verdict"]["verdict"] == "FAIL"
    assert failed["utility"]["state"] == "kept"
    assert any(
        row["attack"] == "prompting/concept-inversion" for row in failed["matrix"] if row["named"]
    )
    assert passed["verdict"]["verdict"] == "PASS"
    assert all(row["status"] == "measured" for row in passed["matrix"])
    for name in ("unlearned", "retrained"):
        assert "data:image/png;base64," in (out / name / "certificate.html").read_text()
