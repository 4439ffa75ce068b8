"""Searched prompts: the relaxations, what may be found, the search, and the testbed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file
from scipy.optimize import minimize
from shapes_subjects import open_shapes, shapes_examiner
from tiny_image_evaluator import image_evaluator
from tiny_pipelines import FLOWS, LAYOUTS, open_pipeline

from attacks.prompting.concepts.adversarial_prefix import AdversarialPrefix
from attacks.prompting.concepts.adversarial_prefix_parameters import AdversarialPrefixParameters
from attacks.prompting.concepts.found_prefixes import prefixes_for
from attacks.prompting.concepts.noise_objective import NoiseObjective
from attacks.prompting.concepts.prefix_search import random_knowledge, search_prefixes
from attacks.prompting.concepts.searchable_words import searchable_words
from attacks.prompting.concepts.slot_encoding import SlotEncoder
from attacks.prompting.concepts.token_relaxation import NearestTokens, SimplexTokens, on_simplex
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError, UnavailableError
from auditor.core.findings import Finding
from auditor.models.opening import locate
from auditor.models.preserve import weights_digest
from auditor.models.text_to_image.image_seed import image_seed
from auditor.models.text_to_image.spec import TextToImageSpec

SMALL = {
    "prefix_length": 2,
    "rounds": 2,
    "iterations": 2,
    "facts_at_once": 2,
    "success_threshold": 0.99,
}
OBJECTIVES = ("unlearndiffatk", "p4d")


def attack(objective, pipelines, **more):
    original = str(pipelines / "original") if objective == "p4d" else None
    return AdversarialPrefix(
        AdversarialPrefixParameters(**SMALL | {"objective": objective, "original": original} | more)
    )


class TestSimplex:
    @given(arrays(np.float32, (3, 7), elements=st.floats(-5, 5, width=32)))
    def test_projections_are_distributions(self, rows):
        found = on_simplex(torch.from_numpy(rows))
        assert (found >= 0).all()
        torch.testing.assert_close(found.sum(-1), torch.ones(3))

    @settings(max_examples=20)
    @given(arrays(np.float64, 4, elements=st.floats(-2, 2)))
    def test_they_are_the_nearest_ones(self, row):
        found = on_simplex(torch.from_numpy(row)).numpy()
        best = minimize(
            lambda x: ((x - row) ** 2).sum(),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
        )
        assert ((found - row) ** 2).sum() <= best.fun + 1e-6

    def test_a_distribution_stays(self):
        row = torch.tensor([[0.2, 0.0, 0.8]])
        torch.testing.assert_close(on_simplex(row), row)

    def test_words_are_drawn_as_often_as_they_are_probable(self):
        relaxation = SimplexTokens(torch.eye(4), (1, 20000), 0.1, 0.0)
        drawn = relaxation.drawn(torch.rand(1, 20000, generator=torch.Generator().manual_seed(0)))
        shares = torch.bincount(drawn.flatten(), minlength=4) / 20000
        torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.02, rtol=0)


class TestRelaxations:
    @pytest.mark.parametrize("name", ["simplex", "nearest"])
    def test_the_words_nearest_to_a_target_are_found(self, name):
        """The loss is the squared distance to a known word's embedding, one for each place."""
        draws = torch.Generator().manual_seed(0)
        table = torch.randn(30, 8, generator=draws)
        target = torch.randint(30, (4, 3), generator=draws)
        if name == "simplex":
            relaxation = SimplexTokens(table, (4, 3), 0.05, 0.0)
        else:
            first = torch.randint(30, (4, 3), generator=draws)
            relaxation = NearestTokens(table, (4, 3), 0.1, 0.0, first)
        for _ in range(200):
            drawn = relaxation.drawn(torch.rand(4, 3, generator=draws))
            relaxation.update(2 * (table[drawn] - table[target]))
        assert (relaxation.best() == target).float().mean() > 0.9


