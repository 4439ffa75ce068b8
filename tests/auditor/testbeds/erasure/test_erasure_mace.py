import math

import pytest
import torch
from tiny_unets import LENGTH, WIDTH, Listening, random_prompt, tiny_unet

from auditor.models.preserve import weights_digest
from auditor.unlearning.erasure import (
    Erasure,
    MaceConcept,
    MaskedImages,
    Prior,
    key_value_names,
    load_weights,
    mace,
    second_moment,
)
from auditor.unlearning.erasure.attention_maps import (
    masked_attention,
    recorded_attention,
)
from auditor.unlearning.erasure.attention_suppression import (
    focal_density,
    suppressed_tokens,
    suppression_loss,
    train_low_rank,
)
from auditor.unlearning.erasure.cross_attention import key_value_weights
from auditor.unlearning.erasure.denoising import predicted_noise
from auditor.unlearning.erasure.mace import fuse, refine
from auditor.unlearning.erasure.settings import MaceSettings

QUICK = MaceSettings(
    learning_rate=0.05, steps=30, batch_size=4, refinement_ridge=0.5, fusion_ridge=0.5
)


def concept_images(seed=0, count=4):
    """Noise for images; the concept is in the upper left quarter of each."""
    draws = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, 8, 8)
    masks[:, :4, :4] = 1
    prompts = [random_prompt(100 * seed + number) for number in range(count)]
    return MaskedImages(torch.randn(count, 3, 8, 8, generator=draws), prompts, masks)


@pytest.fixture
def concept():
    sentences = [Erasure(random_prompt(seed), random_prompt(seed + 10)) for seed in range(20, 24)]
    return MaceConcept(sentences, concept_images())


def merged(unet, adapters):
    state = unet.state_dict()
    load_weights(
        unet, {name: state[name].double() + low.product() for name, low in adapters.items()}
    )
    return unet


def mass(unet, shown, settings):
    """The share of masked pixels' attention that goes to the suppressed tokens, over layers."""
    tokens = suppressed_tokens(shown.prompts, settings.after_subject)
    with torch.no_grad(), recorded_attention(unet) as maps:
        predicted_noise(unet, shown.images, torch.tensor(300), shown.prompts)
    parts, wholes = (
        masked_attention(maps, shown.masks, chosen) for chosen in (tokens, torch.ones_like(tokens))
    )
    shares = [float(part.sum() / whole.sum()) for part, whole in zip(parts, wholes, strict=True)]
    return sum(shares) / len(shares)


# Timesteps.


def test_the_focal_density_is_the_published_one():
    density = focal_density(1000, MaceSettings())
    assert float(density.sum()) == pytest.approx(1)
    assert int(density.argmax()) == 300
    sigmoid = 1 / (1 + math.exp(-10))
    # At t1: sigmoid(0) - sigmoid(-10); in the middle: sigmoid(5) - sigmoid(-5).
    expected = (0.5 - (1 - sigmoid)) / math.tanh(2.5)
    assert float(density[200] / density[300]) == pytest.approx(expected)
    assert torch.allclose(density[1:600], density[1:600].flip(0))
    assert float(density[200:401].sum()) > 0.85
    assert float(density[600:].sum()) < 1e-3


def test_without_focus_all_timesteps_are_drawn_alike():
    assert focal_density(1000, MaceSettings(focal=False)).tolist() == pytest.approx([1e-3] * 1000)


# Attention maps.


def test_recording_leaves_the_unet_as_it_was(unet):
    images, when = torch.randn(2, 3, 8, 8), torch.tensor([7, 400])
    prompts = [random_prompt(1), random_prompt(2)]
    processors = {name: id(each) for name, each in unet.attn_processors.items()}
    with torch.no_grad():
        expected = predicted_noise(unet, images, when, prompts)
        with recorded_attention(unet) as maps:
            recorded = predicted_noise(unet, images, when, prompts)
    assert torch.allclose(recorded, expected, atol=1e-5)
    assert {name: id(each) for name, each in unet.attn_processors.items()} == processors
    assert len(maps) == 4
    for name, attention in maps.items():
        assert f"{name}.to_k.weight" in key_value_names(unet)
        batch, _, _, tokens = attention.shape
        assert (batch, tokens) == (2, LENGTH)
        assert torch.allclose(attention.sum(-1), torch.ones(()), atol=1e-5)


