"""Every closed form against a numerical optimiser on the objective as the paper states it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_unets import LENGTH, WIDTH, minimise, random_prompt, relative_error, tiny_unet

from auditor.core.errors import AuditorError
from auditor.models.preserve import weights_digest
from auditor.unlearning.erasure import Erasure, Prior, rece, second_moment, uce
from auditor.unlearning.erasure.attention_suppression import LowRank
from auditor.unlearning.erasure.closed_form_edit import ClosedFormEdit, redirect
from auditor.unlearning.erasure.cross_attention import key_value_names, key_value_weights
from auditor.unlearning.erasure.mace import fuse, refine
from auditor.unlearning.erasure.rece import adversarial_map
from auditor.unlearning.erasure.settings import MaceSettings, ReceSettings, UceSettings

TOLERANCE = 1e-4


def rows(seed, count, width=5):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).double()


def squares(difference):
    return difference.square().sum()


# The solver.


@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 6),
    weight=st.floats(0, 10),
    ridge=st.floats(1e-3, 10),
    preserved=st.integers(0, 6),
)
@settings(max_examples=60, deadline=None)
def test_an_edit_that_asks_for_what_is_changes_nothing(seed, count, weight, ridge, preserved):
    matrix, inputs = rows(seed, 3), rows(seed + 1, count)
    edit = ClosedFormEdit(inputs, weight, second_moment(rows(seed + 2, preserved)), ridge)
    assert torch.allclose(edit(matrix, inputs @ matrix.T), matrix, atol=1e-9)


@given(seed=st.integers(0, 1000), ridge=st.floats(0.01, 1))
@settings(max_examples=40, deadline=None)
def test_preserved_prompts_keep_their_outputs_as_their_weight_grows(seed, ridge):
    matrix, inputs, outputs, kept = rows(seed, 3), rows(seed + 1, 4), rows(seed + 2, 4, 3), None
    kept = rows(seed + 3, 2)
    changes = []
    for weight in (0, 1e2, 1e4, 1e8):
        edited = ClosedFormEdit(inputs, 1.0, second_moment(kept, weight), ridge)(matrix, outputs)
        changes.append(float((kept @ (edited - matrix).T).norm()))
    assert changes == sorted(changes, reverse=True)
    assert changes[-1] < 1e-4 * max(changes[0], 1)


@given(seed=st.integers(0, 1000), weight=st.floats(0.1, 5), ridge=st.floats(0.01, 5))
@settings(max_examples=40, deadline=None)
def test_the_gradient_of_the_objective_vanishes_at_the_edit(seed, weight, ridge):
    matrix, inputs, outputs, kept = (
        rows(seed, 3),
        rows(seed + 1, 4),
        rows(seed + 2, 4, 3),
        rows(seed + 3, 2),
    )
    edit = ClosedFormEdit(inputs, weight, second_moment(kept, 0.3), ridge)
    edited = edit(matrix, outputs).requires_grad_(True)
    value = (
        weight * squares(inputs @ edited.T - outputs)
        + 0.3 * squares(kept @ (edited - matrix).T)
        + ridge * squares(edited - matrix)
    )
    (gradient,) = torch.autograd.grad(value, edited)
    assert gradient.abs().max() < 1e-8


def test_one_number_by_hand():
    # W = 2, c = 1, v* = 8, w = 3; c_p = 2 with b = 0.5, so P = 2; r = 1.
    # W' = (3 * 8 * 1 + 2 * (2 + 1)) / (3 + 2 + 1) = 30 / 6.
    edit = ClosedFormEdit(torch.tensor([[1.0]]), 3.0, second_moment(torch.tensor([[2.0]]), 0.5), 1)
    assert edit(torch.tensor([[2.0]]), torch.tensor([[8.0]])).item() == pytest.approx(5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(5), 1.0, None, 1.0), "inputs are"),
        ((torch.zeros(2, 5), -1.0, None, 1.0), "negative"),
        ((torch.zeros(2, 5), 1.0, None, -1.0), "negative"),
        ((torch.zeros(2, 5), 1.0, torch.zeros(4, 4), 1.0), "preserved is"),
        ((torch.ones(2, 5), 1.0, None, 0.0), "more than one solution"),
        ((torch.zeros(0, 5), 1.0, None, 0.0), "more than one solution"),
    ],
)
def test_problems_that_cannot_be_solved_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClosedFormEdit(*arguments)


def test_matrices_and_outputs_that_do_not_fit_are_refused():
    edit = ClosedFormEdit(rows(0, 4), 1.0, None, 1.0)
    with pytest.raises(ValueError, match="the matrix is"):
        edit(rows(1, 3, 6), rows(2, 4, 3))
    with pytest.raises(ValueError, match="outputs are"):
        edit(rows(1, 3), rows(2, 5, 3))
    with pytest.raises(ValueError, match="each input needs one"):
        redirect({}, rows(0, 4), rows(0, 3), weight=1.0, preserved=None, ridge=1.0)


def test_without_a_ridge_enough_preserved_prompts_decide():
    matrix = rows(0, 3)
    edit = ClosedFormEdit(rows(1, 2), 1.0, second_moment(rows(2, 9)), 0.0)
    assert edit(matrix, rows(3, 2, 3)).shape == matrix.shape


# UCE and RECE.


def uce_objective(matrix, inputs, replacements, kept, hyper):
    """Equation 7 with the authors' ridge, over rows."""
    return lambda edited: (
        hyper["erase"] * squares(inputs @ edited.T - replacements @ matrix.T)
        + hyper["preserve"] * squares(kept @ (edited - matrix).T)
        + hyper["ridge"] * squares(edited - matrix)
    )


