"""What is found in a folder, and how far its audits are said to have come."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hand_made_certificates import honest_certificate
from parsed_page import Page
from running_audit import ARMS, ATTACKS, RunningAudit

from auditor.viewer.folder import DEPTH
from auditor.viewer.overview import Library
from benchmarks.large_audit import large_audit


def linked(served):
    """Address of the page of the only audit."""
    [audit] = json.loads(served.get("api/overview.json"))["under_way"]
    return f"audit/{audit['store_id']}/{audit['entry_id']}"


def test_half_of_the_jobs_is_half_of_the_way(served, half):
    for page in (served.get(), served.get(linked(served))):
        assert "<strong>50 %</strong> 6 of 12 jobs" in page
    page = served.get(linked(served))
    assert page.count("<strong>100 %</strong> 4 of 4 jobs") == 1
    assert page.count("<strong>50 %</strong> 2 of 4 jobs") == 1
    assert page.count("<strong>0 %</strong> 0 of 4 jobs") == 1
    half.finish(5)
    assert "<strong>91 %</strong> 11 of 12 jobs" in served.get(), "rounded down"
    half.finish(1)
    assert "<strong>100 %</strong> 12 of 12 jobs" in served.get()
    assert "certificate are still to come" in served.get()
    half.enter(finished="2026-03-02T13:00:00Z")
    assert "Audits under way" not in served.get()
    assert "finished 2026-03-02 13:00:00 UTC" in served.get()


def test_attacks_and_models_are_counted_apart(root, half):
    [audit] = Library(root).overview().under_way
    assert [attack.label for attack in audit.attacks] == list(ATTACKS)
    assert [(a.all.done, a.all.total) for a in audit.attacks] == [(4, 4), (2, 4), (0, 4)]
    assert {arm: count.done for arm, count in audit.attacks[1].arms.items()} == dict(
        zip(ARMS, (1, 1, 0, 0), strict=True)
    )
    assert audit.begun == "2026-03-02T12:00:00Z"
    assert abs(datetime.now(UTC) - audit.last_activity) < timedelta(minutes=10)


def test_a_job_that_serves_two_models_is_one_job(root):
    audit = RunningAudit(root / "evidence")
    for by_arm in audit.jobs.values():
        by_arm["retrained-1"] = by_arm["unlearned"]
    audit.enter()
    [found] = Library(root).overview().under_way
    assert found.all.total == len(ATTACKS) * (len(ARMS) - 1)
    assert found.attacks[0].arms["retrained-1"].total == 1


def test_failures_are_told_until_the_job_is_done(root, served, half):
    left = [key for key in half.identities if not half.store.has(key)]
    log = f"{'x' * 10_000}\nTraceback\n  line\nMeasurementError: NaN logits at step 112\n"
    half.store.log_failure(left[0], log)
    half.store.log_failure("0" * 64, "an error of another audit in the same store")
    [audit] = Library(root).overview().under_way
    assert audit.all.failed == 1
    [failed] = audit.failures
    assert failed.error == "MeasurementError: NaN logits at step 112"
    assert failed.jobs == ("quantization/bnb nf4, retrained-0",)
    assert "NaN logits at step 112" in served.get(linked(served))
    half.finish(1)
    assert Library(root).overview().under_way[0].failures == ()


def test_a_page_loads_itself_again_until_the_audit_is_finished(served, half):
    address = linked(served)
    refresh = '<meta http-equiv="refresh" content="5">'
    assert refresh in served.get(address)
    assert refresh not in served.get(f"{address}?still"), "whoever reads slowly can stop it"
    half.enter(finished="2026-03-02T13:00:00Z")
    assert refresh not in served.get(address)


def test_bars_have_names_and_text(served, half):
    for address in ("", linked(served)):
        page = Page(served.get(address))
        bars = page.named("progress")
        assert len(bars) == (1 if address == "" else 1 + len(ATTACKS))
        names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(names) == len(set(names))
        for bar in bars:
            assert bar["aria-labelledby"] in names
            assert 0 <= int(bar["value"]) <= int(bar["max"])
        assert page.depth_errors == []
        assert "50 %" in page.said


def test_the_store_of_a_finished_audit(root):
    large_audit(root, facts=20, variants=7)
    found = Library(root).overview()
    assert [line.file for line in found.certificates] == ["certificate.json"]
    assert found.under_way == found.finished == found.unreadable == ()


def test_other_files_are_left_alone(root, certified):
    certified("PASS")
    (root / "config.json").write_text('{"model_type": "llama"}')
    (root / "statement.json").write_text('{"about": "a \\"schema_version\\""}')
    (root / "list.json").write_text('["schema_version"]')
    (root / "broken.json").write_text("{")
    (root / ".hidden.json").write_text('{"schema_version": "3.0.0"}')
    (root / "certificate.txt").write_text('{"schema_version": "3.0.0"}')
    found = Library(root).overview()
    assert [line.file for line in found.certificates] == ["pass/certificate.json"]
    assert found.unreadable == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b'{"schema_version": "3.0.0", "verd',
        b'{"schema_version": "2.0.0"}',
        b'{"schema_version": "3.0.0"}',
        b'{"schema_version": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"payloadType": "x", "payload": "", "signatures": []}',
        b'{"payloadType": 1, "payload": {"schema_version": NaN}}',
    ],
)
def test_a_corrupt_certificate_is_listed_beside_the_others(root, served, certified, content):
    certified("PASS")
    (root / "certificate.json").write_bytes(content)
    found = Library(root).overview()
    assert [line.verdict for line in found.certificates] == ["PASS"]
    [unreadable] = found.unreadable
    assert unreadable.file == "certificate.json"
    assert len(unreadable.why) > 10
    assert "Could not be read" in served.get()


def test_an_edited_certificate_is_not_shown_as_one(root, certified):
    file = certified("FAIL")
    file.write_text(file.read_text("utf-8").replace('"FAIL"', '"PASS"', 1), "utf-8")
    found = Library(root).overview()
    assert found.certificates == ()
    assert "edited" in found.unreadable[0].why


@pytest.mark.parametrize(
    ("expires", "until", "expired"),
    [
        (None, None, False),
        ("2020-01-01T00:00:00Z", None, True),
        ("2020-01-01T00:00:00", None, True),
        ("9999-01-01T00:00:00Z", None, False),
        ("9999-01-01T00:00:00Z", "2020-01-01", True),
        (None, "TODAY", False),
    ],
)
def test_what_holds_no_longer_is_marked(served, certified, expires, until, expired):
    honest = honest_certificate("FAIL")
    today = datetime.now(UTC).date().isoformat()
    waivers = [
        w.model_copy(update={"until": until.replace("TODAY", today)})
        for w in (honest.policy.waivers if until else ())
    ]
    assert len(waivers) == (1 if until else 0)
    certified(
        "FAIL",
        timing=honest.timing.model_copy(update={"expires": expires}),
        policy=honest.policy.model_copy(update={"waivers": tuple(waivers)}),
    )
    assert ('class="unit expired"' in served.get()) is expired


@pytest.mark.parametrize("until", ["soon", "9999-12-31"])
def test_a_waiver_without_a_last_day_is_no_certificate(root, certified, until):
    honest = honest_certificate("FAIL")
    waivers = tuple(w.model_copy(update={"until": until}) for w in honest.policy.waivers)
    certified("FAIL", policy=honest.policy.model_copy(update={"waivers": waivers}))
    assert "until when it holds" in Library(root).overview().unreadable[0].why


def test_no_link_leads_out_of_the_folder(root, tmp_path, certified, half):
    outside = tmp_path / "outside"
    outside.mkdir()
    file = certified("PASS")
    shutil.move(file, outside / "certificate.json")
    (root / "linked.json").symlink_to(outside / "certificate.json")
    (root / "folder").symlink_to(outside)
    (root / "store").symlink_to(root / "running" / "evidence")
    (root / "loop.json").symlink_to(root / "loop.json")
    (root / "itself").symlink_to(root)
    os.mkfifo(root / "certificate.json")
    left = next(key for key in half.identities if not half.store.has(key))
    (outside / "secret").write_text("secret")
    (half.store.root / "failures").mkdir()
    (half.store.root / "failures" / f"{left}.log").symlink_to(outside / "secret")
    (half.store.root / "audits" / "x.json").symlink_to(outside / "certificate.json")
    found = Library(root).overview()
    assert found.certificates == found.unreadable == ()
    [audit] = found.under_way
    assert audit.failures == ()
    (root / "inside.json").symlink_to(shutil.copy(outside / "certificate.json", root / "own.json"))
    assert [c.file for c in Library(root).overview().certificates] == ["inside.json", "own.json"]


def test_a_key_is_no_path(root, tmp_path):
    audit = RunningAudit(root / "evidence")
    (root / "evidence" / "seal.json").write_text("{}")
    audit.jobs = {"x": {"unlearned": ("..", "../..", "a/b", "", "x" * 5000)}}
    audit.enter()
    [found] = Library(root).overview().under_way
    assert (found.all.done, found.all.total) == (0, 5)


def test_folders_far_down_and_those_of_stores_are_not_gone_into(root, certified, half):
    certified("PASS", "/".join("abcdefghijk"[:DEPTH]) + "/certificate.json")
    assert len(Library(root).overview().certificates) == 1
    certified("FAIL", "/".join("klmnopqrst"[: DEPTH + 1]) + "/certificate.json")
    certified("FAIL", "running/evidence/jobs/ab/certificate.json")
    certified("FAIL", ".cache/certificate.json")
    assert [c.verdict for c in Library(root).overview().certificates] == ["PASS"]


@pytest.mark.parametrize("content", ["", "{}", '{"unlearned": 1}', "[" * 100_000, '"\\ud800"'])
def test_a_corrupt_ledger_is_listed(root, half, content):
    (half.store.root / "audits" / "broken.json").write_text(content)
    found = Library(root).overview()
    assert len(found.under_way) == 1
    assert found.unreadable[0].file == "running/evidence/audits/broken.json"