class TestWords:
    def test_names_and_what_holds_them_are_banned(self, pipelines):
        subject = open_pipeline(pipelines / "sd1")
        every = searchable_words(subject, [], 2)
        assert len(searchable_words(subject, ["a"], 2)) == len(every) - 1
        assert "a" not in searchable_words(subject, ["a"], 2).texts

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_words_are_read_back_as_the_tokens_that_were_searched(self, pipelines, layout):
        subject = open_pipeline(pipelines / layout)
        words = searchable_words(subject, ["orb"], 2)
        chosen = torch.tensor([3, 0, 5])
        read = [
            tokenizer(words.text(chosen), add_special_tokens=False)["input_ids"]
            for tokenizer in subject.parts.tokenizers
        ]
        assert read[0] == words.ids[chosen].tolist()
        assert {len(ids) for ids in read} == {3}
        own = SlotEncoder(subject).embeddings([torch.tensor(ids) for ids in read])
        torch.testing.assert_close(own, words.table[chosen])

    def test_too_many_tokens_for_the_prompt_are_refused(self, pipelines):
        with pytest.raises(UnavailableError, match="a prompt holds 10 tokens"):
            searchable_words(open_pipeline(pipelines / "sd1"), [], 11)

    def test_random_words_are_drawn_until_they_succeed(self, pipelines):
        words = searchable_words(open_pipeline(pipelines / "sd1"), [], 2)
        wanted = AdversarialPrefixParameters(
            prefix_length=2, rounds=3, iterations=1, success_threshold=0.5
        )
        asked = []

        def judge(numbers, prefixes):
            asked.append((tuple(numbers), tuple(prefixes)))
            return torch.tensor([0.9 if i == 2 else 0.1 for i in numbers])

        def draws():
            return [torch.Generator().manual_seed(i) for i in range(3)]

        best = random_knowledge(words, torch.tensor([0.8, 0.2, 0.0]), draws(), wanted, judge)
        assert best.tolist() == pytest.approx([0.8, 0.2, 0.9])
        assert [numbers for numbers, _ in asked] == [(1, 2), (1,), (1,)]
        first = [prefixes[0] for _, prefixes in asked]
        random_knowledge(words, torch.zeros(3), draws(), wanted, judge)
        assert [prefixes[1] for _, prefixes in asked[3:]] == first  # whatever is drawn beside it


class TestObjective:
    def test_p4d_wants_what_the_original_predicts_under_the_plain_prompt(
        self, pipelines, evaluator
    ):
        subject, original = (open_pipeline(pipelines / name) for name in ("sd1", "original"))
        facts = evaluator.sets.forget
        prompts = [fact.prompt for fact in facts]
        objective = NoiseObjective(subject, original, copies=2, rounds=4)
        clean = objective.clean(evaluator, facts, 2)
        drawn = original.generate(prompts, [image_seed(fact.id) for fact in facts])
        torch.testing.assert_close(clean, subject.latents(drawn), rtol=1e-4, atol=1e-4)
        draws = [torch.Generator().manual_seed(i) for i in range(len(facts))]
        trial = objective.trial(0, prompts, clean, draws)
        hidden = original.encode(prompts).repeat_interleave(2, 0)
        with torch.no_grad():
            wanted = original.predict(trial.noisy, trial.timesteps, hidden)
        torch.testing.assert_close(trial.wanted, wanted)

    def test_the_loss_falls_along_the_slope(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "sd1")
        facts = evaluator.sets.forget
        objective = NoiseObjective(subject, None, copies=1, rounds=4)
        clean = objective.clean(evaluator, facts, 3)
        draws = [torch.Generator().manual_seed(i) for i in range(len(facts))]
        trial = objective.trial(2, [fact.prompt for fact in facts], clean, draws)
        assert trial.timesteps.tolist() == [625] * 3
        given = torch.randn(len(facts), 2, 16, generator=draws[0])
        slope, before = objective.slope(trial, given)
        _, after = objective.slope(trial, given - 0.01 * slope / slope.norm())
        assert after.sum() < before.sum()


