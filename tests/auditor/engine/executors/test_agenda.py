"""Jobs begin after those whose findings they need, and end with them."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from auditor.core.messages import message
from auditor.engine.executors.base import Agenda, Answer, LabelledJob, model_key
from auditor.engine.failure import Failure, FailureKind
from auditor.engine.job import Job, Pooled
from auditor.models.kind import parse_spec
from auditor.models.spec import PromptFormat

BROKEN = Failure(message("no_retain_set"))
LOST = Failure(message("no_retain_set"), FailureKind.DOES_NOT_FIT, ends_model=True)


def entry(number, model, needs):
    """A job on one of a few models that measures what others found."""
    job = Job(
        stage="measure" if needs else "search",
        attack="none/as-is",
        parameters={},
        inputs={},
        seed=number,
        spec=parse_spec({"path": f"model-{model}"}),
        model=str(model) * 64,
        facts="f" * 64,
        metrics=("answer-probability",),
        format=PromptFormat(),
        token_budget=64,
        code="c" * 64,
        pool=tuple(Pooled(arm="unlearned", key=need.job.key, own=False) for need in needs),
    )
    return LabelledJob(f"job {number}", job)


@st.composite
def jobs(draw):
    """Jobs on three models, of which each may need some of those before it."""
    made = []
    for number in range(draw(st.integers(1, 12))):
        needs = (
            draw(st.lists(st.sampled_from(made), unique_by=lambda each: each.job.key, max_size=3))
            if made
            else []
        )
        made.append(entry(number, draw(st.integers(0, 2)), needs))
    return draw(st.permutations(made))


def grouped(entries):
    groups = {}
    for each in entries:
        groups.setdefault(model_key(each.job), []).append(each)
    return groups


@given(jobs(), st.integers(1, 3), st.data())
def test_each_job_ends_once_and_after_what_it_needs(entries, workers, data):
    told = Counter()
    agenda = Agenda(grouped(entries), lambda n=1, note="": told.update({note: n}))
    keys = {each.job.key for each in entries}
    found, at_work, asked = set(), [], []
    while agenda.open:
        while len(at_work) < workers and (turn := agenda.next(None)) is not None:
            assert found.issuperset(turn.entry.job.needs)
            asked.append(turn.entry.job.key)
            at_work.append(turn.entry)
        assert at_work, "somebody can always go on"
        ended = at_work.pop(data.draw(st.integers(0, len(at_work) - 1)))
        failure = data.draw(st.sampled_from([None, None, None, BROKEN, LOST]))
        if failure is None:
            found.add(ended.job.key)
        agenda.answered(ended, Answer(failure))
    assert agenda.next(None) is None
    assert len(asked) == len(set(asked))
    assert found | agenda.failures.keys() == keys
    assert not found & agenda.failures.keys()
    assert told == Counter(each.label for each in entries)
    for each in entries:
        if agenda.failures.keys() & set(each.job.needs):
            assert each.job.key in agenda.failures


def test_a_failed_search_ends_what_needs_it_and_no_other_model():
    search, other = entry(0, 0, []), entry(1, 1, [])
    pooled, free = entry(2, 1, [search, other]), entry(3, 1, [])
    agenda = Agenda(grouped([search, other, pooled, free]), lambda n=1, note="": None)
    agenda.answered(agenda.next(model_key(search.job)).entry, Answer(LOST))
    held = model_key(other.job)
    for expected in (other, free):
        assert agenda.next(held).entry == expected
        agenda.answered(expected, Answer())
    assert agenda.open == 0
    assert agenda.failures.keys() == {search.job.key, pooled.job.key}
    assert agenda.failures[search.job.key].ends_model
    assert not agenda.failures[pooled.job.key].ends_model


def test_what_was_found_is_measured_before_the_model_is_let_go_of():
    search, copies = entry(0, 0, []), entry(1, 0, [])
    measured = entry(2, 0, [search])
    agenda = Agenda(grouped([search, copies, measured]), lambda n=1, note="": None)
    held = model_key(search.job)
    assert agenda.next(held).entry == search
    agenda.answered(search, Answer())
    assert [agenda.next(held).entry for _ in range(2)] == [measured, copies]


def test_what_another_call_found_is_waited_for_by_nobody():
    measured = entry(1, 0, [entry(0, 0, [])])
    agenda = Agenda(grouped([measured]), lambda n=1, note="": None)
    assert agenda.next(None).entry == measured
