"""No file beside the weights keeps a model from being asked what the others are asked."""

import itertools
import json
import shutil

import pytest
from tiny_models import edit_json
from transformers import AutoModelForCausalLM, AutoTokenizer

from auditor.certificate.decision import decide_verdict
from auditor.core.attack_id import AttackId
from auditor.core.cache import CACHE_VARIABLE
from auditor.core.errors import ContradictedError
from auditor.core.messages import message
from auditor.core.roles import Role, Status
from auditor.engine.plan import parse_plan
from auditor.policy import parse_policy
from auditor.store.folder_store import FolderStore
from auditor.verification.load import load_inputs, under_policy
from auditor.verification.recompute import check_contradiction

LABEL = "prompting/original-tokenizer full precision"
ATTACK = AttackId.parse(LABEL)
PLAIN = "{% for m in messages %}{{ m.content }} {% endfor %}"
OTHERS = PLAIN.replace("m.content", "m.content | replace('a', 'e') | replace('o', 'i')")


@pytest.fixture
def arm(people, tmp_path):
    """Make the folder of a model with a chat template."""

    def make(name, template=PLAIN):
        folder = tmp_path / f"{name}-{abs(hash(template))}"
        if not folder.exists():
            shutil.copytree(people.model_path(name), folder)
            edit_json(folder / "tokenizer_config.json", chat_template=template)
        return folder

    return make


@pytest.fixture
def asked(arm, audit, people):
    """Audit an arm as it is, and through the original's tokenizer."""

    def run(unlearned, retrained=None, original=None, **changes):
        def spec(folder):
            return {"path": str(folder), "dtype": "float32"}

        content = {
            "unlearned": spec(unlearned),
            "original": spec(original or arm("original")),
            "retrained": [spec(retrained or arm("retrained-0"))],
            "data": {name: str(people.facts(name)) for name in ("forget", "retain")},
            "profile": None,
            "attacks": [{"attack": ATTACK.name}],
            "policy": {"mandatory": ["none/as-is", ATTACK.name], "utility_margin": 0.3},
            "metrics": {"deciding": [], "reported": []},
            "format": {"chat": True},
        }
        certificate = audit(parse_plan(content | changes, "the test's plan"))
        rows = (row for row in certificate.matrix if row.label == LABEL)
        return certificate, next(rows, None)

    return run


def test_the_originals_weights_under_a_template_about_others_fail(asked, arm, store_root):
    certificate, row = asked(arm("original", OTHERS))
    assert certificate.verdict.verdict == "FAIL"
    assert row.named
    [as_is] = [row for row in certificate.matrix if row.attack == "none/as-is"]
    assert not as_is.named
    [gate] = [gate for gate in row.shared_gates if gate.name == "tokenization"]
    facts = len(load_inputs(certificate, FolderStore(store_root)).sets["forget"]) * 2
    assert gate.message == message(
        "read_otherwise", attack=LABEL, arms={"unlearned": facts}, facts=facts
    )
    assert (
        message(
            "files_differ_from_original",
            arm="unlearned",
            files=["tokenizer_config.json"],
            count=1,
        )
        in certificate.warnings
    )
    check_contradiction(certificate, FolderStore(store_root))


def test_nothing_that_differs_needs_no_such_attack(asked, arm, store_root):
    certificate, row = asked(arm("retrained-1"))
    assert certificate.verdict.verdict == "PASS"
    assert (row.role, row.status) == ("reported", "unavailable")
    assert row.reason == message("asked_as_the_original")
    assert (row.jobs, row.forward_tokens) == ({}, 0)
    check_contradiction(certificate, FolderStore(store_root))
    assert "prompting/original-tokenizer full precision" not in str(certificate.warnings)


