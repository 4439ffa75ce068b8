"""Many certificates in order."""

import json
import os
from dataclasses import replace

import pytest
from hand_made_certificates import honest_certificate

from auditor.certificate.files import write_certificate
from auditor.certificate.schema import SCHEMA_VERSION, Certificate
from auditor.comparison.collection import collect
from auditor.comparison.ranking import rank
from auditor.core.errors import AuditorError
from auditor.core.messages import message
from auditor.signing.envelope import sign
from auditor.signing.keys import KINDS, generate, load_signer


def alike(verdict, **uncertainty):
    """Certificates that differ in nothing that keeps them from being ranked together."""
    content = json.loads(honest_certificate(verdict).model_dump_json())
    content["policy"] = json.loads(honest_certificate("FAIL").policy.model_dump_json())
    content["uncertainty"] |= {"residual_complete": True, **uncertainty}
    return Certificate.model_validate(content)


def with_utility(certificate, **utility):
    part = replace(certificate.utility, **utility)
    return certificate.model_copy(update={"utility": part})


def put(folder, **certificates):
    for name, certificate in certificates.items():
        write_certificate(certificate.named(), folder / f"{name}.json")


def board(folder):
    return rank(str(folder), *collect(folder))


def ranks(group):
    return [(entry.rank, entry.paths[0].removesuffix(".json")) for entry in group.entries]


def test_verdict_then_residual_then_utility(tmp_path):
    put(
        tmp_path,
        a=alike("NOT AUDITABLE", residual_upper=0.0),
        b=alike("FAIL", residual_upper=0.1),
        c=alike("INCONCLUSIVE", residual_upper=None),
        d=alike("INCONCLUSIVE", residual_upper=0.4),
        e=with_utility(alike("PASS", residual_upper=0.05), mean_unlearned=0.7),
        f=alike("PASS", residual_upper=0.05),
        g=alike("PASS", residual_upper=0.04),
        h=with_utility(alike("PASS", residual_upper=0.05), state="undetermined"),
        i=alike("FAIL", residual_upper=0.01, residual_complete=False),
    )
    [group] = board(tmp_path).groups
    assert ranks(group) == list(enumerate("gfehdcbia", start=1))
    unmeasured = next(entry for entry in group.entries if entry.paths == ("i.json",))
    assert unmeasured.residual_upper is None, "a bound over some attacks is no bound over all"


def test_equal_ones_share_a_rank(tmp_path):
    first = alike("PASS")
    put(
        tmp_path,
        a=first,
        b=first.model_copy(update={"warnings": (message("other"),)}),
        c=alike("FAIL"),
    )
    [group] = board(tmp_path).groups
    assert ranks(group) == [(1, "a"), (1, "b"), (3, "c")]


@pytest.mark.parametrize(
    ("part", "entry", "value"),
    [
        ("identity", "facts_digest", "f" * 64),
        ("identity", "policy_digest", "f" * 64),
        ("scope", "primary_metric", "exact-memorisation"),
        ("scope", "scope", "sampled"),
        ("policy", "mandatory", ["none/as-is full precision"]),
        ("policy", "delta", 0.3),
    ],
)
def test_only_what_is_of_one_measure_is_ranked_together(tmp_path, part, entry, value):
    content = json.loads(alike("PASS").model_dump_json())
    content[part][entry] = value
    put(tmp_path, a=alike("FAIL"), b=Certificate.model_validate(content), c=alike("INCONCLUSIVE"))
    groups = board(tmp_path).groups
    assert [ranks(group) for group in groups] == [[(1, "c"), (2, "a")], [(1, "b")]]


def test_other_retrained_models_are_ranked_together_and_it_is_said(tmp_path):
    content = json.loads(alike("PASS").model_dump_json())
    content["identity"]["arms"][2]["digest"] = "f" * 64
    put(tmp_path, a=alike("FAIL"), b=Certificate.model_validate(content))
    [group] = board(tmp_path).groups
    assert not group.same_baselines
    put(tmp_path, b=alike("PASS"))
    assert board(tmp_path).groups[0].same_baselines


def test_a_certificate_and_its_envelope_are_one(tmp_path):
    generate(tmp_path / "k.pem", tmp_path / "k.pub", KINDS["ed25519"])
    signer = load_signer(tmp_path / "k.pem")
    certificate = alike("PASS").named()
    put(tmp_path, a=certificate)
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "a.dsse.json").write_bytes(sign(certificate, [signer]))
    [entry] = board(tmp_path).groups[0].entries
    assert entry.paths == ("z/a.dsse.json", "a.json")
    assert entry.claimed_keys == (signer.public_key.keyid,)


def test_nothing_is_dropped_silently(tmp_path):
    put(tmp_path, good=alike("PASS"))
    text = (tmp_path / "good.json").read_text(encoding="utf-8")
    bad = {
        "altered.json": text.replace('"PASS"', '"FAIL"', 1),
        "cut.json": text[:-200],
        "bytes.json": "\udcff",
        "deep.json": "[" * 200_000,
        "infinite.json": text.replace('"delta": 0.1', '"delta": 1e999'),
        "envelope.json": '{"payloadType": "x"}',
        "later.json": text.replace(f'"{SCHEMA_VERSION}"', '"9.0.0"'),
    }
    for name, content in bad.items():
        (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "gone.json").symlink_to(tmp_path / "nothing")
    (tmp_path / "plan.json").write_text('{"delta": 1}')
    (tmp_path / "list.json").write_text("[1]")
    found = board(tmp_path)
    assert [entry.paths for entry in found.groups[0].entries] == [("good.json",)]
    assert {file.path for file in found.unreadable} == {*bad, "pipe.json", "gone.json"}
    assert all(file.reason for file in found.unreadable)
    assert set(found.others) == {"plan.json", "list.json"}


def test_evidence_stores_are_not_searched(finished):
    found = board(finished)
    assert [entry.paths for group in found.groups for entry in group.entries] == [
        ("certificate.json",)
    ]
    assert found.unreadable == found.others == ()


def test_names_that_are_no_text_are_shown(tmp_path):
    name = os.fsdecode(b"\xff\x1b[31m.json")
    write_certificate(alike("PASS").named(), tmp_path / name)
    found = board(tmp_path)
    assert found.groups[0].entries[0].paths == ("\\xff\x1b[31m.json",)
    assert json.loads(json.dumps(found.model_dump(mode="json")))


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(AuditorError, match="is no folder"):
        collect(tmp_path / "nonesuch")
