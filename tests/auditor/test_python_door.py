"""The Python door: loaded models, facts, one attack, whole audits, and certificates read back."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import auditor
from auditor.core.errors import AuditorError, UnavailableError

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def loaded(people):
    """Load a model of the world as somebody in a notebook does."""

    def load(name):
        folder = people.model_path(name)
        return auditor.wrap_model(
            AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        )

    return load


@pytest.fixture(scope="module")
def forget(people):
    return auditor.load_facts(people.facts("forget"))


def test_importing_it_brings_no_torch_and_is_quick():
    code = (
        "import sys, time; began = time.process_time(); import auditor; "
        "assert time.process_time() - began < 0.3; "
        "assert not {'torch', 'pandas', 'numpy', 'transformers'} & set(sys.modules); "
        "assert set(auditor.__all__) == set(dir(auditor))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'audits'"):
        auditor.audits  # noqa: B018


class TestLoadedModels:
    def test_one_attack_gives_a_row_for_each_fact_and_metric(self, loaded, forget):
        frame = auditor.run_attack("none/as-is", loaded("original"), forget)
        assert list(frame) == ["fact", "entity", "set", "metric", "k", "answer"]
        assert set(frame.fact) == {fact.id for fact in forget}
        by_metric = frame.groupby("metric").k
        assert (by_metric.count() == len(forget)).all()
        assert by_metric.mean()["answer-probability"] > 0.9
        assert by_metric.mean()["answer-recall"] > 0.9
        assert set(by_metric.groups) == {METRIC[0], "answer-recall", *REPORTED}

    def test_the_same_model_from_files_knows_the_same(self, people, loaded, forget):
        opened = auditor.load_model(people.model_path("npo_gdr"))
        of_files = auditor.run_attack("prompting/prefill", opened, forget[:8], metrics=METRIC)
        of_memory = auditor.run_attack(
            "prompting/prefill", loaded("npo_gdr"), forget[:8], metrics=METRIC
        )
        assert of_files.equals(of_memory)

    def test_a_search_is_run_before_it_is_measured(self, loaded, forget):
        frame = auditor.run_attack(
            "prompting/soft", loaded("npo_gdr"), forget, metrics=METRIC, num_steps=2
        )
        assert len(frame) == len(forget)

    def test_what_is_found_on_the_original_is_measured_with_too(self, loaded, forget):
        asked = {"metrics": METRIC, "layers": 2}
        attack = "probing/activation-patching"
        frame = auditor.run_attack(
            attack,
            loaded("npo_gdr"),
            forget[:8],
            retain=forget[8:16],
            original=loaded("original"),
            **asked,
        )
        assert len(frame) == 8
        with pytest.raises(UnavailableError, match="the original are needed"):
            auditor.run_attack(attack, loaded("npo_gdr"), forget[:8], retain=forget[8:16], **asked)

    def test_they_are_measured_and_not_certified(self, loaded, forget, tmp_path):
        arms = {"unlearned": loaded("npo_gdr"), "original": loaded("original")}
        arms["retrained"] = loaded("retrained-0")
        found = auditor.measure(
            **arms, forget=forget, attacks=["prompting/prefill"], metrics=METRIC
        )
        assert type(found) is auditor.Measurement
        assert not hasattr(found, "certificate")
        assert not hasattr(found, "verdict")
        asked = found.to_frame().metric.isin(METRIC)
        assert asked.sum() == 2 * 3 * len(forget)
        figures = found.figures().set_index("attack")
        assert figures.rho["prompting/prefill"] == pytest.approx(0.163, abs=0.01)
        assert "no certificate" in found._repr_html_()
        with pytest.raises(AuditorError, match=r"auditor\.measure"):
            auditor.audit(**arms, forget=forget, out=tmp_path)

    def test_an_attack_for_other_models_is_refused(self, loaded, forget):
        with pytest.raises(AuditorError, match="generation/quality is for models of the kind"):
            auditor.run_attack("generation/quality", loaded("original"), forget)

    def test_parameters_are_given_once(self, loaded, forget):
        attack = auditor.api.measuring.attack_with("prompting/prefill", {})
        with pytest.raises(AuditorError, match="give the class"):
            auditor.run_attack(attack, loaded("original"), forget, tokens=2)


METRIC = ("answer-probability",)
REPORTED = ("rouge-l-recall", "exact-memorisation", "extraction-strength")


def test_an_audit_and_its_certificate(people, loaded, forget, store_root, tmp_path):
    result = auditor.audit(
        unlearned=people.model_path("npo_gdr"),
        original=auditor.load_model(people.model_path("original"), dtype="float32"),
        retrained=[people.model_path("retrained-0")],
        forget=forget,
        retain=people.facts("retain"),
        attacks=[{"attack": "quantization/bnb", "parameters": {"format": "nf4"}}],
        profile=None,
        policy={"mandatory": ["none/as-is"]},
        out=tmp_path,
    )
    assert result.verdict == "FAIL"
    assert result.exit_code == 1
    assert list(result.figures().query("named").variant) == ["nf4"]
    frame = result.to_frame()
    assert frame.equals(auditor.evidence(tmp_path / "certificate.json"))
    assert set(frame.arm) == {"unlearned", "original", "retrained-0"}
    html = result._repr_html_()
    assert "FAIL" in html
    assert "quantization/bnb" in html
    file = tmp_path / "certificate.json"
    assert auditor.load_certificate(file).certificate_id == result.certificate.certificate_id
    checked = auditor.verify(file, models={"original": people.model_path("original")})
    assert checked.jobs == len(result.certificate.evidence.jobs)
    assert checked.signers is None
    assert checked.not_recomputed == ()
    gated = auditor.gate(file, "research")
    assert gated.verdict.verdict == "FAIL"
    planned = auditor.plan(tmp_path / "plan.resolved.yaml", out=tmp_path)
    assert planned.to_frame().done.sum() == planned.to_frame().jobs.sum() > 0
    again = auditor.audit(tmp_path / "plan.resolved.yaml", out=tmp_path)
    assert again.certificate.certificate_id == result.certificate.certificate_id


def test_parts_beside_a_whole_plan_are_refused(tmp_path):
    with pytest.raises(AuditorError, match="policy cannot stand beside a whole plan"):
        auditor.audit(tmp_path / "plan.yaml", policy="research")


def executed(name):
    """Run a notebook of the examples as its reader would."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    place = {"metadata": {"path": str(EXAMPLES)}}
    return client.NotebookClient(notebook, timeout=300, resources=place).execute()


