"""The data of a page of evidence are those of the store, and what is not there is absent."""

import base64
import json
import shutil
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from hand_made_pictures import drawn
from hostile_texts import HOSTILE, MARKER
from measured_audit import (
    ARMS,
    ATTACKS,
    FACTS,
    LEAKING,
    OTHER,
    PRIMARY,
    MeasuredAudit,
    framed,
    level,
)
from served_folder import serving
from test_viewer_server import EVERYWHERE, tree

from auditor.certificate.files import read_certificate
from auditor.certificate.redaction import marker
from auditor.core.baselines import Baseline
from auditor.core.errors import AuditorError
from auditor.core.hashing import digest
from auditor.core.progress import SilentProgress
from auditor.core.records import Cost, Record, Row
from auditor.store.environment import Environment
from auditor.store.folder_store import FolderStore
from auditor.store.ledger import Begun
from auditor.viewer.bundle import write_bundle
from auditor.viewer.evidence import ABSENT, FINEST, LEAK, NO_LEAK, NOT_TOLD, EvidenceView
from auditor.viewer.evidence_source import of_certificate
from auditor.viewer.folder import Folder
from auditor.viewer.token_scores import token_log_probabilities
from reports.evidence import evidence_script
from reports.page import script_hash


def view_of(audit, **changes):
    source = of_certificate(audit.certificate(**changes).named(), audit.store)
    return EvidenceView(source)


def read(view, name):
    return json.loads(view.file(name))


def known(view, arm, name="k-forget-0"):
    """K as [attacks, facts], NaN where it is absent."""
    codes = np.frombuffer(base64.b64decode(read(view, name)["arms"][arm]), "<u2")
    return np.where(codes == ABSENT, np.nan, codes / FINEST).reshape(len(view.index.attacks), -1)


def leaked(view, name="k-forget-0"):
    codes = np.frombuffer(base64.b64decode(read(view, name)["leaks"]), "u1")
    return codes.reshape(len(view.index.attacks), -1)


def test_k_is_that_of_the_rows_of_every_model_and_attack(tmp_path):
    view = view_of(MeasuredAudit(tmp_path))
    assert view.index.arms == ARMS
    assert view.index.metrics == (PRIMARY, OTHER)
    assert view.index.facts == {"forget": FACTS, "retain": 4}
    for arm in ARMS:
        expected = [[level(arm, attack, n) for n in range(FACTS)] for attack in ATTACKS]
        assert known(view, arm) == pytest.approx(np.array(expected), abs=1 / FINEST)


def test_a_fact_leaks_as_the_leak_rate_says(tmp_path):
    """In 4 bits d is 0.8 and g is 0.85 for every fourth fact; elsewhere d is 0."""
    told = leaked(view_of(MeasuredAudit(tmp_path)))
    assert {tuple(place) for place in np.argwhere(told == LEAK)} == {(1, n) for n in LEAKING}
    assert (told == NO_LEAK).sum() == told.size - len(LEAKING)


def test_a_fact_that_the_original_hardly_knows_cannot_leak(tmp_path):
    audit = MeasuredAudit(
        tmp_path, k=lambda arm, *_: {"original": 0.29, "unlearned": 0.9}.get(arm, 0.1)
    )
    assert (leaked(view_of(audit)) == NO_LEAK).all()


def test_against_its_own_null_a_fact_is_held_against_itself(tmp_path):
    """d is 0.9 - 0.85 with an answer that is guessed as well when it is exchanged."""
    arms = ("unlearned", "original", "null-unlearned", "null-original")
    values = {"unlearned": 0.9, "original": 0.95, "null-unlearned": 0.85, "null-original": 0.1}
    audit = MeasuredAudit(tmp_path, arms=arms, k=lambda arm, *_: values[arm])
    source = of_certificate(audit.certificate().named(), audit.store)
    view = EvidenceView(replace(source, baseline=Baseline.OWN_NULL))
    assert (leaked(view) == NO_LEAK).all()
    codes = np.frombuffer(base64.b64decode(read(view, "k-forget-0")["baseline"]), "<u2")
    assert codes / FINEST == pytest.approx(0.85, abs=1e-4)
    values["unlearned"] = 0.99  # d is 0.14, g is 0.85
    values["null-unlearned"] = 0.3
    again = MeasuredAudit(tmp_path / "again", arms=arms, k=lambda arm, *_: values[arm])
    source = of_certificate(again.certificate().named(), again.store)
    assert (leaked(EvidenceView(replace(source, baseline=Baseline.OWN_NULL))) == LEAK).all()


