"""History of a model: audits on other facts and with other seeds."""

import pytest

from auditor.core.errors import AuditorError
from auditor.store.folder_store import FolderStore
from auditor.store.history import HISTORY, History, PastAudit


def audit(plan="p", facts="f", seeds=(0,), at="2026-01-01T00:00:00Z"):
    return PastAudit(plan=plan, policy="q", facts=facts, seeds=seeds, at=at)


@pytest.fixture
def history(tmp_path):
    return History(FolderStore(tmp_path), "model")


def test_more_attacks_on_the_same_facts_are_no_other_audit(history):
    history.note(audit())
    history.note(audit(plan="more attacks"))
    assert history.before(audit(plan="more attacks")) == ()


def test_other_facts_and_other_seeds_each_stand_once(history):
    first = audit(facts="fewer", at="2026-01-01T00:00:00Z")
    again = audit(plan="again", facts="fewer", at="2026-01-02T00:00:00Z")
    drawn = audit(plan="drawn", seeds=(1, 2), at="2026-01-03T00:00:00Z")
    own = audit(plan="own", at="2026-01-04T00:00:00Z")
    for each in (first, again, drawn, own):
        history.note(each)
    assert history.before(own) == (first, drawn)
    assert history.before(drawn) == (first,), "later ones are not before it"
    assert history.before(first) == ()
    assert history.before(audit(plan="not noted", facts="new")) == (first, drawn, own)


def test_a_plan_is_noted_once(history, tmp_path):
    for at in ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"):
        history.note(audit(at=at))
    [log] = (tmp_path / "audits").glob(f"{HISTORY}*")
    assert len(list(log.iterdir())) == 1


def test_facts_that_were_changed_in_their_file_are_other_facts(history):
    """The plan names the file, so it stays the same plan."""
    first = audit(facts="all of them")
    history.note(first)
    fewer = audit(facts="fewer", at="2026-01-02T00:00:00Z")
    assert not history.holds(fewer)
    history.note(fewer)
    assert history.before(fewer) == (first,)
    assert history.before(first) == ()


def test_another_model_has_a_history_of_its_own(history, tmp_path):
    history.note(audit(facts="others"))
    assert History(FolderStore(tmp_path), "another").before(audit()) == ()


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"plan": "p"}', b"[" * 5000])
def test_a_note_that_cannot_be_read_is_refused(history, tmp_path, content):
    history.note(audit())
    [log] = (tmp_path / "audits").glob(f"{HISTORY}*")
    (log / "99999999999999999999-a.json").write_bytes(content)
    with pytest.raises(AuditorError, match="cannot be read"):
        history.before(audit(plan="later"))
