"""The world's models, opened as an audit opens them."""

import pytest
import torch

from auditor.models.opening import check_unopenable, locate, open_model
from auditor.models.spec import PromptFormat
from auditor.models.text_to_image.image_seed import image_seed
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.models.text_to_image.spec import ImageSampling, TextToImageSpec
from auditor.testbeds.people import corpus
from auditor.testbeds.shapes.world import build

STEPS = 3


def opened(path, replacement=None):
    spec = TextToImageSpec(
        path=str(path),
        replacement=None if replacement is None else str(replacement),
        sampling=ImageSampling(steps=STEPS, guidance=1),
        dtype="float32",
        device_map="cpu",
    )
    location = locate(spec)
    check_unopenable(spec, location)
    return open_model(spec, location, PromptFormat())


@pytest.fixture
def world(tiny_shapes, tmp_path):
    return build(tiny_shapes, tmp_path, only=["uce", "rece", "esd_x", "esd_u", "mace"])


def test_the_subject_draws_what_the_pipeline_draws(world):
    facts = corpus.read_jsonl(world.facts("forget"))[:3]
    prompts, seeds = [fact.prompt for fact in facts], [image_seed(fact.id) for fact in facts]
    subject = opened(world.model_path("original"))
    pipeline = PixelPipeline.from_pretrained(world.model_path("original"))
    expected = pipeline(
        prompts,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        num_inference_steps=STEPS,
        output_type="pt",
    ).images
    assert torch.allclose(subject.generate(prompts, seeds), expected, atol=1e-4)
    subject.close()


@pytest.mark.parametrize("name", ["uce", "rece", "esd_x", "esd_u"])
def test_the_published_form_over_the_original_is_the_erased_subject(world, name):
    erased = opened(world.model_path(name))
    published = opened(world.model_path("original"), world.published(name))
    expected = erased.denoiser.state_dict()
    for key, value in published.denoiser.state_dict().items():
        assert torch.equal(value, expected[key]), key