def test_a_fact_that_was_not_measured_is_absent_and_not_0(tmp_path):
    def k(arm, attack, number):
        return None if number == 3 and arm != "original" else level(arm, attack, number)

    view = view_of(MeasuredAudit(tmp_path, k=k))
    assert np.isnan(known(view, "unlearned")[:, 3]).all()
    assert np.isfinite(known(view, "original")).all()
    assert (leaked(view)[:, 3] == NOT_TOLD).all()
    answers = read(view, "answers-forget-0-0")["arms"]["unlearned"]
    assert answers["said"][3] is None
    assert answers["k"][PRIMARY][3] is None


def test_each_prompt_is_shown_as_it_was_read(tmp_path):
    view = view_of(MeasuredAudit(tmp_path, read=lambda own: f"<s>{own.prompt.upper()}</s>"))
    found = read(view, "answers-forget-0-0")
    assert found["read"][1] == "<s>WHERE WAS PERSON 1 OF FORGET BORN?</s>"
    assert not any(found["rebuilt"])


def test_where_one_prompt_was_kept_the_others_are_put_together_and_it_is_said(tmp_path):
    audit = MeasuredAudit(tmp_path)
    found = read(view_of(audit), "answers-forget-0-0")
    assert found["read"] == [framed(own) for own in audit.sets.forget]
    assert found["rebuilt"] == [False] + [True] * (FACTS - 1)
    assert read(view_of(audit), "answers-retain-0-0")["read"] == [None] * 4


def test_the_question_that_an_attack_put_stands_with_the_answer(tmp_path):
    def asked(arm, attack, number):
        return f"{arm}: <b>{number}</b>?" if attack[0].startswith("prompting") else None

    view = view_of(MeasuredAudit(tmp_path, asked=asked))
    assert read(view, "answers-forget-2-0")["arms"]["original"]["asked"][3] == "original: <b>3</b>?"
    assert read(view, "answers-forget-0-0")["arms"]["original"]["asked"] == [None] * FACTS


def test_what_was_kept_of_prompts_is_only_shown_whole(tmp_path):
    audit = MeasuredAudit(tmp_path, read=framed)
    (audit.store.root / "inputs" / f"{audit.read}.json").write_text("{}")
    assert all(read(view_of(audit), "answers-forget-0-0")["rebuilt"][1:])


@pytest.mark.parametrize("how", ["gone", "changed", "other"])
def test_evidence_that_is_gone_or_changed_is_absent_and_named(tmp_path, how):
    audit = MeasuredAudit(tmp_path)
    key = audit.jobs[ATTACKS[1]]["unlearned"][0]
    certificate = audit.certificate()
    folder = audit.store.root / "jobs" / key[:2] / key
    if how == "gone":
        shutil.rmtree(folder)
    elif how == "changed":
        (folder / "rows.parquet").write_bytes(b"PAR1")
    else:
        jobs = certificate.evidence.jobs | {key: "0" * 64}
        part = certificate.evidence.model_copy(update={"jobs": jobs})
        certificate = certificate.model_copy(update={"evidence": part})
    view = EvidenceView(of_certificate(certificate.named(), audit.store))
    [problem] = view.index.problems
    assert (problem.attack, problem.arm) == ("quantization/bnb nf4", "unlearned")
    assert np.isnan(known(view, "unlearned")[1]).all()
    assert np.isfinite(known(view, "unlearned")[[0, 2]]).all()
    assert (leaked(view)[1] == NOT_TOLD).all()
    assert "unlearned" not in read(view, "answers-forget-1-0")["arms"]