def shown(notebook, cell):
    """What a cell of an executed notebook shows, by its id."""
    outputs = next(part.outputs for part in notebook.cells if part.id == cell)
    return outputs[-1]["data"]["text/plain"]


def test_every_notebook_is_executed():
    assert {file.name for file in EXAMPLES.glob("*.ipynb")} == {
        "audit_your_model.ipynb",
        "own_attack.ipynb",
    }
    for file in EXAMPLES.glob("*.ipynb"):
        assert '"output_type"' not in file.read_text(encoding="utf-8"), f"{file} holds outputs"


def test_the_notebook_of_an_audit_ends_in_a_verdict_that_is_checked():
    done = executed("audit_your_model.ipynb")
    assert "FAIL" in shown(done, "audit")
    assert shown(done, "verify").endswith("'FAIL')")
    assert "quantization/bnb" in shown(done, "rows")


def test_the_notebook_of_an_attack_is_short_and_runs():
    done = executed("own_attack.ipynb")
    lines = [
        line
        for cell in done.cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
        if line.strip()
    ]
    assert len(lines) <= 10
    assert "answer-probability" in shown(done, "attack")
    attack = (EXAMPLES / "layer_drop.py").read_text(encoding="utf-8").splitlines()
    assert len(attack) < 40
    assert sum(line.startswith(("import ", "from ")) for line in attack) <= 4