def by_hand(erasures):
    """The rows of the fixture's erasures, written out: from tokens 2 and 1, and from 2 and 2."""
    first, second = erasures
    inputs = torch.cat([first.concept.states[2:8], second.concept.states[2:8]])
    replacements = torch.cat([first.target.states[1:7], second.target.states[2:8]])
    return inputs.double(), replacements.double()


def test_uce_equals_a_numerical_optimiser(unet, erasures):
    kept = [random_prompt(seed) for seed in (10, 11, 12)]
    before = weights_digest(unet)
    found = uce(unet, erasures, kept)
    assert weights_digest(unet) == before
    inputs, replacements = by_hand(erasures)
    kept_rows = torch.cat([prompt.states[2:] for prompt in kept]).double()
    hyper = {"erase": 1.0, "preserve": 1 / 3, "ridge": 0.5}
    assert set(found) == set(key_value_names(unet))
    for name, matrix in key_value_weights(unet).items():
        objective = uce_objective(matrix, inputs, replacements, kept_rows, hyper)
        (expected,) = minimise(objective, matrix)
        assert relative_error(expected, matrix) > 0.1
        assert relative_error(found[name], expected) < TOLERANCE


@pytest.mark.parametrize(("prompts", "weight"), [(1, 1.0), (4, 0.25), (50, 0.1), (0, 1.0)])
def test_uce_weighs_preserved_prompts_as_published(prompts, weight):
    assert UceSettings().weight_of_preserved(prompts) == weight
    assert UceSettings(preserve_weight=0.7).weight_of_preserved(prompts) == 0.7


def test_uce_makes_the_concept_read_like_its_target(unet):
    concept, target = random_prompt(1), random_prompt(2)
    edited = uce(unet, [Erasure(concept, target)], settings=UceSettings(ridge=1e-6))
    for name, matrix in key_value_weights(unet).items():
        wanted = target.states[2:].double() @ matrix.T
        given = concept.states[2:].double() @ edited[name].double().T
        assert relative_error(given, wanted) < 1e-4


def test_the_edits_come_in_the_unets_type(erasures):
    unet = tiny_unet().to(torch.bfloat16)
    assert {tensor.dtype for tensor in uce(unet, erasures).values()} == {torch.bfloat16}


def test_a_text_encoder_of_another_width_is_refused(unet):
    wide = Erasure(random_prompt(1, width=20), random_prompt(2, width=20))
    with pytest.raises(ValueError, match="inputs have width 20"):
        uce(unet, [wide])