def test_k_of_several_seeds_is_their_mean_and_lacks_what_one_lacks(tmp_path):
    audit = MeasuredAudit(tmp_path, seeds=2)
    attack = ATTACKS[0]
    rows = audit.store.rows(audit.jobs[attack]["unlearned"][0]).to_pylist()
    other = [Row(**r)._replace(k=0.5) for r in rows if r["fact"] != "forget-0002"]
    key = audit.write(attack, "unlearned", 7, other, {}, {})
    audit.jobs[attack]["unlearned"][1] = key
    found = known(view_of(audit), "unlearned")[0]
    assert found[0] == pytest.approx((0.1 + 0.5) / 2, abs=1 / FINEST)
    assert np.isnan(found[2])
    assert read(view_of(audit), "answers-forget-0-0")["arms"]["unlearned"]["seeds"] == 2


def test_a_leading_metric_without_rows_is_replaced_by_none(tmp_path):
    audit = MeasuredAudit(tmp_path)
    source = of_certificate(audit.certificate().named(), audit.store)
    attacks = tuple(replace(attack, metric="nonesuch") for attack in source.attacks)
    view = EvidenceView(replace(source, attacks=attacks))
    assert view.index.leading == (None, None, None)
    assert np.isnan(known(view, "unlearned")).all()
    assert np.isfinite(known(view, "unlearned", "k-forget-1")).all()


def test_answers_pictures_and_notes_are_those_of_the_job(tmp_path):
    picture = drawn("square")
    audit = MeasuredAudit(
        tmp_path,
        picture=lambda arm, attack, n: picture if n == 1 else None,
        notes={"suffix": "! ! describing"},
    )
    view = view_of(audit)
    assert view.index.at_once == 20
    found = read(view, "answers-forget-1-0")["arms"]["original"]
    assert found["said"][1] == "original says Town 1"
    assert base64.b64decode(found["pictures"][1].removeprefix("data:image/png;base64,")) == picture
    assert found["pictures"][2] is None
    assert json.loads(found["notes"]) == {"suffix": "! ! describing"}


def test_token_probabilities_are_shown_where_they_were_kept(tmp_path):
    logs = -np.arange(2 * FACTS, dtype=np.float32) / 10
    kept = {"alone/tokens": np.full(FACTS, 2), "alone/log_probability": logs}
    wrong = {"after/tokens": np.full(FACTS + 1, 2), "after/log_probability": logs}
    audit = MeasuredAudit(
        tmp_path, arrays=lambda arm, attack: kept | wrong if attack == ATTACKS[2] else {}
    )
    view = view_of(audit)
    found = read(view, "answers-forget-2-0")["arms"]["unlearned"]["tokens"]
    assert found["alone"][1] == pytest.approx([-0.2, -0.3])
    assert set(found) == {"alone"}, "counts that are not one a fact are of something else"
    assert read(view, "answers-forget-0-0")["arms"]["unlearned"]["tokens"] == {}


def test_tokens_of_another_models_search_are_not_its_own(tmp_path):
    audit = MeasuredAudit(tmp_path)
    logs = {"alone/tokens": np.full(FACTS, 1), "alone/log_probability": -np.ones(FACTS)}
    found = [audit.write(("membership/likelihood", stage), "x", 0, [], logs, {}) for stage in "ab"]
    identity = {"pool": [{"arm": "original", "key": found[0], "own": False}]}
    for own in (False, True):
        identity["pool"][0]["own"] = own
        key = digest(identity)
        audit.store.write(
            key, identity, Record(), Cost(1, 1), Environment(device="cpu", packages={})
        )
        shown = token_log_probabilities(audit.store, key, audit.sets, "forget")
        assert bool(shown) is own


def test_names_are_all_there_and_others_are_not(tmp_path):
    view = view_of(MeasuredAudit(tmp_path))
    names = list(view.names())
    assert len(names) == len(set(names)) == 2 * (1 + 3 + 3)
    for name in names:
        assert view.file(name) is not None
    for name in (
        *("", "facts", "facts-holdout", "facts-../x", "k-forget-3", "k-forget--1", "k-forget-00"),
        *("k-forget-\u0661", "answers-forget-3-0", "answers-forget-0-1", "answers-forget-0"),
        *("answers-forget-0-0-0", "k-forget-1e0", "../../evidence", "facts-forget-0"),
    ):
        assert view.file(name) is None


SECRETS = ("Person", "born", "Town")


