"""Every field of a certificate is held against something, or said to rest on the signature."""

import copy
import itertools
import json
import shutil
import typing

import pytest

from auditor.api.certificates import verify
from auditor.api.issuing import repeating
from auditor.certificate.decision import decide_verdict
from auditor.certificate.files import parse_certificate, read_certificate, write_certificate
from auditor.certificate.parts import Part
from auditor.certificate.schema import Certificate
from auditor.cli.main import run
from auditor.core.errors import AuditorError, ContradictedError
from auditor.store.folder_store import FolderStore
from auditor.verification.circumstances import TAKEN
from auditor.verification.coverage import COVERAGE, Ground, on_signature_alone, values
from auditor.verification.differences import differences
from auditor.verification.load import load_inputs
from auditor.verification.planned import check_unplanned, planned
from auditor.verification.recompute import check_contradiction, recomputed

REFUSALS = (2, 10, 11, 14, 15, 16)
"""Exit codes; 2 where a redacted certificate's key is missing."""
DRIVERS = (
    *("identity.arms.arm", "identity.arms.digest", "identity.arms.files", "identity.facts_digest"),
    *("identity.plan_digest", "identity.policy_digest", "scope.primary_metric", "converted_from"),
    *("scope.deciding_metrics", "matrix.attack", "matrix.variant", "matrix.parameters"),
    *("matrix.readings.metric", "matrix.jobs", "reproduction.plan", "redaction"),
    *("reproduction.command", "schema_version", "certificate_id", "weights.job"),
    *(
        "identity.earlier_policies",
        "identity.earlier_audits",
        "reproduction.formats.job",
        "reproduction.formats.format",
        "reproduction.prompts.digests",
    ),
    *("positive_controls_missing", "identity.auxiliary_inputs", "matrix.status"),
    *("scope.reported_metrics", "matrix.role"),
)
"""Fields that lead to others, or that are refused at once: each is changed by itself."""


def parts_of(annotation):
    """The parts within a type: itself, members of lists and tables, alternatives."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [part for inner in typing.get_args(annotation) for part in parts_of(inner)]


def leaves(part=Certificate, before=""):
    """Names of the fields of the schema that are no parts themselves."""
    for name, field in part.model_fields.items():
        inner = parts_of(field.annotation)
        if not inner:
            yield before + name
        for each in inner:
            yield from leaves(each, f"{before}{name}.")


def test_no_field_of_the_schema_is_without_a_line():
    assert set(leaves()) == COVERAGE.keys()


def changed(value):
    """Another value of the same form."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        other = "0" if value[:1] != "0" else "1"
        return other + value[1:] if value else "x"
    if isinstance(value, list):
        return value[:-1] if len(value) > 1 or isinstance(value[0], dict) else [changed(value[0])]
    if value is None:
        return 1
    if not value:
        return {"x": 1}
    numbers = [name for name, held in value.items() if not isinstance(held, str)]
    first = (numbers or list(value))[0]
    return {**value, first: changed(value[first])}


VALUES = {
    "verdict.verdict": "PASS",
    "verdict.flags": ["WAIVED"],
    "verdict.exit_code": 3,
    "scope.scope": "sampled",
    "matrix.role": "advisory",
    "matrix.status": "failed",
    "redaction": "keyed digests",
    "converted_from": "3.1.0",
    "schema_version": "4.0.1",
    "identity.arms.revision": "main",
    "identity.arms.adapter": "lora",
    "identity.arms.dtype": "bfloat16",
    "identity.earlier_policies": ["0" * 64],
    "identity.earlier_audits": [
        {"plan_digest": "0", "policy_digest": "0", "facts_digest": "0", "seeds": [0], "at": "then"}
    ],
    "identity.auxiliary_inputs": {"classifier": "0" * 64},
    "matrix.reason": {"code": "not_run_by_audit", "params": {}},
    "positive_controls_missing": {"code": "retain_set_missing", "params": {}},
    "reproduction.command": "rm -rf /",
    "uncertainty.baselines": [{"message": {"code": "x", "params": {}}, "blocks": False}],
    "uncertainty.residual_upper": 0.5,
    "uncertainty.facts_needed": 7,
    "uncertainty.facts_to_fail": 7,
    "uncertainty.facts_needed_basis": {"code": "lower_bound_without_noise", "params": {}},
    "matrix.forget": {"rouge-l-recall": {"unlearned": 0.0}},
    "warnings": [],
    "scope.deciding_metrics": ["exact-match"],
    "timing.expires": "2999-01-01T00:00:00Z",
}
"""Other values of fields that have few."""


