import pytest
import torch
from safetensors.torch import load_file

from auditor.core.progress import SilentProgress
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds.shapes.captions import SYNONYMS
from auditor.testbeds.shapes.drawing import TRAINED
from auditor.testbeds.shapes.network import save
from auditor.testbeds.shapes.training import DiffusionTraining, train, training_set


def trained(shapes_tokenizer, tiny_network, seed, steps=2):
    settings = DiffusionTraining(steps=steps, images=24, batch_size=4)
    data = training_set(TRAINED, settings.images, settings.plain, 0)
    return train(shapes_tokenizer, tiny_network, data, settings, seed, SilentProgress())


def weights(pipeline):
    parts = (pipeline.text_encoder, pipeline.unet)
    return [tensor for part in parts for tensor in part.state_dict().values()]


def test_a_seed_gives_the_same_bytes(shapes_tokenizer, tiny_network, tmp_path):
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        save(trained(shapes_tokenizer, tiny_network, seed), tmp_path / name)
    files = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.*")]
    assert {path.parts[0] for path in files} == {
        "model_index.json",
        "tokenizer",
        "text_encoder",
        "unet",
        "scheduler",
    }
    for file in files:
        same = (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
        assert same, file
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "first" / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_training_leaves_the_random_state_alone(shapes_tokenizer, tiny_network):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    trained(shapes_tokenizer, tiny_network, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_training_learns(shapes_tokenizer, tiny_network):
    heard = []

    class Listener(SilentProgress):
        def task(self, description, total):
            from contextlib import contextmanager

            @contextmanager
            def opened():
                yield lambda n=1, note="": heard.append(float(note.removeprefix("loss ")))

            return opened()

    settings = DiffusionTraining(steps=60, images=64, batch_size=16)
    data = training_set(TRAINED, settings.images, settings.plain, 0)
    train(shapes_tokenizer, tiny_network, data, settings, 0, Listener())
    assert len(heard) == 60
    assert sum(heard[-10:]) < 0.6 * sum(heard[:10])


def test_a_shape_left_out_is_neither_drawn_nor_named():
    kept = set(TRAINED) - {"circle"}
    data = training_set(kept, 400, 0.5, 0)
    words = {word for text in data.captions for word in text.split()}
    assert not words & {"circle", *SYNONYMS["circle"]}
    for shape in kept:
        assert words >= {shape, *SYNONYMS[shape]}
    areas = {int((image != 1).any(0).sum()) for image in data.images}
    whole = {int((image != 1).any(0).sum()) for image in training_set(TRAINED, 400, 0.5, 0).images}
    assert len(areas) == len(kept)
    assert len(whole) == len(TRAINED)


@pytest.fixture
def saved(shapes_tokenizer, tiny_network, tmp_path):
    pipeline = trained(shapes_tokenizer, tiny_network, 0)
    save(pipeline, tmp_path / "saved")
    return pipeline, tmp_path / "saved"


def seeds(*numbers):
    return [torch.Generator().manual_seed(number) for number in numbers]


def test_a_saved_pipeline_opens_and_draws_the_same(saved):
    pipeline, folder = saved
    opened = PixelPipeline.from_pretrained(folder)
    for before, after in zip(weights(pipeline), weights(opened), strict=True):
        assert torch.equal(before, after)
    prompts = ["a red circle", "a blue box", "a blue box"]
    first, again = (
        each(prompts, generator=seeds(1, 2, 3), num_inference_steps=3, output_type="pt").images
        for each in (pipeline, opened)
    )
    assert torch.equal(first, again)
    assert first.shape == (3, 3, 16, 16)
    assert first.min() >= 0
    assert first.max() <= 1
    assert not torch.equal(first[1], first[2])
    state = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert sum(".attn2.to_k" in name or ".attn2.to_v" in name for name in state) == 8


def test_an_image_does_not_depend_on_its_batch(saved):
    pipeline, _ = saved
    prompts = ["a red circle", "a blue box", "a green wedge"]
    together = pipeline(
        prompts, generator=seeds(1, 2, 3), num_inference_steps=5, output_type="pt"
    ).images
    for index, prompt in enumerate(prompts):
        alone = pipeline(
            prompt, generator=seeds(index + 1), num_inference_steps=5, output_type="pt"
        ).images
        assert torch.allclose(alone[0], together[index], atol=1e-4)


def test_embeddings_draw_what_their_prompt_draws(saved):
    pipeline, _ = saved
    with torch.no_grad():
        embeddings = pipeline.encode(["a red circle"])
    for scale in (1.0, 3.0):
        from_text, from_embeddings = (
            pipeline(
                **given, generator=seeds(4), num_inference_steps=3, guidance_scale=scale,
                output_type="np",
            ).images
            for given in ({"prompt": "a red circle"}, {"prompt_embeds": embeddings})
        )  # fmt: skip
        assert (from_text == from_embeddings).all()
        assert from_text.shape == (1, 16, 16, 3)


def test_guidance_moves_away_from_the_empty_prompt(saved):
    pipeline, _ = saved

    def drawn(prompt, scale):
        return pipeline(
            prompt, generator=seeds(4), num_inference_steps=3, guidance_scale=scale,
            output_type="pt",
        ).images  # fmt: skip

    assert torch.allclose(drawn("a red circle", 0.0), drawn("", 1.0), atol=1e-5)
    assert torch.allclose(drawn("", 5.0), drawn("", 1.0), atol=1e-4)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"prompt": "a", "prompt_embeds": torch.zeros(1, 24, 32)},
        {"prompt": ["a", "b"], "generator": seeds(1)},
    ],
)
def test_a_call_that_means_nothing_is_refused(saved, given):
    with pytest.raises(ValueError, match=r"give either|generators for 2"):
        saved[0](**given)