class TestAttack:
    @pytest.mark.parametrize("objective", OBJECTIVES)
    @pytest.mark.parametrize("layout", ["sd1", "sdxl", *FLOWS])
    def test_it_runs_through_and_leaves_the_subject_as_it_was(
        self, pipelines, layout, objective, evaluator
    ):
        subject = open_pipeline(pipelines / layout)
        before = weights_digest(subject.network)
        more = {"original": str(pipelines / layout)} if objective == "p4d" else {}
        found = (searched := attack(objective, pipelines, **more)).search(
            subject, AttackContext(evaluator, 3, Path("unused"))
        )
        assert found.arrays["tokens"].shape == (3, 2)
        assert found.notes["searched"] == 3
        record = searched.measure(
            subject,
            AttackContext(evaluator, 3, Path("unused"), [Finding(Arm.UNLEARNED, True, found)]),
        )
        assert {row.fact for row in record.rows} == {"orb/0", "orb/1", "box/0", "bar/0"}
        assert weights_digest(subject.network) == before

    @pytest.mark.parametrize("drawn", ["last", "lowest-loss"])
    @pytest.mark.parametrize("objective", OBJECTIVES)
    @pytest.mark.nightly
    def test_what_is_searched_together_changes_nothing(
        self, pipelines, objective, drawn, evaluator
    ):
        subject = open_pipeline(pipelines / "sd1")
        found = [
            attack(objective, pipelines, facts_at_once=n, drawn=drawn).search(
                subject, AttackContext(evaluator, 0, Path("unused"))
            )
            for n in (1, 3)
        ]
        assert np.array_equal(*(f.arrays["tokens"] for f in found))

    def test_what_is_found_is_measured(self, pipelines, evaluator):
        """K of a searched fact is at least the best that the search drew, and the plain K."""
        subject = open_pipeline(pipelines / "sd1")
        searched = attack("unlearndiffatk", pipelines)
        found = searched.search(subject, AttackContext(evaluator, 0, Path("unused")))
        record = searched.measure(
            subject,
            AttackContext(evaluator, 0, Path("unused"), [Finding(Arm.UNLEARNED, True, found)]),
        )
        k = {row.fact: row.k for row in record.rows}
        plain = {row.fact: row.k for row in evaluator.evaluate(subject)}
        for place, best in zip(found.arrays["places"], found.arrays["knowledge"], strict=True):
            fact = evaluator.sets.forget[place].id
            assert k[fact] == pytest.approx(max(best, plain[fact]), abs=1e-5)
        assert k["bar/0"] == plain["bar/0"]

    def test_facts_that_were_not_searched_for_borrow_words(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "sd1")
        searched = attack("unlearndiffatk", pipelines, facts=2)
        found = searched.search(subject, AttackContext(evaluator, 0, Path("unused")))
        assert len(found.arrays["places"]) == 2
        facts = evaluator.sets.forget
        prefixes = prefixes_for(facts, subject.tokenizer, found, 0.5)
        named = {facts[place].answer for place in found.arrays["places"]}
        assert set(prefixes) == {fact.id for fact in facts if fact.answer in named}

    def test_it_stops_on_success_and_skips_what_succeeds_plainly(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "sd1")
        notes = (
            attack("unlearndiffatk", pipelines, success_threshold=1e-6)
            .search(subject, AttackContext(evaluator, 0, Path("unused")))
            .notes
        )
        assert notes["drawings"] == 0
        assert notes["plain"] == notes["by_search"] == notes["by_random_words"] == 3
        notes = (
            attack("unlearndiffatk", pipelines, success_threshold=1.0)
            .search(subject, AttackContext(evaluator, 0, Path("unused")))
            .notes
        )
        assert notes["drawings"] == 3 * SMALL["rounds"]

    def test_the_original_decides_a_p4d_job(self, pipelines):
        digest = locate(TextToImageSpec(path=str(pipelines / "original"))).manifest.digest
        assert attack("p4d", pipelines).inputs() == {"original": digest}
        assert attack("unlearndiffatk", pipelines).inputs() == {}

    def test_a_pickled_original_opens_where_the_arm_may_be_pickled(
        self, pipelines, evaluator, tmp_path
    ):
        pickled = tmp_path / "pickled"
        shutil.copytree(pipelines / "original", pickled)
        weights = pickled / "unet" / "diffusion_pytorch_model.safetensors"
        torch.save(load_file(weights), weights.with_suffix(".bin"))
        weights.unlink()
        found = []
        for original in (pipelines / "original", pickled):
            searched = attack("p4d", pipelines, original=str(original))
            assert searched.inputs().keys() == {"original"}
            subject = open_pipeline(pipelines / "sd1", allow_pickle=True)
            found.append(
                searched.search(subject, AttackContext(evaluator, 0, Path("unused"))).notes
            )
        assert found[0] == found[1]
        with pytest.raises(AuditorError, match=r"only pickled weights.*allow_pickle"):
            searched.search(
                open_pipeline(pipelines / "sd1"), AttackContext(evaluator, 0, Path("unused"))
            )

    def test_p4d_without_an_original_says_what_to_give(self, pipelines):
        location = open_pipeline(pipelines / "sd1").location
        missing = attack("p4d", pipelines, original=None).unavailable(location)
        assert missing.code == "original_not_given"
        assert attack("p4d", pipelines).unavailable(location) is None

    def test_an_original_of_another_space_is_refused(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "pixel")
        with pytest.raises(UnavailableError, match="same architecture"):
            attack("p4d", pipelines).search(subject, AttackContext(evaluator, 0, Path("unused")))

    def test_without_pictures_only_p4d_runs(self, pipelines, tmp_path):
        subject = open_pipeline(pipelines / "sd1")
        evaluator = image_evaluator(tmp_path, pictures=False)
        with pytest.raises(UnavailableError, match=r"data\.images"):
            attack("unlearndiffatk", pipelines).search(
                subject, AttackContext(evaluator, 0, Path("unused"))
            )
        assert (
            attack("p4d", pipelines)
            .search(subject, AttackContext(evaluator, 0, Path("unused")))
            .notes["searched"]
            == 3
        )

    def test_side_figures_set_the_search_against_luck(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "sd1")
        searched = attack("unlearndiffatk", pipelines)
        found = searched.search(subject, AttackContext(evaluator, 0, Path("unused")))
        notes = searched.measure(
            subject,
            AttackContext(evaluator, 0, Path("unused"), [Finding(Arm.UNLEARNED, True, found)]),
        ).notes
        figures = {f.name: f for f in searched.side_figures({"unlearned": notes})}
        assert set(figures) == {
            "attack_success_rate",
            "success_of_plain_prompts",
            "success_of_own_search",
            "success_of_random_words",
        }
        figure = figures["success_of_own_search"]
        assert figure.value == found.notes["by_search"] / 3
        assert figure.lower <= figure.value <= figure.upper


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.nightly
def test_found_words_lower_the_loss_under_fresh_noise(shapes_world, objective):
    """Against random words, in noise that the search did not see."""
    evaluator = shapes_examiner(shapes_world, 4)
    subject = open_shapes(shapes_world, "uce")
    original = open_shapes(shapes_world, "original") if objective == "p4d" else None
    facts = evaluator.sets.forget
    prompts = [fact.prompt for fact in facts]
    words = searchable_words(subject, ["circle", "disc", "dot"], 3)
    search = NoiseObjective(subject, original, copies=4, rounds=1)
    clean = search.clean(evaluator, facts, 4)
    draws = [torch.Generator().manual_seed(i) for i in range(len(facts))]
    chance = torch.randint(len(words), (len(facts), 3), generator=draws[0])
    shape = chance.shape
    relaxation = (
        NearestTokens(words.table, shape, 0.1, 0.0, chance)
        if original
        else SimplexTokens(words.table, shape, 0.05, 0.0)
    )
    found = search_prefixes(
        search,
        relaxation,
        words,
        prompts,
        clean,
        draws,
        AdversarialPrefixParameters(
            prefix_length=3, rounds=1, iterations=40, success_threshold=1.0, drawn="lowest-loss"
        ),
        lambda numbers, prefixes: torch.ones(len(numbers)),
    )
    fresh = NoiseObjective(subject, original, copies=16, rounds=1)
    trial = fresh.trial(0, prompts, clean, draws)
    _, before = fresh.slope(trial, words.table[chance])
    _, after = fresh.slope(trial, words.table[found.tokens])
    assert after.mean() < before.mean()
