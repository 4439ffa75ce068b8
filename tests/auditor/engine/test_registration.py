"""A policy is written down before the unlearned model is opened, and cannot change midway."""

import multiprocessing

import pytest
import torch

from auditor.api.auditing import audit
from auditor.api.certificates import verify
from auditor.core.errors import AuditorError
from auditor.core.progress import SilentProgress
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.preparation import prepare
from auditor.engine.registration import planned_jobs, register
from auditor.store.folder_store import FolderStore

OTHER = {"mandatory": ["none/as-is"], "delta": 0.4, "name": "lax"}


@pytest.fixture
def begun(passing_plan, tmp_path):
    """The ledger of an audit in a store of its own, under a policy."""
    store = FolderStore(tmp_path / "store")

    def begin(policy=None, measure=False):
        changes = {"attacks": [], "policy": policy or {"mandatory": ["none/as-is"]}}
        prepared = prepare(passing_plan(**changes), store, SilentProgress())
        ledger = register(prepared, store)
        if measure:
            run_audit(prepared, store, LocalExecutor(), SilentProgress())
        return ledger, prepared, store

    return begin


def test_a_policy_may_change_until_the_unlearned_model_was_measured(begun):
    begun()
    ledger, _, _ = begun(OTHER, measure=True)
    assert ledger.decide() == ()


def test_another_policy_midway_is_refused(begun):
    begun(measure=True)
    with pytest.raises(AuditorError, match=r"begun under the policy default .* now it is lax"):
        begun(OTHER)
    begun()  # under its own policy it goes on


def test_a_second_policy_after_the_first_is_on_record(begun):
    ledger, prepared, _ = begun(measure=True)
    first = prepared.plan.policy.digest
    ledger.finish(ledger.decide())
    other, _, _ = begun(OTHER)
    assert other.decide() == (first,)
    other.finish((first,))
    assert begun()[0].decide() == (), "the first stays the first"
    assert begun(OTHER)[0].decide() == (first,)


def test_planned_jobs_are_those_that_run(begun):
    _, prepared, store = begun(measure=True)
    planned = planned_jobs(prepared)
    assert list(planned) == ["none/as-is full precision"]
    assert set(planned["none/as-is full precision"]) == {"unlearned", "original", "retrained-0"}
    keys = [key for keys in planned["none/as-is full precision"].values() for key in keys]
    assert len(keys) == 3
    assert all(map(store.has, keys))


def test_a_ledger_that_was_tampered_with_is_refused(begun):
    _, _, store = begun()
    file = next((store.root / "audits").glob("*/*.json"))
    file.write_text("{")
    with pytest.raises(AuditorError, match="cannot be read"):
        begun()


def test_the_command_refuses_it_too_and_says_the_way_out(begun, passing_plan, tmp_path):
    _, _, store = begun(measure=True)
    plan = passing_plan(attacks=[], policy=OTHER)
    with pytest.raises(AuditorError, match="begin anew with another evidence store"):
        audit(plan, out=tmp_path / "out", store=store.root, reports=())
    assert not (tmp_path / "out" / "certificate.json").exists()
    done = audit(plan, out=tmp_path / "new", store=tmp_path / "other", reports=())
    certificate = done.certificate
    assert certificate.policy.name == "lax"


def test_facts_that_are_asked_no_more_are_on_record(passing_plan, people, tmp_path):
    """An owner who leaves out what leaks, or calls it kept, is not audited for the first time."""
    policy = {"mandatory": ["none/as-is"], "earlier_audits": 0}
    store = tmp_path / "store"
    plan = passing_plan(attacks=[], policy=policy)
    first = audit(plan, out=tmp_path / "first", store=store, reports=()).certificate
    assert first.identity.earlier_audits == ()
    asked, kept = (people.facts(name).read_text().splitlines() for name in ("forget", "retain"))
    files = {"forget": asked[8:], "retain": [*kept, *asked[:3]]}
    for name, lines in files.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = {name: str(tmp_path / f"{name}.jsonl") for name in files}
    fewer = passing_plan(attacks=[], policy=policy, data=data)
    second = audit(fewer, out=tmp_path / "second", store=store, reports=()).certificate
    [past] = second.identity.earlier_audits
    assert past.facts_digest == first.identity.facts_digest
    warned = {warning.code: warning.params for warning in second.warnings}
    assert warned["audited_before"] == {"audits": 1, "dropped": 8, "moved": 3}
    assert second.verdict.verdict == "INCONCLUSIVE"
    assert "audited_before_too_often" in {reason.code for reason in second.verdict.reasons}
    verify(tmp_path / "second" / "certificate.json", store=store)
    again = audit(plan, out=tmp_path / "again", store=store, reports=()).certificate
    assert again.identity.earlier_audits == (), "the first stays the first"


def _audited(plan, store, out, start, answers):
    """One audit of two, in a process of its own."""
    torch.set_num_threads(1)
    start.wait()
    try:
        done = audit(plan, out=out, store=store, reports=()).certificate
    except AuditorError as error:
        answers.put((plan.policy.name, str(error)))
    else:
        answers.put((plan.policy.name, done.identity.earlier_policies))


def test_two_audits_at_once_under_two_policies_both_stand(passing_plan, tmp_path):
    """Two processes of the whole audit, let go at one moment on a store without evidence."""
    strict = passing_plan(attacks=[], policy={"mandatory": ["none/as-is"], "name": "strict"})
    plans = {plan.policy.name: plan for plan in (strict, passing_plan(attacks=[], policy=OTHER))}
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(len(plans)), context.Queue()
    processes = [
        context.Process(
            target=_audited, args=(plan, tmp_path / "store", tmp_path / name, start, answers)
        )
        for name, plan in plans.items()
    ]
    for process in processes:
        process.start()
    said = dict(answers.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    through = [name for name, others in said.items() if isinstance(others, tuple)]
    assert through, "somebody came through"
    for name in set(plans) - set(through):
        assert "A policy may not change" in said[name], "who comes later is told, or named"
        said[name] = audit(plans[name], out=tmp_path / name, store=tmp_path / "store", reports=())
        said[name] = said[name].certificate.identity.earlier_policies
    digests = {name: plan.policy.digest for name, plan in plans.items()}
    named = [digests["lax"] in said["strict"], digests["strict"] in said["lax"]]
    assert any(named), "of two certificates, the later names the other's policy"
    for name in plans:
        verify(tmp_path / name / "certificate.json", store=tmp_path / "store")
