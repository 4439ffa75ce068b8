"""A built baseline that nobody held against the forget set: nothing passes against it."""

import json
import shutil

import pytest

from auditor.api.auditing import audit
from auditor.api.certificates import verify
from auditor.core.messages import message
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.models.provenance import (
    FILE,
    Provenance,
    asked_otherwise,
    facts_digest,
    read_provenance,
    weights_digest,
)
from auditor.models.spec import PromptFormat

MADE = {
    "built_by": "auditor 1",
    "base": {"name": "base", "files": "a", "weights": "b"},
    "retain": {"facts": 3, "digest": "c"},
    "recipe": {"epochs": 5, "learning_rate": 1e-5, "batch_size": 32},
    "steps": 20,
    "loss": 0.5,
    "code": "d",
    "versions": {"torch": "2"},
    "device": "cpu",
}


@pytest.fixture
def audited(passing_plan, people, tmp_path):
    folder = tmp_path / "built"
    shutil.copytree(people.model_path("retrained-0"), folder)

    def run(forget):
        content = MADE | {"weights": weights_digest(folder), "forget": forget}
        (folder / FILE).write_text(json.dumps(content), encoding="utf-8")
        plan = passing_plan(
            retrained=[{"path": str(folder), "dtype": "float32"}],
            attacks=[],
            policy={"mandatory": ["none/as-is"]},
            metrics={"deciding": [], "reported": []},
        )
        out = tmp_path / "out"
        found = audit(plan, out=out, store=tmp_path / "store").certificate
        assert found.identity.built == {"retrained-0": read_provenance(folder)}
        assert verify(out / "certificate.json", store=tmp_path / "store").jobs >= 3
        return found

    return run


def test_it_is_said_that_it_learned_in_another_format():
    made = Provenance.model_validate(MADE | {"weights": "w"})
    found = asked_otherwise({"retrained-0": made}, PromptFormat(template="Q: {prompt}"))
    assert found == (message("built_in_other_format", arms=["retrained-0"]),)
    assert asked_otherwise({"retrained-0": made}, PromptFormat()) == ()


@pytest.mark.parametrize(
    ("forget", "code"),
    [
        pytest.param(None, "built_without_forget_set", marks=pytest.mark.nightly),
        ("0" * 64, "built_for_other_facts"),
    ],
)
def test_nothing_passes_against_it(audited, forget, code):
    found = audited(forget)
    assert found.verdict.verdict == "INCONCLUSIVE"
    assert code in {reason.code for reason in found.verdict.reasons}
    assert code in {warning.code for warning in found.warnings}


def test_one_that_was_compared_with_the_forget_set_may_be_passed_against(audited, people):
    facts = read_facts(DataSource(path=str(people.facts("forget"))), "forget")
    found = audited(facts_digest([*reversed(facts)]))
    assert found.verdict.verdict == "PASS"
    assert not [warning for warning in found.warnings if warning.code.startswith("built_")]