@pytest.mark.parametrize("known_key", [True, False])
def test_nothing_of_a_redacted_certificate_is_in_its_files(tmp_path, known_key):
    audit = MeasuredAudit(
        tmp_path, picture=lambda *_: drawn("square", 32), notes={"suffix": "Person 0"}
    )
    audit.write_redacted(key=None if known_key else b"k" * 32)
    if not known_key:
        (audit.store.root / "redaction.key").unlink(missing_ok=True)
    certificate = read_certificate(tmp_path / "certificate.json")
    store = FolderStore(audit.store.root, read_only=True)
    view = EvidenceView(of_certificate(certificate, store))
    assert view.index.redacted
    for name in view.names():
        content = view.file(name).decode()
        for secret in SECRETS:
            assert secret not in content, name
    ids = read(view, "facts-forget")["id"]
    assert len(set(ids)) == FACTS
    if known_key:
        mark = marker(audit.store.redaction_key())
        assert ids == [mark(fact.id) for fact in audit.sets.forget]
    coarse = read(view, "answers-forget-0-0")["arms"]["original"]["pictures"][0]
    assert len(base64.b64decode(coarse.partition(",")[2])) < 200
    answers = read(view, "answers-forget-0-0")["arms"]["original"]
    assert answers["notes"] is None
    assert all(said.startswith("redacted:") for said in answers["said"])


@pytest.fixture
def root(tmp_path):
    return tmp_path / "viewed"


@pytest.fixture
def audit(root):
    made = MeasuredAudit(root / "audit")
    made.write_certificate()
    return made


@pytest.fixture
def served(root):
    with serving(root) as running:
        yield running


def address_of(root):
    return f"certificate/{Folder(root).identifier(root / 'audit' / 'certificate.json')}"


def test_the_page_is_linked_from_overview_and_certificate_and_reads_its_data(root, audit, served):
    before = tree(root)
    address = address_of(root)
    assert f'href="{address}/evidence"' in served.get()
    assert f'href="{address.rpartition("/")[2]}/evidence"' in served.get(address)
    status, headers, page = served.ask(f"/{served.viewer.token}/{address}/evidence")
    assert status == 200
    assert headers.items() >= EVERYWHERE.items()
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["script-src"] == script_hash(evidence_script())
    assert policy["connect-src"] == "'self'"
    assert policy["default-src"] == "'none'"
    assert served.viewer.token not in page.decode()
    facts = json.loads(served.get(f"{address}/evidence/facts-forget.json"))
    assert facts["answer"][2] == "Town 2"
    assert tree(root) == before


def test_only_pages_of_evidence_may_ask_for_data(root, audit, served):
    for address in ("", address_of(root), f"{address_of(root)}/evidence/facts-forget.json"):
        _, headers, _ = served.ask(f"/{served.viewer.token}/{address}")
        assert "connect-src" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "file",
    [
        *("facts-forget", "facts-forget.js", "..%2f..%2fcertificate.json", "../certificate.json"),
        *("facts-forget.json/", "k-forget-9.json", ".json", "answers-forget-0-99.json"),
    ],
)
def test_no_path_of_an_address_is_opened(root, audit, served, file):
    path = f"/{served.viewer.token}/{address_of(root)}/evidence/{file}"
    status, _, content = served.ask(path)
    assert status == 404
    assert b"Town" not in content


def test_without_the_token_there_is_no_evidence(root, audit, served):
    status, _, content = served.ask(f"/{'x' * 43}/{address_of(root)}/evidence/facts-forget.json")
    assert status == 403
    assert b"Town" not in content


def test_evidence_outside_of_the_folder_is_not_shown(tmp_path):
    """The certificate's folder is viewed, and its evidence lies one folder up."""
    audit = MeasuredAudit(tmp_path)
    (tmp_path / "own").mkdir()
    audit.write_certificate("own/certificate.json")
    (tmp_path / "linked").mkdir()
    audit.write_certificate("linked/certificate.json")
    (tmp_path / "linked" / "evidence").symlink_to(tmp_path / "evidence")
    for name in ("own", "linked"):
        with serving(tmp_path / name) as served:
            assert "/evidence" not in served.get()
            own = Folder(tmp_path / name).identifier(tmp_path / name / "certificate.json")
            status, _, content = served.ask(f"/{served.viewer.token}/certificate/{own}/evidence")
            assert status == 404
            assert b"not in the folder that is viewed" in content