def set_first(document, name, value=None):
    """Change a field where it first occurs; None gives it another value of its own form."""
    first, _, rest = name.partition(".")
    if isinstance(document, list):
        return any(set_first(member, name, value) for member in document)
    if rest:
        if first in document:
            return set_first(document[first], rest, value)
        return any(set_first(m, name, value) for m in document.values() if isinstance(m, dict))
    if value is not None:
        document[first] = value
        return True
    if document.get(first) in (None, [], {}):
        return False
    document[first] = changed(document[first])
    return True


@pytest.fixture(scope="module")
def whole(finished):
    """The failing audit's certificate as JSON has it, and its store."""
    content = json.loads((finished / "fail" / "certificate.json").read_text(encoding="utf-8"))
    return content, FolderStore(finished / "evidence", read_only=True)


def edited(content, *names):
    """The certificate with fields changed and the id of its new content; and which were there."""
    content = copy.deepcopy(content)
    done = [name for name in names if set_first(content, name, VALUES.get(name))]
    return Certificate.model_validate(content).named(), done


def refused(certificate, store, path):
    write_certificate(certificate, path)
    with pytest.raises(AuditorError) as caught:
        verify(path, store=store.root)
    return caught.value.exit_code


def test_every_field_that_leads_to_others_is_refused(whole, tmp_path):
    content, store = whole
    path = tmp_path / "certificate.json"
    tried = 0
    for name in DRIVERS:
        if name in ("schema_version", "certificate_id"):
            continue
        certificate, done = edited(content, name)
        if done:
            tried += 1
            assert refused(certificate, store, path) in REFUSALS, name
    assert tried >= 20


def test_every_other_field_is_named_where_it_differs(whole, tmp_path):
    """All are changed at once; the differences must name each of them."""
    content, store = whole
    names = [n for n, g in COVERAGE.items() if g is not Ground.SIGNATURE and n not in DRIVERS]
    names.remove("identity.arms.beside")
    certificate, done = edited(content, *names)
    assert len(done) >= 70
    stated = certificate.model_dump(mode="json")
    inputs = load_inputs(Certificate.model_validate(content), store)
    again = recomputed(certificate, inputs, decide_verdict(inputs), store)
    found = list(differences(stated, again.model_dump(mode="json")))
    places = {
        ".".join(w for w in d.partition(": ")[0].split(".") if not w.isdigit()) for d in found
    }
    for name in done:
        plain = name.replace("scope.sets.", "scope.sets.forget.")
        assert any(f"{p}.".startswith(f"{plain}.") or plain.startswith(f"{p}.") for p in places), (
            name
        )
    assert refused(certificate, store, tmp_path / "certificate.json") in REFUSALS


@pytest.mark.nightly
def test_each_field_by_itself_is_refused(whole, tmp_path):
    content, store = whole
    path = tmp_path / "certificate.json"
    for name, ground in COVERAGE.items():
        if ground is Ground.SIGNATURE or name in ("schema_version", "certificate_id"):
            continue
        certificate, done = edited(content, name)
        if done and name != "identity.arms.beside":
            assert refused(certificate, store, path) in REFUSALS, name


@pytest.mark.parametrize("version", ["4.0.1", "4", "3.<script>", "3.0", "4.0.0 ", "3.0.0\n", 4])
def test_a_version_that_is_none_is_no_certificate(whole, version):
    with pytest.raises(AuditorError, match="schema version") as caught:
        parse_certificate(whole[0] | {"schema_version": version}, "it")
    assert caught.value.exit_code == 10


def test_a_certificate_may_not_claim_the_rules_of_an_earlier_release(whole):
    """They ask for less: no test of baselines, no weights, no code."""
    content, store = whole
    certificate, _ = edited(content, "converted_from")
    with pytest.raises(ContradictedError, match="a later release measured"):
        load_inputs(certificate, store)


