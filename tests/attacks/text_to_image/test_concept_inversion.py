"""Concept inversion: names and slots in prompts, the training, and what it finds on the testbed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from shapes_subjects import open_shapes, shapes_examiner
from tiny_image_evaluator import image_evaluator
from tiny_pipelines import LAYOUTS, open_pipeline

from attacks.prompting.concepts.concept_inversion import (
    ConceptInversion,
    ConceptInversionParameters,
)
from attacks.prompting.concepts.concept_names import concept_names, without_names
from attacks.prompting.concepts.slot_encoding import SlotEncoder
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import Finding
from auditor.models.preserve import weights_digest
from auditor.testbeds.shapes.attack_settings import SETTINGS


def fact(prompt, *paraphrases, answer="circle", subject="circle"):
    return Fact(id=prompt, entity=subject, prompt=prompt, answer=answer, paraphrases=paraphrases)


def small(**more):
    return ConceptInversion(
        ConceptInversionParameters(num_steps=4, batch_size=4, micro_batch_size=2, images=2, **more)
    )


class TestNames:
    def test_a_paraphrase_gives_a_synonym(self):
        names = concept_names([fact("a red circle near it", "a red disc near it")])
        assert names == {"circle": ("circle", "disc")}

    def test_a_synonym_leads_to_another_in_a_fact_without_the_concept(self):
        facts = [fact("a circle", "a round thing"), fact("one round thing here", "one disc here")]
        assert concept_names(facts)["circle"] == ("round thing", "circle", "disc")

    def test_other_differences_are_no_names(self):
        facts = [fact("a red circle", "one red circle", "a blue circle", "something else it is")]
        assert concept_names(facts)["circle"] == ("circle",)

    def test_articles_are_no_part_of_a_name(self):
        assert concept_names([fact("draw a circle", "draw an oval")])["circle"] == (
            "circle",
            "oval",
        )

    def test_concepts_have_their_own(self):
        facts = [fact("a circle", "a disc"), fact("a box", "a tile", answer="box", subject="box")]
        assert concept_names(facts) == {"circle": ("circle", "disc"), "box": ("tile", "box")}

    @pytest.mark.parametrize(
        ("prompt", "pieces"),
        [
            ("a red Circle, big", ("a red ", None, ", big")),
            ("circles and a disc", (None, " and a ", None)),
            ("a semicircle", (None, "a semicircle")),
            ("disc", (None,)),
        ],
    )
    def test_a_slot_stands_for_each_name(self, prompt, pieces):
        assert without_names(prompt, ("circle", "disc")) == pieces

    def test_a_name_with_signs_is_read_literally(self):
        assert without_names("an a.b (x) here", ("a.b (x)",)) == ("an ", None, " here")
        assert without_names("an axb", ("a.b",)) == (None, "an axb")


class TestSlots:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_a_slot_filled_with_a_words_own_embedding_is_that_word(self, pipelines, layout):
        subject = open_pipeline(pipelines / layout)
        encoder = SlotEncoder(subject)
        ids = [
            torch.tensor(tokenizer("dot", add_special_tokens=False)["input_ids"])
            for tokenizer in subject.parts.tokenizers
        ]
        prompts = [("a ", None, " red"), (None,), ("a red ", None, "and more than fits in")]
        filled = encoder.text(prompts, encoder.embeddings(ids)[None])
        plain = subject.text(["a dot red", "dot", "a red dot and more than fits in"])
        torch.testing.assert_close(filled.hidden, plain.hidden)
        assert (filled.pooled is None) == (plain.pooled is None)
        if plain.pooled is not None:
            torch.testing.assert_close(filled.pooled, plain.pooled)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_gradients_reach_the_slot_of_every_encoder_and_nothing_else(self, pipelines, layout):
        subject = open_pipeline(pipelines / layout)
        encoder = SlotEncoder(subject)
        given = torch.randn(1, 1, encoder.width, requires_grad=True)
        text = encoder.text([("a ", None)], given)
        whole = text.hidden.square().sum()
        if text.pooled is not None:
            whole = whole + text.pooled.square().sum()
        (found,) = torch.autograd.grad(whole, given)
        for part in torch.split(found, encoder._widths, dim=-1):
            assert part.abs().sum() > 0
        modules = [m for e in subject.parts.text_encoders for m in e.modules()]
        assert not any(m._forward_hooks for m in modules if isinstance(m, torch.nn.Embedding))

    def test_every_prompt_may_have_its_own(self, pipelines):
        encoder = SlotEncoder(open_pipeline(pipelines / "sd1"))
        given = torch.randn(2, 3, encoder.width)
        together = encoder.text([(None, "a"), ("a ", None)], given).hidden
        for i, prompt in enumerate([(None, "a"), ("a ", None)]):
            alone = encoder.text([prompt], given[i : i + 1]).hidden
            torch.testing.assert_close(alone[0], together[i])


class TestAttack:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_it_runs_through_and_leaves_the_subject_as_it_was(self, pipelines, layout, evaluator):
        subject = open_pipeline(pipelines / layout)
        before, words = weights_digest(subject.network), len(subject.tokenizer)
        attack = small(num_vectors=2)
        found = attack.search(subject, AttackContext(evaluator, 3, Path("unused")))
        assert found.arrays["vectors"].shape == (2, 2, SlotEncoder(subject).width)
        assert np.isfinite(found.arrays["vectors"]).all()
        assert found.notes["concepts"] == ["orb", "box"]
        record = attack.measure(
            subject,
            AttackContext(evaluator, 3, Path("unused"), [Finding(Arm.UNLEARNED, True, found)]),
        )
        assert [row.fact for row in record.rows] == ["orb/0", "orb/1", "box/0", "bar/0"]
        assert weights_digest(subject.network) == before
        assert len(subject.tokenizer) == words

    def test_the_search_is_reproducible_and_depends_on_the_seed(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "pixel")
        first, again, other = (
            small()
            .search(subject, AttackContext(evaluator, seed, Path("unused")))
            .arrays["vectors"]
            for seed in (1, 1, 2)
        )
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_memory_does_not_decide_the_result(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "sd1")
        parameters = ConceptInversionParameters(num_steps=2, batch_size=4, images=2)
        found = [
            ConceptInversion(parameters.model_copy(update={"micro_batch_size": n})).search(
                subject, AttackContext(evaluator, 0, Path("unused"))
            )
            for n in (1, 4)
        ]
        np.testing.assert_allclose(*(f.arrays["vectors"] for f in found), rtol=1e-2, atol=1e-3)

    def test_the_loss_goes_down(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "pixel")
        attack = ConceptInversion(
            ConceptInversionParameters(
                num_steps=60, batch_size=8, micro_batch_size=8, learning_rate=0.1
            )
        )
        notes = attack.search(subject, AttackContext(evaluator, 0, Path("unused"))).notes
        assert sum(notes["loss_last"]) < sum(notes["loss_first"])

    def test_facts_are_asked_with_the_strongest_word_of_any_arm(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "pixel")
        attack = small()
        pool = [
            Finding(
                arm,
                arm == "unlearned",
                attack.search(subject, AttackContext(evaluator, seed, Path("unused"))),
            )
            for arm, seed in (("unlearned", 0), ("original", 1))
        ]
        one, two = (
            {
                r.fact: r.k
                for r in attack.measure(
                    subject, AttackContext(evaluator, 0, Path("unused"), part)
                ).rows
            }
            for part in (pool[:1], pool)
        )
        assert all(two[name] >= k for name, k in one.items())
        assert any(two[name] > k for name, k in one.items())

    @pytest.mark.parametrize("layout", ["sd1", "sdxl"])
    def test_facts_are_asked_in_batches_that_fit(self, pipelines, layout, evaluator):
        attack, sizes = small(), []
        subject = open_pipeline(pipelines / layout)
        found = Finding(
            "unlearned", True, attack.search(subject, AttackContext(evaluator, 0, Path("unused")))
        )
        whole = attack.measure(subject, AttackContext(evaluator, 0, Path("unused"), [found]))

        def limited(module, args, kwargs):
            sizes.append(len(args[0]))
            if len(args[0]) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        handle = subject.text_encoder.register_forward_pre_hook(limited, with_kwargs=True)
        single = attack.measure(subject, AttackContext(evaluator, 0, Path("unused"), [found]))
        handle.remove()
        assert max(sizes) > 1
        assert [row.fact for row in single.rows] == [row.fact for row in whole.rows]
        for one, other in zip(single.rows, whole.rows, strict=True):
            assert one.k == pytest.approx(other.k, abs=1e-4)

    def test_words_of_another_width_are_left_out(self, pipelines, evaluator):
        subject, other = open_pipeline(pipelines / "sd1"), open_pipeline(pipelines / "sdxl")
        attack = small()
        own = Finding(
            "unlearned", True, attack.search(subject, AttackContext(evaluator, 0, Path("unused")))
        )
        wide = Finding(
            "original", False, attack.search(other, AttackContext(evaluator, 0, Path("unused")))
        )
        alone, both = (
            attack.measure(subject, AttackContext(evaluator, 0, Path("unused"), pool))
            for pool in ([own], [own, wide])
        )
        assert alone.rows == both.rows
        with pytest.raises(UnavailableError, match="as wide"):
            attack.measure(subject, AttackContext(evaluator, 0, Path("unused"), [wide]))

    def test_without_pictures_it_says_so(self, pipelines, tmp_path):
        subject = open_pipeline(pipelines / "pixel")
        with pytest.raises(UnavailableError, match=r"data\.images"):
            small().search(
                subject, AttackContext(image_evaluator(tmp_path, pictures=False), 0, Path("unused"))
            )

    def test_side_figures_name_every_arm(self, pipelines, evaluator):
        subject = open_pipeline(pipelines / "pixel")
        attack = small()
        pool = [
            Finding(
                "unlearned",
                True,
                attack.search(subject, AttackContext(evaluator, 0, Path("unused"))),
            )
        ]
        notes = attack.measure(subject, AttackContext(evaluator, 0, Path("unused"), pool)).notes
        figures = attack.side_figures({"unlearned": notes})
        assert [f.name for f in figures] == [
            "attack_success_rate",
            "final_denoising_loss",
        ]
        assert figures[1].value == np.mean(pool[0].record.notes["loss_last"])


@pytest.mark.slow
@pytest.mark.nightly
def test_a_new_word_brings_back_what_was_erased_and_not_what_was_never_learned(
    shapes_world, tmp_path
):
    evaluator = shapes_examiner(shapes_world, 24)
    attack = ConceptInversion(
        ConceptInversionParameters(**SETTINGS["prompting/concept-inversion"][0])
    )

    def share(name):
        subject = open_shapes(shapes_world, name)
        found = Finding(
            name, True, attack.search(subject, AttackContext(evaluator, 0, Path("unused")))
        )
        notes = attack.measure(subject, AttackContext(evaluator, 0, tmp_path, [found])).notes
        return notes["pictures_with_concept"] / notes["pictures"]

    assert share("uce") > 0.5
    assert share("retrained-0") < 0.05
