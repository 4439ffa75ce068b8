"""The ledger loses no audit, whoever writes at once and whatever kills the writers."""

import json
import multiprocessing
import time

import pytest

from auditor.core.errors import AuditorError
from auditor.core.hashing import digest
from auditor.core.records import Cost, Record
from auditor.store.environment import Environment
from auditor.store.folder_store import FolderStore
from auditor.store.ledger import Begun, Finished, Ledger, read_events, runs_of

MODEL, FACTS = "m" * 64, "f" * 64
HERE = Environment(device="cpu", packages={})
STRICT, LAX = "strict", "lax"


def key(arm):
    """Audits of the same under two policies share their jobs."""
    return digest({"arm": arm})


JOBS = {"none/as-is": {arm: (key(arm),) for arm in ("unlearned", "original")}}


class Audit:
    """An audit that measures nothing but writes evidence as if it had."""

    def __init__(self, root, policy):
        self.store = FolderStore(root)
        self.ledger = Ledger(self.store, MODEL, FACTS, digest(policy), policy)

    def begin(self, jobs=JOBS):
        self.ledger.begin("models/u", jobs)
        return self

    def measure(self, arm="unlearned"):
        self.store.write(key(arm), {"arm": arm}, Record(), Cost(1.0, 1), HERE)
        return self

    def decide(self):
        return self.ledger.decide()

    def finish(self):
        others = self.decide()
        self.ledger.finish(others)
        return others


@pytest.fixture
def audit(tmp_path):
    return lambda policy: Audit(tmp_path / "store", policy)


def runs(audit):
    store = audit("anything").store
    return runs_of(
        event
        for name, content in store.events(digest([MODEL, FACTS]))
        for event in read_events(name, content)
    )


def test_one_audit_from_begin_to_finish(audit):
    one = audit(STRICT).begin()
    [run] = runs(audit)
    assert (run.name, run.policy, run.unlearned) == (STRICT, digest(STRICT), "models/u")
    assert (run.finished, run.decided, run.jobs) == (None, False, JOBS)
    assert one.measure().finish() == ()
    [run] = runs(audit)
    assert run.finished is not None
    assert run.decided


def test_going_on_writes_nothing_new_until_something_is(audit):
    def files():
        return sorted((audit(STRICT).store.root / "audits").rglob("*.json"))

    audit(STRICT).begin().measure()
    before = files()
    audit(STRICT).begin()
    assert files() == before
    more = JOBS | {"quantization/rtn 4-bit": {"unlearned": (key("more"),)}}
    audit(STRICT).begin(more)
    assert len(files()) == len(before) + 1
    [run] = runs(audit)
    assert run.jobs == more
    written = {file: file.read_bytes() for file in files()}
    audit(STRICT).finish()
    assert {file: file.read_bytes() for file in written} == written, "nothing is ever changed"


def test_a_policy_that_measured_nothing_leaves_no_trace_in_certificates(audit):
    audit(STRICT).begin()
    assert audit(LAX).begin().measure().finish() == ()
    assert [run.name for run in runs(audit)] == [STRICT, LAX], "both stand in the ledger"


def test_a_policy_cannot_be_picked_from_those_that_were_begun_before_the_evidence(audit):
    """Begin under two, run one, look at it, go on with the other: the other's certificate tells."""
    audit(STRICT).begin()
    audit(LAX).begin().measure().finish()
    assert audit(STRICT).begin().finish() == (digest(LAX),)


def test_a_policy_may_not_change_midway(audit):
    audit(STRICT).begin().measure("original")
    audit(LAX).begin()  # the unlearned model was not opened yet
    audit(LAX).measure()
    with pytest.raises(AuditorError, match=r"under the policy lax .* now it is strict"):
        audit(STRICT).begin()
    with pytest.raises(AuditorError, match="begin anew with another evidence store"):
        audit("third").begin()
    assert [run.name for run in runs(audit)] == [STRICT, LAX], "who is refused leaves no trace"
    assert audit(LAX).begin().finish() == ()
    assert audit(STRICT).begin().finish() == (digest(LAX),)


def test_what_a_certificate_said_it_says_again(audit):
    audit(STRICT).begin().measure().finish()
    assert audit(LAX).begin().finish() == (digest(STRICT),)
    assert audit("third").begin().finish() == (digest(STRICT), digest(LAX))
    for policy, others in ((STRICT, ()), (LAX, (digest(STRICT),))):
        assert audit(policy).begin().finish() == others


def test_interleaved_both_stand_and_the_later_names_the_other(audit):
    """The order in which a lost update happened: both read before either writes."""
    strict, lax = audit(STRICT), audit(LAX)
    reads = strict.ledger._read, lax.ledger._read
    first_reads = [read() for read in reads]
    strict.ledger._read = _first(first_reads[0], reads[0])
    lax.ledger._read = _first(first_reads[1], reads[1])
    strict.begin()
    lax.begin()
    assert [run.name for run in runs(audit)] == [STRICT, LAX]
    strict.measure()
    assert digest(LAX) in strict.finish()
    assert digest(STRICT) in lax.finish()


def _first(old, read):
    """A read that is as old as the audit's start, once."""
    answers = iter([old])
    return lambda: next(answers, None) or read()