def test_recording_respects_a_mask_over_tokens(unet):
    images, when, states = torch.randn(1, 3, 8, 8), torch.tensor(7), random_prompt(1).states[None]
    seen = torch.tensor([[1, 1, 1, 0, 0, 0, 0, 0]])

    def run():
        return unet(images, when, states, encoder_attention_mask=seen).sample

    with torch.no_grad():
        expected = run()
        with recorded_attention(unet) as maps:
            assert torch.allclose(run(), expected, atol=1e-5)
    assert all(attention[..., 3:].max() < 1e-6 for attention in maps.values())


def test_the_loss_by_hand():
    # One layer, one head, two by two pixels, two tokens; the mask is the left column.
    attention = torch.tensor([[0.3, 0.7], [0.5, 0.5], [0.4, 0.6], [1.0, 0.0]])[None, None]
    masks = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    tokens = torch.tensor([[True, False]])
    assert suppression_loss({"layer": attention}, masks, tokens).item() == pytest.approx(0.5)
    twice = {"one": attention, "two": attention}
    assert suppression_loss(twice, masks, tokens).item() == pytest.approx(1.0)
    (masked,) = masked_attention({"layer": attention}, masks, tokens)
    assert masked.flatten(0, 2).tolist() == [
        pytest.approx(row) for row in ([0.3, 0], [0, 0], [0.4, 0], [0, 0])
    ]


def test_masks_are_averaged_down_to_the_layers_resolution():
    masks = torch.zeros(1, 4, 8)
    masks[0, 0, 0] = masks[0, 2:, 6:] = 1
    attention = torch.ones(1, 1, 8, 1)
    (masked,) = masked_attention({"layer": attention}, masks, torch.ones(1, 1, dtype=torch.bool))
    assert masked.flatten().tolist() == [0.25, 0, 0, 0, 0, 0, 0, 1]


def test_an_empty_mask_has_no_loss_and_a_gradient_of_zero():
    attention = torch.rand(1, 1, 4, 2, requires_grad=True)
    loss = suppression_loss(
        {"layer": attention}, torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool)
    )
    loss.backward()
    assert loss.item() == 0
    assert attention.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("after", "expected"), [(True, [2, 3, 4, 5, 6, 7]), (False, [2, 3])], ids=["after", "own"]
)
def test_which_tokens_are_suppressed(after, expected):
    tokens = suppressed_tokens([random_prompt(1, range(2, 4))], after)
    assert tokens[0].nonzero().flatten().tolist() == expected


# LoRAs.


@pytest.mark.parametrize("after_subject", [True, False])
def test_a_lora_lowers_attention_to_the_concept_where_the_concept_is(
    unet, scheduler, after_subject
):
    shown, heard = concept_images(), Listening()
    settings = QUICK.model_copy(update={"after_subject": after_subject})
    digest, before = weights_digest(unet), mass(unet, shown, settings)
    adapters = train_low_rank(unet, scheduler, shown, settings, progress=heard)
    assert weights_digest(unet) == digest
    assert set(adapters) == set(key_value_names(unet))
    assert sum(heard.losses[-5:]) < 0.8 * sum(heard.losses[:5])
    assert mass(merged(unet, adapters), shown, settings) < 0.8 * before


def test_a_lora_has_its_rank(unet, scheduler):
    settings = QUICK.model_copy(update={"steps": 2, "rank": 2})
    adapters = train_low_rank(unet, scheduler, concept_images(), settings)
    for name, low in adapters.items():
        out, width = unet.state_dict()[name].shape
        assert low.down.shape == (2, width)
        assert low.up.shape == (out, 2)
    # Values of the last layer do not bear on any attention map; the keys all do.
    assert all(low.up.abs().max() > 0 for name, low in adapters.items() if "to_k" in name)


