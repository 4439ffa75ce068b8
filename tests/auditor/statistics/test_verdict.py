import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import auditor.statistics
from auditor.core.attack_id import AttackId
from auditor.core.messages import message
from auditor.core.roles import Role, Status
from auditor.statistics import (
    FORMER,
    Arms,
    AttackEvidence,
    Flag,
    KnownSet,
    KnownSets,
    Margins,
    Reading,
    Utility,
    Verdict,
    decide,
)

quick = settings(max_examples=40, deadline=None, derandomize=True)
N = 128
KEPT = Utility(np.full(200, 0.9), np.full(200, 0.9))
BROKE = message("error", quoted=("error",), type="RuntimeError", error="out of memory")
FAILED = AttackEvidence(
    AttackId("relearning", ""), Role.MANDATORY, status=Status.FAILED, reason=BROKE
)


def arms(unlearned=0.1, original=0.9, retrained=0.1, n=N):
    """Constant arms; `retrained` may be a list of seeds."""
    seeds = [np.broadcast_to(row, n) for row in np.atleast_1d(retrained)]
    return Arms(
        np.array(np.broadcast_to(unlearned, n), dtype=float),
        np.array(np.broadcast_to(original, n), dtype=float),
        np.array(seeds, dtype=float),
        tuple(str(i // 4) for i in range(n)),
    )


def as_is(held=None, **kwargs):
    attack = AttackId("none", "")
    return AttackEvidence(
        attack, Role.MANDATORY, readings=(Reading(arms=held or arms(**kwargs)),), baseline=True
    )


def attack(name="quantization/bnb", role=Role.MANDATORY, **kwargs):
    return AttackEvidence(AttackId(name, "nf4"), role, readings=(Reading(arms=arms(**kwargs)),))


def codes(decision):
    """Codes of the reasons; of an advisory one with the code of what it is about."""
    return [
        f"advisory {said.nested('about').code}" if said.code == "advisory" else said.code
        for said in decision.reasons
    ]


def reason(decision, code):
    return next(said for said in decision.reasons if said.code == code)


@st.composite
def any_arms(draw, unlearned=None):
    """Arms drawn freely or near an easy audit, repeated so that verdicts are reached."""
    n = draw(st.integers(1, 6))
    arm = arrays(np.float64, n, elements=st.floats(0, 1))
    times = draw(st.sampled_from([1, 10, 40]))
    retrained, original = draw(arm), draw(arm)
    if draw(st.booleans()):
        retrained, original = 0.1 * retrained, 1 - 0.1 * original
    free = draw(arm) if draw(st.booleans()) else np.clip(retrained + 0.02 * draw(arm), 0, 1)
    chosen = {None: free, "retrained": retrained, "original": original}[unlearned]
    return Arms(np.tile(chosen, times), np.tile(original, times), np.tile(retrained, times)[None])


@st.composite
def plans(draw, unlearned=None):
    kind = any_arms(unlearned)
    as_it_is = AttackId("none", "")
    entries = [
        AttackEvidence(
            as_it_is, Role.MANDATORY, readings=(Reading(arms=draw(kind)),), baseline=True
        )
    ]
    for index in range(draw(st.integers(0, 3))):
        role = draw(st.sampled_from([Role.MANDATORY, Role.ADVISORY, Role.WAIVED]))
        entries.append(
            AttackEvidence(
                AttackId(f"attack-{index}", ""), role, readings=(Reading(arms=draw(kind)),)
            )
        )
    return entries


def test_statistics_import_nothing_else_of_the_auditor_than_its_core():
    allowed = ("numpy", "scipy", "auditor.statistics", "auditor.core")
    standard = {"argparse", "collections", "dataclasses", "enum", "itertools", "math", "typing"}
    for module in Path(auditor.statistics.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.startswith(allowed) or name.split(".")[0] in standard, (module, name)


@quick
@given(plans(), any_arms())
def test_what_is_only_reported_decides_nothing(entries, shown):
    beside = AttackEvidence(AttackId("latent", ""), Role.REPORTED, readings=(Reading(arms=shown),))
    alone, together = decide(entries, KEPT), decide([*entries, beside], KEPT)
    for field in ("verdict", "flags", "reasons", "residual", "log_e_fail", "facts_needed"):
        assert getattr(alone, field) == getattr(together, field)
    assert together.attacks[:-1] == alone.attacks
    assert together.attacks[-1].figures is not None


def test_what_is_only_reported_is_named_at_alpha():
    found = attack("probing/linear-probe", Role.REPORTED, unlearned=0.9)
    decision = decide([as_is(), attack(), found], KEPT)
    assert decision.verdict is Verdict.PASS
    assert decision.attacks[-1].named
    with pytest.raises(ValueError, match="cannot be reported only"):
        replace(as_is(), role=Role.REPORTED)


def test_a_model_like_the_retrained_one_passes():
    decision = decide([as_is(), attack()], KEPT)
    assert decision.verdict is Verdict.PASS
    assert decision.flags == ()
    assert decision.residual.lower is None
    assert decision.residual.upper < 0.1
    assert decision.residual.complete
    assert decision.baseline_claim == message(
        "relative_to_supplied_baselines", retrained=1, needed=3
    )
    assert codes(decision) == ["passed"]


def test_one_attack_that_brings_everything_back_fails_and_is_named():
    decision = decide([as_is(), attack(unlearned=0.9), attack("relearning")], KEPT)
    assert decision.verdict is Verdict.FAIL
    assert [a.named for a in decision.attacks] == [False, True, False]
    first = decision.reasons[0]
    assert first.code == "residual_above_margin"
    assert first.params["attack"] == "quantization/bnb nf4"
    assert first.params["rho"] == pytest.approx(1.0)
    assert decision.residual.lower > 0.9
    assert decision.residual.upper is None


def test_an_advisory_attack_can_fail_a_model():
    decision = decide([as_is(), attack(role=Role.ADVISORY, unlearned=0.9)], KEPT)
    assert decision.verdict is Verdict.FAIL


def test_an_original_that_knows_nothing_is_not_auditable():
    decision = decide([as_is(original=0.2), attack(unlearned=0.9)], KEPT)
    assert decision.verdict is Verdict.NOT_AUDITABLE
    assert reason(decision, "original_not_shown_to_know").params["minimum_gap"] == 0.2


def test_too_few_facts_are_inconclusive_and_the_number_needed_is_said():
    decision = decide([as_is(n=20)], KEPT)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert 36 < decision.facts_needed.needed < 80
    needed = reason(decision, "facts_needed")
    assert (needed.params["unit"], needed.params["available"]) == ("facts", 20)
    assert needed.params["needed"] == decision.facts_needed.needed
    enough = decide([as_is(n=decision.facts_needed.needed + 5)], KEPT)
    assert enough.verdict is Verdict.PASS


def test_an_estimate_above_the_margin_leans_to_a_fail_and_no_facts_are_named_for_a_pass():
    decision = decide([as_is(unlearned=0.19)], KEPT)
    assert decision.verdict is Verdict.INCONCLUSIVE
    first, second = decision.reasons[:2]
    assert (first.code, first.params["basis"]) == ("leans_to_fail", "estimate")
    assert first.params["rho"] == pytest.approx(0.1125)
    assert decision.facts_needed is None
    assert second.code == "facts_needed_to_fail"
    assert decision.facts_to_fail.needed > 200
    assert not {"facts_needed", "more_facts_would_not_pass"} & set(codes(decision))


def test_an_attack_that_shows_a_residual_alone_is_what_an_inconclusive_leans_on():
    """20 facts, relearning brings back 44 %: above delta at alpha, but not at its share."""
    copies = [attack("quantization/bnb", n=20), attack("quantization/rtn", n=20)]
    decision = decide([as_is(n=20), *copies, attack("relearning", n=20, unlearned=0.45)], KEPT)
    assert decision.verdict is Verdict.INCONCLUSIVE
    first, second = decision.reasons[:2]
    assert (first.code, first.params["attack"]) == ("leans_to_fail", "relearning nf4")
    assert first.params["basis"] == "evidence"
    assert first.params["rho_lower"] > 0.1
    assert decision.facts_needed is None
    enough = second.params["needed"]
    assert 20 < enough < 40
    more = [as_is(n=enough), attack(n=enough), attack("relearning", n=enough, unlearned=0.45)]
    assert decide(more, KEPT).verdict is Verdict.FAIL


def test_where_something_else_than_facts_is_missing_none_are_advised():
    decision = decide([as_is(n=20), FAILED], KEPT)
    assert decision.reasons[0] == message("leans_to_neither", obstacles=1)
    assert (decision.facts_needed, decision.facts_to_fail) == (None, None)
    no_retain = decide([as_is(n=20)], None)
    assert no_retain.reasons[0] == message("leans_to_neither", obstacles=1)


def test_what_blocks_many_attacks_is_said_once_the_most_telling_first():
    plan = [as_is(n=20)]
    plan += [attack(f"quantization/q{i}", n=20, unlearned=0.1 + 0.01 * i) for i in range(5)]
    decision = decide(plan, KEPT)
    said = [m for m in decision.reasons if m.code == "likewise"]
    assert codes(decision) == ["leans_to_pass", "facts_needed", "likewise", "likewise"]
    first = said[1].nested("about")
    assert (first.code, first.params["attack"]) == (
        "residual_not_below_margin",
        "quantization/q4 nf4",
    )
    assert len(said[1].params["others"]) == 5
    assert said[0].nested("about").code == "leaks_not_countable"


@pytest.mark.parametrize("status", [Status.FAILED, Status.UNAVAILABLE])
def test_a_mandatory_attack_that_did_not_run_blocks_a_pass_and_an_advisory_one_does_not(status):
    lost = replace(FAILED, status=status)
    blocked = decide([as_is(), lost], KEPT)
    assert blocked.verdict is Verdict.INCONCLUSIVE
    said = reason(blocked, "not_measured")
    assert said.nested("reason") == BROKE
    assert said.params["status"] == status
    assert not blocked.residual.complete
    free = decide([as_is(), replace(lost, role=Role.ADVISORY)], KEPT)
    assert free.verdict is Verdict.PASS
    assert "advisory not_measured" in codes(free)


def test_a_mandatory_attack_that_destroys_the_original_blocks_a_pass():
    decision = decide([as_is(), attack(original=0.3, unlearned=0.1)], KEPT)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert next(g.name for g in decision.attacks[1].gates if not g.met) == "sensitivity"


def test_half_of_the_no_attack_gap_is_asked_of_a_pass_but_not_of_a_fail():
    """Its gap of 0.35 tells O from R; half of 0.8 is 0.4."""
    assert decide([as_is(), attack(original=0.45, n=600)], KEPT).verdict is Verdict.INCONCLUSIVE
    decision = decide([as_is(), attack(original=0.45, unlearned=0.45, n=600)], KEPT)
    assert decision.verdict is Verdict.FAIL
    assert decision.attacks[1].named


def test_an_advisory_attack_that_destroys_the_original_is_said_and_does_not_block():
    decision = decide([as_is(), attack(role=Role.ADVISORY, original=0.15)], KEPT)
    assert decision.verdict is Verdict.PASS
    assert "left_out_of_fail" in codes(decision)


def test_an_attack_that_harms_the_original_below_the_retrained_is_no_evidence_of_knowledge():
    """g = -0.5 and U = R: delta * g - D is far below 0, and still nothing leaked."""
    decision = decide(
        [as_is(), attack(role=Role.ADVISORY, original=0.0, retrained=0.5, unlearned=0.5, n=2000)],
        KEPT,
    )
    destroyed = decision.attacks[1]
    assert destroyed.figures.log_e_fail > 50
    assert (destroyed.counts, destroyed.named, destroyed.over_forgotten) == (False, False, False)
    assert destroyed.figures.rho is None
    assert destroyed.figures.rho_upper is None
    assert decision.verdict is Verdict.PASS


def test_an_attack_left_out_still_counts_in_the_number_of_attacks():
    """The mean is over all that were measured, with 0 for the destroyed one."""
    kept = attack(unlearned=0.35, n=40)
    alone = decide([as_is(), kept], KEPT)
    beside = decide([as_is(), kept, attack("noise", Role.ADVISORY, original=0.1)], KEPT)
    assert beside.log_e_fail == pytest.approx(alone.log_e_fail + np.log(2 / 3))


def hidden(leaking, retrained=0.3):
    """Facts that leak whole, the others suppressed until the mean is below that of R."""
    rest = retrained - 0.8 * leaking / (N - leaking)
    return as_is(arms(np.where(np.arange(N) < leaking, 0.9, rest), 0.9, retrained))


def test_sparse_leaks_that_averages_hide_block_a_pass():
    """15 of 128 facts leak, and 12 may."""
    decision = decide([hidden(15)], KEPT)
    gates = {g.name: g.met for g in decision.attacks[0].gates}
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert (gates["residual"], gates["leak_rate"]) == (True, False)
    assert decision.reasons[0].params["basis"] == "leaks"
    assert decision.reasons[1].params["leaks"] == 19  # 2 ** -7 is below 0.2 alpha
    assert reason(decision, "leaks_above_limit").params["allowed"] == 12


def test_and_more_of_them_than_chance_explains_are_a_fail():
    decision = decide([hidden(19)], KEPT)
    assert decision.verdict is Verdict.FAIL
    assert codes(decision) == ["leaks_shown_above_limit", "facts_leak"]
    assert decision.reasons[0].params["leaked"] == 19
    bounded = decide([hidden(19)], KEPT, rules=FORMER)
    assert bounded.verdict is Verdict.INCONCLUSIVE
    assert "leak_rate_not_within_limit" in codes(bounded)


def test_a_pass_names_every_fact_that_leaks():
    unlearned = np.where(np.isin(np.arange(N), (7, 40, 99)), 0.9, 0.1)
    names = [f"for{i:03}" for i in range(N)]
    decision = decide([as_is(unlearned=unlearned)], KEPT, facts=names)
    assert decision.verdict is Verdict.PASS
    said = decision.reasons[1]
    assert said == message(
        "facts_leak",
        quoted=("ids",),
        leaked=3,
        facts=N,
        ids=["for007", "for040", "for099"],
        attacks=["none"],
        baseline=None,
    )
    none_may = decide([as_is(unlearned=unlearned)], KEPT, Margins(leaked_facts=0), facts=names)
    assert none_may.verdict is Verdict.INCONCLUSIVE
    assert none_may.reasons[2].params["ids"] == ["for007", "for040", "for099"]


def test_families_weigh_alike_however_many_variants_one_has():
    found = attack("relearning", unlearned=0.25, n=60)
    copies = [attack("quantization/bnb", n=60, unlearned=0.1) for _ in range(1)]
    copies += [attack(f"quantization/q{i}", n=60) for i in range(5)]
    plan = [as_is(n=60), *copies, found]
    shares = {a.label: a.parts for a in decide(plan, KEPT).attacks}
    assert (shares["none"], shares["relearning nf4"], shares["quantization/q0 nf4"]) == (3, 3, 18)
    former = decide(plan, KEPT, rules=FORMER)
    assert {a.parts for a in former.attacks} == {8}


def test_a_retrained_model_in_disguise_blocks_a_pass():
    rng = np.random.default_rng(0)
    sets = []
    for level in (0.1, 0.9, 0.2):
        known = level + 0.05 * rng.standard_normal((3, N))
        known[2] = known[0] + 0.001
        sets.append(KnownSet(known.clip(0, 1), tuple(map(str, range(N)))))
    known = KnownSets(*sets)
    decision = decide([as_is()], KEPT, known=known)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert reason(decision, "retrained_is_a_copy").params["of"] == "unlearned"
    assert decision.baselines[0].blocks
    assert decide([as_is()], KEPT, known=known, rules=FORMER).verdict is Verdict.PASS


def test_utility_is_needed_for_a_pass():
    missing = decide([as_is()], None)
    assert missing.verdict is Verdict.INCONCLUSIVE
    assert "retain_set_not_measured" in codes(missing)
    lost = decide([as_is()], Utility(np.full(200, 0.3), np.full(200, 0.9)))
    assert lost.verdict is Verdict.INCONCLUSIVE
    assert lost.flags == (Flag.UTILITY_LOST,)
    assert reason(lost, "utility_lost").params["mean_unlearned"] == pytest.approx(0.3)


def test_utility_does_not_shield_from_a_fail():
    assert decide([as_is(unlearned=0.9)], None).verdict is Verdict.FAIL


def test_a_model_that_knows_less_than_the_retrained_one_is_flagged():
    decision = decide([as_is(retrained=0.3, unlearned=0.05, n=200)], KEPT)
    assert decision.verdict is Verdict.PASS
    assert decision.flags == (Flag.OVER_FORGOTTEN,)
    assert "over_forgotten" in codes(decision)


def test_without_the_model_as_it_is_nothing_is_concluded():
    lost = replace(FAILED, id=AttackId("none", ""), baseline=True)
    decision = decide([lost, attack(unlearned=0.9)], KEPT)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "model_as_it_is_not_measured" in codes(decision)
    assert "residual_above_margin" in codes(decision)
    alone = decide([lost], KEPT)
    assert (alone.verdict, alone.seeds, alone.log_e_fail) == (Verdict.INCONCLUSIVE, None, None)


def test_a_policy_without_mandatory_attacks_passes_nothing():
    decision = decide([replace(as_is(), role=Role.ADVISORY)], KEPT)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "no_mandatory_attack" in codes(decision)


def test_baselines_that_would_not_pass_against_each_other_block_a_pass_but_not_a_fail():
    noisy = decide([as_is(retrained=[0.1, 0.3], unlearned=0.1)], KEPT)
    assert noisy.verdict is Verdict.INCONCLUSIVE
    assert reason(noisy, "baseline_too_noisy").params["attack"] == "none"
    assert decide([as_is(retrained=[0.1, 0.3], unlearned=0.9)], KEPT).verdict is Verdict.FAIL


def test_three_seeds_shrink_the_margin_and_say_so():
    decision = decide([as_is(retrained=[0.1, 0.105, 0.095], n=200)], KEPT)
    figures = decision.attacks[0].figures
    assert decision.verdict is Verdict.PASS
    assert figures.spread.delta < 0.1
    assert figures.rho_upper > figures.spread.shrinkage
    assert decision.baseline_claim == message("relative_to_retraining", retrained=3)
    wide = decide([as_is(retrained=[0.05, 0.1, 0.15], n=200)], KEPT)
    assert wide.verdict is Verdict.INCONCLUSIVE
    assert "no_margin_left" in codes(wide)


def test_sampled_scope_counts_entities():
    decision = decide([as_is()], KEPT, scope="sampled")
    assert decision.attacks[0].figures.units == N // 4
    assert decision.verdict is Verdict.INCONCLUSIVE
    more = reason(decision, "facts_needed")
    assert (more.params["unit"], more.params["available"]) == ("entities", 32)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ([attack()], "exactly one"),
        ([as_is(), replace(as_is(), id=AttackId("other", ""))], "exactly one"),
        ([as_is(), attack(), attack()], "listed twice"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(plan, said):
    with pytest.raises(ValueError, match=said):
        decide(plan, KEPT)


def test_status_and_evidence_must_agree():
    with pytest.raises(ValueError, match="belong to status"):
        AttackEvidence(AttackId("none", ""), Role.MANDATORY)
    with pytest.raises(ValueError, match="a reason belongs"):
        replace(FAILED, reason=None)


@quick
@given(plans(unlearned="retrained"))
def test_the_retrained_model_itself_never_fails(plan):
    decision = decide(plan, KEPT)
    assert decision.verdict is not Verdict.FAIL
    assert set(decision.flags) <= {Flag.WAIVED}


@quick
@given(plans(unlearned="original"))
def test_the_original_model_itself_never_passes(plan):
    assert decide(plan, KEPT).verdict is not Verdict.PASS


@quick
@given(plans(), st.sampled_from([Status.FAILED, Status.UNAVAILABLE]))
def test_no_verdict_becomes_a_pass_by_an_attack_that_did_not_run(plan, status):
    before = decide(plan, KEPT).verdict
    after = decide([*plan, replace(FAILED, status=status)], KEPT).verdict
    assert after in {before, Verdict.INCONCLUSIVE} - {Verdict.PASS}


@quick
@given(plans())
def test_an_attack_never_both_passes_and_is_named(plan):
    decision = decide(plan, KEPT)
    for result in decision.attacks:
        assert not (result.passed and result.named)
        assert not (result.named and result.over_forgotten)
    if decision.verdict is Verdict.PASS:
        assert decision.residual.upper <= Margins().delta + 1e-5
        assert decision.log_e_fail < decision.fail_threshold


@quick
@given(plans(), st.randoms(use_true_random=False))
def test_the_order_of_attacks_does_not_matter(plan, random):
    shuffled = list(plan)
    random.shuffle(shuffled)
    one, other = decide(plan, KEPT), decide(shuffled, KEPT)
    assert (one.verdict, one.flags, set(one.reasons)) == (
        other.verdict,
        other.flags,
        set(other.reasons),
    )


@quick
@given(plans(), st.floats(0, 1))
def test_a_model_that_knows_more_never_goes_from_anything_to_a_pass(plan, share):
    def raised(entry):
        held = entry.arms
        more = held.unlearned + share * (1 - held.unlearned)
        return replace(entry, readings=(Reading(arms=Arms(more, held.original, held.retrained)),))

    if decide([raised(entry) for entry in plan], KEPT).verdict is Verdict.PASS:
        assert decide(plan, KEPT).verdict is Verdict.PASS


def read_by_two(first, second, name="none", **changes):
    """An attack on which two metrics decide."""
    readings = (Reading("worded", first), Reading("said", second))
    return AttackEvidence(AttackId(name, ""), Role.MANDATORY, readings=readings, **changes)


def test_an_attack_fails_by_the_mean_e_value_of_its_metrics():
    clean, shouting = arms(), arms(unlearned=0.9)
    decision = decide([read_by_two(clean, shouting, baseline=True)], KEPT)
    [attack_] = decision.attacks
    alone = decide([as_is(shouting)], KEPT).attacks[0].log_e_fail
    below = decide([as_is(clean)], KEPT).attacks[0].log_e_fail
    assert attack_.log_e_fail == pytest.approx(np.logaddexp(alone, below) - np.log(2))
    assert decision.verdict is Verdict.FAIL
    assert attack_.named
    found = reason(decision, "residual_above_margin")
    assert (found.params["metric"], found.params["rho"]) == ("said", pytest.approx(1))
    assert decision.residual.lower > 0.5


def test_a_pass_needs_the_gates_of_every_metric():
    clean, weak = arms(), arms(original=0.3)
    passed = decide([read_by_two(clean, clean, baseline=True)], KEPT)
    assert passed.verdict is Verdict.PASS
    blocked = decide([read_by_two(clean, weak, baseline=True)], KEPT)
    assert blocked.verdict is Verdict.INCONCLUSIVE
    gates = {r.metric: [g.name for g in r.gates if not g.met] for r in blocked.attacks[0].readings}
    assert gates == {"worded": [], "said": ["sensitivity", "residual", "leak_rate"]}
    assert reason(blocked, "gap_too_small").params["metric"] == "said"


def test_the_gap_of_an_attack_is_compared_with_the_same_metric_without_attack():
    wide, narrow = arms(), arms(original=0.5)
    plan = [read_by_two(wide, narrow, baseline=True), read_by_two(wide, narrow, "attack")]
    required = [r.figures.gap_required for r in decide(plan, KEPT).attacks[1].readings]
    assert required == pytest.approx([0.4, 0.2])


@quick
@given(any_arms(unlearned="retrained"), any_arms(unlearned="retrained"))
def test_a_second_metric_never_fails_the_retrained_model(one, other):
    entry = read_by_two(one, other, baseline=True)
    assert decide([entry], KEPT).verdict is not Verdict.FAIL


def beside(entry, *reported):
    """The attack with what metrics read that are only reported."""
    read = tuple(Reading(f"m{index}", held) for index, held in enumerate(reported))
    return replace(entry, reported=read)


def agreement(decision):
    [gate] = [g for g in decision.attacks[0].gates if g.name == "metrics_agree"]
    return gate


def test_a_reported_metric_that_shows_a_residual_blocks_a_pass():
    clean, telling = arms(), arms(unlearned=0.5)
    decision = decide([beside(as_is(), clean, telling)], KEPT)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert agreement(decision).message.params["found"] == [
        {"metric": "m1", "rho": pytest.approx(0.5)}
    ]
    assert codes(decision)[1] == "reported_metric_contradicts"
    assert decide([beside(as_is(), clean, clean)], KEPT).verdict is Verdict.PASS
    assert not [g for g in decide([as_is()], KEPT).attacks[0].gates if g.name == "metrics_agree"]


def test_a_reported_metric_that_tells_nobody_apart_contradicts_nothing():
    blind = arms(unlearned=0.25, original=0.25)
    decision = decide([beside(as_is(), blind)], KEPT)
    assert decision.verdict is Verdict.PASS
    assert agreement(decision).met


def test_where_the_deciding_metrics_show_it_themselves_nothing_is_contradicted():
    telling = arms(unlearned=0.5)
    decision = decide([beside(as_is(telling), telling)], KEPT)
    assert decision.verdict is Verdict.FAIL
    assert agreement(decision).met


def test_reported_metrics_seldom_contradict_a_model_whose_residual_is_the_margin():
    """Four metrics, each at residual exactly delta; one in twenty audits may be blocked."""
    rng = np.random.default_rng(11)
    blocked = 0
    for _ in range(200):
        read = []
        for _ in range(4):
            kept = rng.random(N) < 0.1
            read.append(arms(unlearned=np.where(kept, 0.9, 0.1)))
        blocked += not agreement(decide([beside(as_is(), *read)], KEPT)).met
    assert blocked <= 200 * 0.05
