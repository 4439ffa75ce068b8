"""Two audits with evidence, fact by fact."""

import json
import shutil

import numpy as np
import pytest

from auditor.certificate.files import read_certificate
from auditor.comparison.contrast import Given, compare
from auditor.comparison.interval import mean_interval
from auditor.comparison.pairing import FACTS as LISTED
from auditor.comparison.pairing import Audit
from auditor.comparison.pairing import pair as pair_audits
from auditor.core.errors import EvidenceChangedError
from auditor.core.messages import message
from auditor.store.folder_store import FolderStore

NF4 = "quantization/bnb nf4"
FACTS = 60


def given_at(path, **where):
    return Given(path, read_certificate(path), **where)


def compared(a, b):
    return compare(given_at(a), given_at(b))


def by_label(comparison):
    return {attack.label: attack for attack in comparison.attacks}


def unchanged(label, row):
    return row


def halved(label, row):
    """Another model that knows half of what the first does, under one attack."""
    if label == NF4 and row.set == "forget":
        return row._replace(k=row.k / 2, answer=f"half of {row.answer}")
    return row


def test_identical_evidence_has_no_difference(pair):
    comparison = compared(*pair(unchanged))
    assert comparison.comparable
    assert comparison.paired.possible
    assert comparison.paired.facts == ()
    assert comparison.worse == ()
    for attack in comparison.attacks:
        found = attack.paired
        assert (found.mean, found.rose, found.fell, found.units) == (0.0, 0, 0, FACTS)
        assert (found.lower, found.upper) == mean_interval(np.zeros(FACTS), 1.0, 0.05)
        assert found.lower < 0 < found.upper
        assert found.same_baseline


def test_the_difference_is_that_of_the_unlearned_models(pair):
    a, b = pair(halved)
    comparison = compared(a, b)
    attacks = by_label(comparison)
    before = read_certificate(a).matrix
    [row] = [row for row in before if row.label == NF4]
    mean = row.forget[row.metric]["unlearned"]
    found = attacks[NF4].paired
    assert found.mean == pytest.approx(-mean / 2)
    assert found.lower < found.mean < found.upper < 0, "a fall by half is no chance"
    assert (found.rose, found.fell) == (0, FACTS)
    assert attacks[NF4].k_unlearned_change == pytest.approx(found.mean)
    assert all(attacks[label].paired.mean == 0 for label in attacks if label != NF4)


def test_swapping_mirrors(pair):
    a, b = pair(halved)
    forth, back = by_label(compared(a, b)), by_label(compared(b, a))
    for label, attack in forth.items():
        one, other = attack.paired, back[label].paired
        assert other.mean == pytest.approx(-one.mean)
        assert (other.lower, other.upper) == pytest.approx((-one.upper, -one.lower))
        assert (other.rose, other.fell) == (one.fell, one.rose)


def test_facts_that_changed_most_are_listed_with_both_answers(pair):
    comparison = compared(*pair(halved))
    listed = comparison.paired.facts
    assert len(listed) == LISTED
    sizes = [abs(fact.change) for fact in listed]
    assert sizes == sorted(sizes, reverse=True)
    for fact in listed:
        assert fact.attack == NF4
        assert fact.k_b == pytest.approx(fact.k_a / 2)
        assert fact.change == pytest.approx(fact.k_b - fact.k_a)
        assert fact.said_b == f"half of {fact.said_a}"


def test_a_sampled_scope_counts_entities(pair):
    a, _ = pair(halved)
    certificate = read_certificate(a)
    scope = certificate.scope.model_copy(update={"scope": "sampled"})
    sampled = Given(a, certificate.model_copy(update={"scope": scope}))
    comparison = compare(sampled, sampled)
    assert comparison.paired.unit == "entities"
    assert {attack.paired.units for attack in comparison.attacks} == {8}


def test_another_measurement_of_the_baselines_takes_them_into_the_difference(pair):
    a, b = pair(unchanged)
    certificate = read_certificate(b)
    # one retrained model in the place of both
    other = json.loads(certificate.model_dump_json())
    [row] = [row for row in other["matrix"] if f"{row['attack']} {row['variant']}" == NF4]
    row["jobs"]["retrained-1"] = row["jobs"]["retrained-0"]
    changed = type(certificate).model_validate(other)
    comparison = compare(given_at(a), Given(b, changed))
    found = by_label(comparison)[NF4].paired
    [before] = [r for r in read_certificate(a).matrix if r.label == NF4]
    means = before.forget[before.metric]
    expected = (means["retrained-0"] + means["retrained-1"]) / 2 - means["retrained-0"]
    assert not found.same_baseline
    assert found.mean == pytest.approx(expected)
    assert found.upper - found.lower > 1.5 * (
        np.subtract(*mean_interval(np.zeros(FACTS), 1.0, 0.05)[::-1])
    )


@pytest.mark.parametrize("gone", ["a", "b"])
def test_without_evidence_it_says_so(pair, tmp_path, gone):
    paths = dict(zip("ab", pair(halved), strict=True))
    bare = tmp_path / "bare" / "certificate.json"
    bare.parent.mkdir()
    shutil.copy(paths[gone], bare)
    paths[gone] = bare
    comparison = compared(paths["a"], paths["b"])
    assert not comparison.paired.possible
    assert comparison.paired.why_not == message(
        "evidence_not_found", certificate=gone.upper(), option=f"--evidence-{gone}"
    )
    assert all(attack.paired is None for attack in comparison.attacks)
    assert by_label(comparison)[NF4].k_unlearned_change < 0, "means are in the certificates"


def test_changed_evidence_is_said_and_refused_where_it_was_named(pair):
    a, b = pair(halved)
    key = next(row for row in read_certificate(b).matrix if row.label == NF4).jobs["unlearned"][0]
    rows = b.parent / "evidence" / "jobs" / key[:2] / key / "rows.parquet"
    rows.write_bytes(rows.read_bytes()[:-1] + b"x")
    comparison = compared(a, b)
    assert not comparison.paired.possible
    why = comparison.paired.why_not
    assert (why.code, why.quoted) == ("evidence_not_usable", ("error",))
    assert "evidence was changed" in why.params["error"]
    with pytest.raises(EvidenceChangedError, match="evidence was changed"):
        compare(given_at(a), given_at(b, evidence=b.parent / "evidence"))


def test_a_redacted_certificate_keeps_its_texts(pair):
    a, b = pair(halved, redaction="keyed digests")
    without_key = compared(a, b)
    assert without_key.paired.facts == ()
    assert without_key.paired.facts_missing.code == "redaction_key_missing"
    (b.parent / "evidence" / "redaction.key").write_bytes(bytes(32))
    listed = compared(a, b).paired.facts
    assert len(listed) == LISTED
    for fact in listed:
        for text in (fact.fact, fact.entity, fact.prompt, fact.answer, fact.said_a, fact.said_b):
            assert text.startswith("redacted:")
        assert fact.said_a != fact.said_b


def test_a_mandatory_attack_that_only_one_audit_ran_does_not_stop_the_others(pair):
    audits = [
        Audit(read_certificate(path), path, FolderStore(path.parent / "evidence", read_only=True))
        for path in pair(halved)
    ]
    labels = ["none/as-is full precision", NF4]
    part, differences = pair_audits(*audits, labels)
    assert part.possible
    assert list(differences) == labels
    assert differences[NF4].mean < 0 == differences[labels[0]].mean