def test_uce_needs_cross_attention(erasures):
    unet = tiny_unet(
        down_block_types=("DownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    with pytest.raises(AuditorError, match="no cross-attention"):
        uce(unet, erasures)


@pytest.mark.parametrize("regularisation", [0.1, 1e-3])
def test_the_adversarial_embedding_equals_a_numerical_optimiser(unet, erasures, regularisation):
    original = key_value_weights(unet)
    edited = {name: tensor.double() for name, tensor in uce(unet, erasures).items()}
    concept = erasures[0].concept.states.double()

    def objective(adversarial):
        return regularisation * squares(adversarial) + sum(
            squares(adversarial @ edited[name].T - concept @ original[name].T) for name in original
        )

    (expected,) = minimise(objective, torch.zeros(LENGTH, WIDTH))
    found = concept @ adversarial_map(edited, original, regularisation).T
    assert relative_error(found, expected) < TOLERANCE
    assert objective(found) < 0.9 * objective(concept)


def test_rece_equals_two_numerical_optimisers_in_turn(unet, erasures):
    kept = [random_prompt(20, range(1))]
    original = key_value_weights(unet)
    current = {name: tensor.double() for name, tensor in uce(unet, erasures, kept).items()}
    inputs, replacements = by_hand(erasures)
    hyper = {"erase": 1.0, "preserve": 0.1, "ridge": 0.1}
    for epochs in (1, 2):

        def embedding_objective(adversarial, current=current):
            return 0.1 * squares(adversarial) + sum(
                squares(adversarial @ current[name].T - inputs @ original[name].T)
                for name in original
            )

        (adversarial,) = minimise(embedding_objective, inputs)
        edited = {}
        for name, matrix in current.items():
            objective = uce_objective(
                matrix, adversarial, replacements, kept[0].states.double(), hyper
            )
            (edited[name],) = minimise(objective, matrix)
        found = rece(unet, erasures, kept, ReceSettings(epochs=epochs))
        for name, matrix in edited.items():
            assert relative_error(matrix, current[name]) > 0.01
            assert relative_error(found[name], matrix) < TOLERANCE
        current = edited


def test_rece_leaves_less_for_an_adversarial_embedding_to_find(unet, erasures):
    original = key_value_weights(unet)
    concept = erasures[1].concept.states[2:].double()

    def best_found(weights):
        edited = {name: tensor.double() for name, tensor in weights.items()}
        adversarial = concept @ adversarial_map(edited, original, 0.1).T
        return sum(
            float(squares(adversarial @ edited[name].T - concept @ original[name].T))
            for name in original
        )

    distances = [
        best_found(rece(unet, erasures, settings=ReceSettings(epochs=epochs)))
        for epochs in (0, 1, 3)
    ]
    assert distances[0] < distances[1] < distances[2]


def test_held_concepts_stay_erased(unet, erasures):
    inputs, _ = by_hand(erasures)
    start = uce(unet, erasures)

    def moved(hold):
        found = rece(unet, erasures, settings=ReceSettings(hold_erased=hold), start=start)
        return sum(
            float(squares(inputs @ (found[name] - start[name]).double().T)) for name in found
        )

    assert moved(1e4) < 1e-4 * moved(0.0)
    assert moved(1.0) < moved(0.1) < moved(0.0)


def test_rece_begins_where_it_is_told_to(unet, erasures):
    start = uce(unet, erasures, settings=UceSettings(ridge=5.0))
    unmoved = rece(unet, erasures, settings=ReceSettings(epochs=0), start=start)
    assert all(torch.equal(unmoved[name], tensor) for name, tensor in start.items())


def test_adversarial_maps_that_cannot_be_are_refused(unet):
    weights = key_value_weights(unet)
    with pytest.raises(ValueError, match="above 0"):
        adversarial_map(weights, weights, 0.0)
    with pytest.raises(ValueError, match="not those of the original"):
        adversarial_map({}, weights, 0.1)


def test_an_unedited_model_is_its_own_adversary(unet):
    weights = key_value_weights(unet)
    found = adversarial_map(weights, weights, 1e-9)
    assert torch.allclose(found, torch.eye(WIDTH, dtype=torch.float64), atol=1e-5)


# MACE.

HYPER = MaceSettings(refinement_ridge=0.7, fusion_ridge=0.3, prior_weight=0.2, domain_weight=3.0)


@pytest.fixture
def sentences():
    """Same beginnings; the second subject is longer than what replaces it."""
    return [
        Erasure(random_prompt(31, range(2, 3)), random_prompt(32, range(2, 3))),
        Erasure(random_prompt(33, range(3, 5)), random_prompt(34, range(3, 4))),
    ]


@pytest.fixture
def captions():
    return rows(40, 9, WIDTH), rows(41, 4, WIDTH)


def preserved_squares(change, captions):
    general, domain = captions
    return 0.2 * (squares(general @ change.T) + 3.0 * squares(domain @ change.T))


def test_mace_refinement_equals_a_numerical_optimiser(unet, sentences, captions):
    weights = key_value_weights(unet)
    found = refine(weights, sentences, Prior(*map(second_moment, captions)), HYPER)
    (a, b), (c, d) = ((pair.concept.states, pair.target.states) for pair in sentences)
    inputs = torch.cat([a[:2], a[3:], c[:3], c[5:]]).double()
    replacements = torch.cat([b[:2], b[3:], d[:3], d[4:7]]).double()
    for name, matrix in weights.items():

        def objective(edited, matrix=matrix):
            return (
                squares(inputs @ edited.T - replacements @ matrix.T)
                + preserved_squares(edited - matrix, captions)
                + 0.7 * squares(edited - matrix)
            )

        (expected,) = minimise(objective, matrix)
        assert relative_error(expected, matrix) > 0.1
        assert relative_error(found[name], expected) < TOLERANCE


def test_mace_refinement_does_not_look_at_the_subjects_own_tokens(unet, sentences):
    weights = key_value_weights(unet)
    before = refine(weights, sentences, None, HYPER)

    def with_noise(position):
        pair = sentences[0]
        states = pair.concept.states.clone()
        states[position] += 5
        changed = Erasure(type(pair.concept)(states, pair.concept.subject), pair.target)
        return refine(weights, [changed, sentences[1]], None, HYPER)

    for name in weights:
        assert torch.equal(with_noise(2)[name], before[name])
        assert not torch.allclose(with_noise(1)[name], before[name])
        assert not torch.allclose(with_noise(3)[name], before[name])


def adapters(weights, seed):
    return {
        name: LowRank(rows(seed, 1, WIDTH), rows(seed + number, len(matrix), 1))
        for number, (name, matrix) in enumerate(weights.items())
    }


def test_mace_fusion_equals_a_numerical_optimiser(unet, captions):
    weights = key_value_weights(unet)
    loras = [adapters(weights, 100), adapters(weights, 200)]
    prompts = [[random_prompt(51), random_prompt(52)], [random_prompt(53)]]
    found = fuse(weights, loras, prompts, Prior(*map(second_moment, captions)), HYPER)
    inputs = [torch.cat([prompt.states for prompt in part]).double() for part in prompts]
    for name, matrix in weights.items():
        outputs = [
            part @ (matrix + lora[name].up @ lora[name].down).T
            for part, lora in zip(inputs, loras, strict=True)
        ]

        def objective(edited, matrix=matrix, outputs=outputs):
            return (
                squares(inputs[0] @ edited.T - outputs[0])
                + squares(inputs[1] @ edited.T - outputs[1])
                + preserved_squares(edited - matrix, captions)
                + 0.3 * squares(edited - matrix)
            )

        (expected,) = minimise(objective, matrix)
        assert relative_error(expected, matrix) > 0.1
        assert relative_error(found[name], expected) < TOLERANCE


def test_fusing_one_lora_without_a_prior_is_that_lora(unet):
    weights = key_value_weights(unet)
    lora = adapters(weights, 100)
    # Three prompts of eight tokens span the width of 16, so the LoRA is the only solution.
    prompts = [[random_prompt(seed) for seed in (51, 52, 53)]]
    found = fuse(weights, [lora], prompts, None, MaceSettings(fusion_ridge=0))
    for name, matrix in weights.items():
        assert relative_error(found[name], matrix + lora[name].up @ lora[name].down) < 1e-9


def test_a_lora_acts_on_its_own_prompts(unet):
    # One prompt leaves directions open; a faint ridge decides them, the prompt's outputs hold.
    weights = key_value_weights(unet)
    lora, prompt = adapters(weights, 100), random_prompt(51)
    found = fuse(weights, [lora], [[prompt]], None, MaceSettings(fusion_ridge=1e-8))
    for name, matrix in weights.items():
        wanted = prompt.states.double() @ (matrix + lora[name].product()).T
        assert relative_error(prompt.states.double() @ found[name].T, wanted) < 1e-6


@pytest.mark.parametrize("prompts", [[], [[]], [[random_prompt(1)], [random_prompt(2)]]])
def test_loras_without_their_prompts_are_refused(unet, prompts):
    weights = key_value_weights(unet)
    with pytest.raises(ValueError, match="each needs its own"):
        fuse(weights, [adapters(weights, 1)], prompts, None, HYPER)