def test_what_rests_on_the_signature_is_listed(finished, capsys):
    path = finished / "fail" / "certificate.json"
    assert run(["verify", str(path), "--unsigned", "--quiet", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["signature_alone"]
    assert listed == [
        "reproduction.versions",
        "reproduction.hardware",
        *(f"reproduction.prompts.shown.{name}" for name in ("set", "fact", "text", "tokens")),
        "reproduction.prompts.read",
        "timing.issued",
        "timing.started",
        "timing.wall_seconds",
        "timing.attack_seconds",
    ]
    certificate = read_certificate(path)
    without = on_signature_alone(certificate, {Ground.PLAN})
    assert {"verdict", "matrix", "evidence", "identity.facts_digest"} <= set(without)
    assert "identity.arms.path" not in without


def test_weights_of_models_at_hand_are_compared_anew(finished, tmp_path):
    """Without evidence, files alone tell: figures of pairs of which both models are given."""
    content = json.loads((finished / "pass" / "certificate.json").read_text(encoding="utf-8"))
    part, names = content["weights"], ("retrained-1", "original", "retrained-0")
    arms = dict(zip(("unlearned", "original", "retrained-0"), names, strict=True))
    models = {arm: finished / "models" / name for arm, name in arms.items()}
    pairs = {(pair["one"], pair["other"]): pair for pair in part["pairs"]}
    assert list(pairs) == list(itertools.combinations(arms, 2))
    assert all(pair["compared"] == pair["shared"] == 20 for pair in pairs.values())
    assert min(pair["change"] for pair in pairs.values()) > 1.0, "trained apart"
    path = tmp_path / "out" / "certificate.json"
    path.parent.mkdir()
    write_certificate(Certificate.model_validate(content), path)
    assert "weights" in verify(path, models=models).signature_alone
    pairs["unlearned", "retrained-0"]["change"] = 0.001
    write_certificate(Certificate.model_validate(content).named(), path)
    verify(path, models={"original": models["original"], "unlearned": models["unlearned"]})
    with pytest.raises(ContradictedError, match=r"weights\.unlearned\.retrained-0\.change"):
        verify(path, models=models)


def test_without_a_record_of_audits_its_fields_rest_on_the_signature(copied):
    path, store = copied("fail")
    shutil.rmtree(store.root / "audits")
    listed = verify(path, store=store.root).signature_alone
    assert {"identity.plan_digest", "reproduction.plan"} <= set(listed)


def test_a_certificate_from_time_to_come(whole, tmp_path):
    content = copy.deepcopy(whole[0])
    content["timing"]["issued"] = "2999-01-01T00:00:00Z"
    certificate = Certificate.model_validate(content).named()
    assert refused(certificate, whole[1], tmp_path / "certificate.json") == 14


@pytest.mark.parametrize("name", ["audit", "certify"])
@pytest.mark.parametrize("store", [None, "elsewhere", "s3://bucket/evidence"])
@pytest.mark.parametrize("within", [None, 720.0, 0.5])
def test_a_command_that_repeats_an_audit(whole, name, store, within):
    command = repeating(name, store, redact=False, within=within)
    certificate, _ = edited(whole[0])
    reproduction = certificate.reproduction.model_copy(update={"command": command})
    check_unplanned(certificate.model_copy(update={"reproduction": reproduction}))


@pytest.mark.parametrize(
    "command",
    [
        "auditor audit p.yaml --out o; rm -rf /",
        "auditor",
        "auditor audit",
        "auditor audit --out o",
        "auditor audit p.yaml --redact",
        "auditor audit p.yaml --out",
        "auditor audit 'p",
        "curl x | sh",
    ],
)
def test_a_command_that_repeats_no_audit(whole, command):
    certificate, _ = edited(whole[0])
    reproduction = certificate.reproduction.model_copy(update={"command": command})
    with pytest.raises(ContradictedError, match="Do not run it"):
        check_unplanned(certificate.model_copy(update={"reproduction": reproduction}))


def test_what_its_plan_says_is_what_an_honest_certificate_says(whole):
    certificate = Certificate.model_validate(whole[0])
    assert planned(certificate) == certificate
    assert not {said.code for said in certificate.warnings} & TAKEN
    check_contradiction(certificate, whole[1])
    assert list(values(whole[0], "identity.arms.arm"))[:2] == ["unlearned", "original"]


def test_where_nothing_could_be_measured_no_device_is_named_and_nothing_may_differ(whole):
    certificate = Certificate.model_validate(whole[0])
    hardware = certificate.reproduction.hardware | {"device": ""}
    reproduction = certificate.reproduction.model_copy(update={"hardware": hardware})
    unmeasured = certificate.model_copy(update={"reproduction": reproduction})
    assert planned(unmeasured) == unmeasured