def test_pixels_outside_the_mask_teach_a_lora_nothing(unet, scheduler):
    shown = concept_images()
    nowhere = MaskedImages(shown.images, shown.prompts, torch.zeros_like(shown.masks))
    adapters = train_low_rank(unet, scheduler, nowhere, QUICK.model_copy(update={"steps": 3}))
    assert all(not low.product().any() for low in adapters.values())


def test_training_leaves_the_global_random_state_alone(unet, scheduler):
    settings = QUICK.model_copy(update={"steps": 1})
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train_low_rank(unet, scheduler, concept_images(), settings)
    assert torch.equal(torch.rand(3), expected)


def test_images_without_masks_are_refused():
    with pytest.raises(ValueError, match="1 images, 1 prompts, 2 masks"):
        MaskedImages(torch.zeros(1, 3, 8, 8), [random_prompt(1)], torch.zeros(2, 8, 8))
    with pytest.raises(ValueError, match="at least one"):
        MaskedImages(torch.zeros(0, 3, 8, 8), [], torch.zeros(0, 8, 8))


# All of it.


def test_mace_turns_a_unet_away_from_two_concepts(unet, scheduler, concept):
    # The second one's images are described by the sentences that its LoRA is fused over.
    shown = concept_images(seed=1)
    sentences = [Erasure(prompt, random_prompt(60)) for prompt in shown.prompts]
    concepts = [concept, MaceConcept(sentences, shown)]
    prior = Prior(second_moment(torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(2))))
    settings = QUICK.model_copy(update={"prior_weight": 1e-3})
    digest, before = weights_digest(unet), mass(unet, shown, settings)
    fused = mace(unet, scheduler, concepts, prior, settings)
    assert weights_digest(unet) == digest
    assert list(fused) == key_value_names(unet)
    again = mace(unet, scheduler, concepts, prior, settings)
    assert all(torch.equal(fused[name], again[name]) for name in fused)
    other = mace(unet, scheduler, concepts, prior, settings, seed=5)
    assert any(not torch.equal(fused[name], other[name]) for name in fused)
    load_weights(unet, fused)
    assert mass(unet, shown, settings) < 0.8 * before


def test_mace_trains_its_lora_on_the_refined_unet(unet, scheduler, concept):
    settings = QUICK.model_copy(update={"steps": 2, "refinement_ridge": 0.01})
    refined = refine(key_value_weights(unet), concept.sentences, None, settings)
    base = tiny_unet()
    load_weights(base, refined)
    adapters = train_low_rank(base, scheduler, concept.shown, settings, seed=3)
    prompts = [sentence.concept for sentence in concept.sentences]
    expected = fuse(refined, [adapters], [prompts], None, settings)
    found = mace(unet, scheduler, [concept], None, settings, seed=3)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name].float())


def test_the_prior_is_weighed_as_published():
    general, domain = torch.eye(2), 2 * torch.eye(2)
    settings = MaceSettings(prior_weight=0.5, domain_weight=3.0)
    assert Prior(general, domain).weighted(settings).tolist() == [[3.5, 0], [0, 3.5]]
    assert Prior(general).weighted(settings).tolist() == [[0.5, 0], [0, 0.5]]


def test_mace_on_latents(scheduler, concept):
    unet = tiny_unet(in_channels=4, out_channels=4)
    masks = torch.ones(2, 64, 64)  # of the image, eight times the latents' size
    shown = MaskedImages(torch.randn(2, 4, 8, 8), concept.shown.prompts[:2], masks)
    settings = QUICK.model_copy(update={"steps": 2})
    fused = mace(unet, scheduler, [MaceConcept(concept.sentences, shown)], settings=settings)
    assert all(tensor.isfinite().all() for tensor in fused.values())