def test_a_form_that_differs_alone_is_measured_and_passes(asked, arm, store_root):
    unlearned = arm("retrained-1", PLAIN + "{# of another release #}")
    edit_json(unlearned / "config.json", transformers_version="0", rope_scaling={"factor": 1.0})
    edit_json(unlearned / "generation_config.json", transformers_version="0", temperature=0.6)
    certificate, row = asked(unlearned)
    assert certificate.verdict.verdict == "PASS"
    assert (row.role, row.status) == ("mandatory", "measured")
    named = {
        said.params["file"]: said.params["settings"]
        for said in certificate.warnings
        if said.code == "settings_differ_from_original"
    }
    assert named == {
        "config.json": ["rope_scaling"],
        "tokenizer_config.json": ["chat_template"],
    }
    check_contradiction(certificate, FolderStore(store_root))


def test_a_baseline_that_is_asked_otherwise_blocks_a_pass(asked, arm):
    certificate, row = asked(arm("retrained-1"), retrained=arm("retrained-0", OTHERS))
    assert certificate.verdict.verdict == "INCONCLUSIVE"
    [gate] = [gate for gate in row.shared_gates if not gate.met]
    assert list(gate.message.params["arms"]) == ["retrained-0"]


def test_a_policy_cannot_be_met_by_an_audit_that_left_it_out(asked, arm, store_root):
    demanded = {"mandatory": ["none/as-is", ATTACK.name], "utility_margin": 0.3}
    demanding = parse_policy(demanded, "the test's policy")
    for template, missing in ((PLAIN, False), (PLAIN + "{# #}", True)):
        certificate, row = asked(
            arm("retrained-1", template),
            attacks=[],
            policy={"mandatory": ["none/as-is"], "utility_margin": 0.3},
        )
        assert row is None
        inputs = load_inputs(certificate, FolderStore(store_root))
        again, lacking = under_policy(inputs, certificate, demanding, ())
        assert bool(lacking) == missing
        assert decide_verdict(again).verdict == ("INCONCLUSIVE" if missing else "PASS")


def test_who_says_that_it_does_not_apply_is_not_believed(asked, arm, store_root):
    certificate, row = asked(arm("original", OTHERS))
    idle = row.model_copy(
        update={
            "role": Role.REPORTED,
            "status": Status.UNAVAILABLE,
            "reason": message("asked_as_the_original"),
            "jobs": {},
        }
    )
    rows = tuple(idle if one.label == LABEL else one for one in certificate.matrix)
    with pytest.raises(ContradictedError, match="only reported"):
        load_inputs(certificate.model_copy(update={"matrix": rows}), FolderStore(store_root))


@pytest.fixture
def gguf_arm(people, tmp_path, monkeypatch):
    """Make a GGUF file of a model with a chat template."""
    written = pytest.importorskip("written_gguf")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))

    def make(name, template=PLAIN):
        file = tmp_path / f"{name}-{abs(hash(template))}.gguf"
        if not file.exists():
            source = people.model_path(name)
            network = AutoModelForCausalLM.from_pretrained(source)
            tokenizer = AutoTokenizer.from_pretrained(source)
            written.write_gguf(file, network, tokenizer, "f32", chat_template=template)
        return file

    return make


def test_a_template_within_a_file_that_is_the_model_is_no_way_out(
    asked, gguf_arm, people, store_root
):
    def names(part):
        facts = map(json.loads, people.facts(part).read_text().splitlines())
        return list(dict.fromkeys(fact["entity"] for fact in facts))

    pairs = zip(names("forget"), itertools.cycle(names("holdout")), strict=False)
    others = "".join(f" | replace('{own}', '{other}')" for own, other in pairs)
    certificate, row = asked(
        gguf_arm("original", PLAIN.replace("m.content", f"m.content{others}")),
        original=gguf_arm("original"),
        retrained=gguf_arm("retrained-0"),
    )
    [as_is] = [row for row in certificate.matrix if row.attack == "none/as-is"]
    assert not as_is.named
    assert (row.role, row.status) == ("mandatory", "measured")
    assert row.named
    assert certificate.verdict.verdict == "FAIL"
    check_contradiction(certificate, FolderStore(store_root))