def begin(audit):
    audit.store.append(
        digest("model"),
        Begun(
            policy=digest("policy"),
            name="default",
            unlearned="models/unlearned",
            at="2026-03-02T12:00:00Z",
            jobs={f"{a} {v}": jobs for (a, v), jobs in audit.jobs.items()},
        )
        .model_dump_json()
        .encode(),
    )


def test_an_audit_under_way_has_a_page_of_what_is_done(root, audit, served):
    (root / "audit" / "certificate.json").unlink()
    key = audit.jobs[ATTACKS[1]]["original"][0]
    job = audit.store.root / "jobs" / key[:2] / key
    job.rename(root / "elsewhere")
    begin(audit)
    listed = json.loads(served.get("api/overview.json"))["under_way"][0]
    address = f"audit/{listed['store_id']}/{listed['entry_id']}"
    assert f'href="{listed["entry_id"]}/evidence"' in served.get(address)
    assert "Evidence of" in served.get(f"{address}/evidence")
    name = f"{address}/evidence/k-forget-0.json"
    first = json.loads(served.get(name))["arms"]["original"]
    (root / "elsewhere").rename(job)
    served.get(f"{address}/evidence")
    assert json.loads(served.get(name))["arms"]["original"] != first, "it is read again"


def test_a_store_with_a_redacted_certificate_is_shown_redacted(root, audit, served):
    audit.write_redacted()
    begin(audit)
    listed = json.loads(served.get("api/overview.json"))["under_way"][0]
    address = f"audit/{listed['store_id']}/{listed['entry_id']}/evidence"
    assert "redacted" in served.get(address)
    for file in ("facts-forget", "answers-forget-0-0"):
        content = served.get(f"{address}/{file}.json")
        assert "redacted:" in content
        assert "Town" not in content


def test_a_bundle_holds_every_file_and_refuses_to_overwrite(root, audit, tmp_path):
    before = tree(root)
    site = tmp_path / "site"
    assert write_bundle(root, site, SilentProgress()) == 1
    own = site / address_of(root)
    assert (site / "index.html").read_text("utf-8").count(f"{address_of(root)}/evidence.html") == 1
    view = view_of(audit)
    assert {file.stem for file in (own / "evidence").iterdir()} == set(view.names())
    written = (own / "evidence" / "facts-forget.js").read_bytes()
    assert written == b'auditorEvidence("facts-forget",' + view.file("facts-forget") + b");\n"
    page = unescape((own / "evidence.html").read_text("utf-8"))
    assert f"script-src {script_hash(evidence_script())} 'strict-dynamic'" in page
    assert tree(root) == before
    for place in (site, root / "inside", root):
        with pytest.raises(AuditorError):
            write_bundle(root, place, SilentProgress())
    (tmp_path / "nothing").mkdir()
    with pytest.raises(AuditorError, match="no certificate"):
        write_bundle(tmp_path / "nothing", tmp_path / "other", SilentProgress())
    assert not (tmp_path / "other").exists()


def test_hostile_texts_end_no_element_and_no_string(tmp_path):
    audit = MeasuredAudit(
        tmp_path / "viewed",
        text=HOSTILE.replace("{", "{{").replace("}", "}}") + "{}",
        said=lambda *_: HOSTILE * 500,
        attacks=(*ATTACKS, ("quantization/</script><b>", HOSTILE)),
    )
    audit.write_certificate()
    site = tmp_path / "site"
    write_bundle(tmp_path / "viewed", site, SilentProgress())
    [page] = site.rglob("evidence.html")
    text = page.read_text("utf-8")
    assert text.count("</script>") == 2
    assert f"document.title='{MARKER}'\">" not in text
    for file in site.rglob("*.js"):
        content = file.read_bytes()
        assert content.isascii()
        json.loads(content[content.index(b",") + 1 : -3])
    said = json.loads(
        (page.parent / "evidence" / "answers-forget-0-0.js").read_bytes().partition(b",")[2][:-3]
    )["arms"]["original"]["said"][0]
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "cut: 4,000 of" in said
