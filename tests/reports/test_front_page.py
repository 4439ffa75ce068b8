"""What the first page of the HTML certificate says."""

import json

import pytest
from pages import page_of, part
from parsed_page import Page

from auditor.report import Signatures


def front(certificate, signatures=None):
    return Page(part("front", certificate, signatures)).said


def test_front_page_says_what_must_be_read_first_in_this_order(certificate):
    shown = certificate("FAIL")
    said = front(shown)
    waiver = shown.policy.waivers[0]
    places = [
        said.index(text)
        for text in (
            "Unlearning certificate of llama-3.2-1b-unlearned",
            "Verdict: FAIL",
            "What was to be forgotten can be brought back.",
            "WAIVED",
            f"Waiver for {waiver.attack}",
            waiver.reason,
            waiver.by,
            waiver.until,
            "In short",
            "For example",
            "What to do next",
            "What this rests on",
            "400 facts on 20 entities",
            f"365 days, until {shown.timing.expires[:10]}",
            f"digest {shown.audited.digest[:12]}",
            "not signed",
            "What this does not say",
            "It is not a statement of compliance with any law.",
        )
    ]
    assert places == sorted(places)
    assert "Audited before" not in said
    assert "Redacted" not in said


def test_the_folder_in_which_a_model_lay_is_on_no_page(certificate):
    """Certificates of earlier schemas have whole paths."""
    shown = certificate("FAIL")
    assert shown.audited.path == "models/tofu/llama-3.2-1b-unlearned"
    assert "models/tofu" not in page_of("FAIL").partition("<dt>Digest of the facts")[0]


def test_every_waiver_is_on_the_front(certificate):
    policy = json.loads(certificate("PASS").policy.model_dump_json())
    policy["waivers"] = [
        {"attack": f"attack-{i}", "reason": f"reason-{i}", "by": f"name-{i}", "until": f"2026-0{i}"}
        for i in range(1, 8)
    ]
    said = front(certificate("PASS", policy=policy))
    for waiver in policy["waivers"]:
        assert all(text in said for text in waiver.values())


def test_earlier_policies_and_redaction_are_on_the_front(certificate):
    identity = json.loads(certificate("PASS").identity.model_dump_json())
    identity["earlier_policies"] = ["a" * 64, "b" * 64]
    shown = certificate("PASS", identity=identity, redaction="keyed digests")
    assert "Audited before" in front(shown)
    assert "under 2 other policies" in front(shown)
    assert "Redacted" in front(shown)
    assert "a" * 64 in Page(part("identity", shown)).said


@pytest.mark.parametrize(
    ("signatures", "said", "unsaid"),
    [
        (None, ["not signed"], ["signed by", "checked against"]),
        (Signatures((), True), ["not signed"], ["signed by", "checked against"]),
        (
            Signatures(("0123456789abcdef",), False),
            [
                "signed by key 0123456789ab…; NOT checked when this report was made",
                "auditor verify",
            ],
            ["not signed", "checked against", "0123456789abcdef"],
        ),
        (
            Signatures(("0123456789abcdef", "f" * 64), True),
            [
                "signatures of 0123456789ab…, ffffffffffff… checked against the keys",
                "a page can be forged",
            ],
            ["not signed", "NOT checked"],
        ),
    ],
)
def test_the_state_of_the_signatures_is_said(certificate, signatures, said, unsaid):
    shown = front(certificate("PASS"), signatures)
    assert all(text in shown for text in said)
    assert not any(text in shown for text in unsaid)


def test_a_crowd_of_keys_does_not_hide_that_nobody_checked_them(certificate):
    keys = tuple(f"{number:064x}" for number in range(500))
    said = front(certificate("PASS"), Signatures(keys, False))
    assert "and 492 more; NOT checked when this report was made" in said


def test_no_certificate_id_reaches_the_stylesheet_unless_it_is_a_digest(certificate):
    assert '@top-left { content: "Unlearning certificate, FAIL"; }' in page_of("hostile")
    shown = certificate("FAIL")
    assert f"FAIL, id {shown.certificate_id[:16]}…" in page_of("FAIL")