def test_of_two_that_decide_at_once_one_names_the_other(audit):
    strict, lax = audit(STRICT).begin(), audit(LAX).begin()
    strict.measure()
    others = strict.decide(), lax.decide()  # neither has finished
    assert digest(STRICT) in others[1]
    strict.ledger.finish(others[0])
    lax.ledger.finish(others[1])


def test_two_that_began_together_and_were_killed_both_go_on(audit):
    strict, lax = audit(STRICT), audit(LAX)
    reads = strict.ledger._read, lax.ledger._read
    strict.ledger._read = _first(reads[0](), reads[0])
    lax.ledger._read = _first(reads[1](), reads[1])
    strict.begin()
    lax.begin()
    lax.measure()
    # neither knows of the other's end; lax read last, so lax may go on, and then strict
    assert digest(STRICT) in audit(LAX).begin().finish()
    assert digest(LAX) in audit(STRICT).begin().finish()


@pytest.mark.parametrize("attempt", range(5))
def test_processes_that_begin_at_once_all_stand_in_it(tmp_path, attempt):
    """Each audit is a process of its own; all wait for the same moment."""
    names = [f"policy {i}" for i in range(4)]
    context = multiprocessing.get_context("fork")
    start, found = context.Barrier(len(names)), context.Queue()
    processes = [
        context.Process(target=_finished_or_refused, args=(tmp_path / "store", name, start, found))
        for name in names
    ]
    for process in processes:
        process.start()
    answers = dict(found.get(timeout=60) for _ in names)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = FolderStore(tmp_path / "store")
    stand = runs_of(
        event
        for name, content in store.events(digest([MODEL, FACTS]))
        for event in read_events(name, content)
    )
    through = {name for name, others in answers.items() if others is not None}
    assert through, "somebody came through"
    assert {run.name for run in stand} >= through
    named = {(one, other) for one in through for other in through if digest(other) in answers[one]}
    for one in through:
        for other in through - {one}:
            assert (one, other) in named or (other, one) in named, "of any two, one names the other"


def _finished_or_refused(root, policy, start, found):
    audit = Audit(root, policy)
    start.wait()
    try:
        audit.begin()
    except AuditorError:  # another had opened the model by then
        found.put((policy, None))
        return
    audit.measure("original").measure("unlearned")
    found.put((policy, audit.finish()))


def _begin_for_ever(root, start):
    audit = Audit(root, STRICT)
    start.wait()
    for number in range(100_000):
        audit.begin({"x": {"original": (digest(number),)}})


def test_a_killed_writer_leaves_whole_events(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(3):
        start = context.Barrier(2)
        process = context.Process(target=_begin_for_ever, args=(tmp_path / "store", start))
        process.start()
        start.wait()
        time.sleep(0.1 + 0.05 * attempt)
        process.kill()
        process.join()
    store = FolderStore(tmp_path / "store")
    events = list(store.events(digest([MODEL, FACTS])))
    assert len(events) >= 3
    assert len(runs_of(e for name, content in events for e in read_events(name, content))) == 1


FORMER = {
    "unlearned": "models/u",
    "undertakings": [
        {"policy": digest(STRICT), "name": STRICT, "begun": "2026-01-01T00:00:00Z",
         "finished": "2026-01-01T01:00:00Z", "jobs": {}},
        {"policy": digest(LAX), "name": LAX, "begun": "2026-01-02T00:00:00Z",
         "jobs": {"none/as-is": {"unlearned": [key("unlearned")]}}},
    ],
}  # fmt: skip


def test_a_former_ledger_counts(audit):
    store = audit(STRICT).store
    (store.root / "audits").mkdir()
    file = store.root / "audits" / f"{digest([MODEL, FACTS])}.json"
    file.write_text(json.dumps(FORMER))
    assert [(run.name, run.finished) for run in runs(audit)] == [
        (STRICT, "2026-01-01T01:00:00Z"),
        (LAX, None),
    ]
    third = audit("third").begin()
    audit(STRICT).measure()
    with pytest.raises(AuditorError, match="under the policy lax"):
        audit("fourth").begin()
    assert third.finish() == (digest(STRICT),), "lax had measured nothing when third began"
    assert audit(LAX).begin().finish() == (digest(STRICT), digest("third"))
    assert audit(STRICT).begin().decide() == ()
    assert json.loads(file.read_text()) == FORMER


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"event": "ended"}', b'{"event": "begun"}', b"[" * 100_000, b"\xff"],
)
def test_what_is_no_event_is_refused(audit, content):
    audit(STRICT).begin()
    audit(STRICT).store.append(digest([MODEL, FACTS]), content)
    with pytest.raises(AuditorError, match="cannot be read"):
        audit(STRICT).begin()


def test_a_ledger_that_lost_its_beginning_is_refused(audit):
    ended = Finished(policy=digest(LAX), at="2026-01-01T00:00:00Z", others=())
    audit(STRICT).store.append(digest([MODEL, FACTS]), ended.model_dump_json().encode())
    with pytest.raises(AuditorError, match="not that it began"):
        audit(STRICT).begin()


def test_clocks_that_differ_lose_nothing():
    """A machine whose clock is behind ends an audit before it began."""
    begun = Begun(policy="p", name="n", unlearned="u", at="2026-01-02T00:00:00Z", jobs=JOBS)
    ended = Finished(policy="p", at="2026-01-01T00:00:00Z", others=("q",))
    [run] = runs_of([ended, begun])
    assert run.others == ("q",)
    assert run.decided
