"""Inference-time erasers: what they draw, what they leave alone, and that they are part of U."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.deprecated.stable_diffusion_safe.pipeline_stable_diffusion_safe import (
    StableDiffusionPipelineSafe,
)
from pydantic import ValidationError
from tiny_pipelines import PROMPTS, SAMPLING, edit_json, make_pipeline, open_pipeline

from auditor.core.errors import AuditorError
from auditor.models.opening import check_unopenable, locate
from auditor.models.text_to_image.erasers import ERASERS, Eraser, EraserSettings, Guide, eraser
from auditor.models.text_to_image.kind import TextToImageKind
from auditor.models.text_to_image.safe_latent_diffusion import (
    SafeLatentDiffusionSettings,
    SafetyGuide,
)
from auditor.models.text_to_image.spec import EraserSpec

SEEDS = [5, 6, 7]
SLD = {"name": "sld", "concept": "orb", "warmup_steps": 1, "threshold": 0.5, "guidance_scale": 20}
DRAWING = ("sd1", "sd2", "sdxl", "pixel", "sd3")


def opened(folder, **more):
    return open_pipeline(folder, eraser=SLD, **more)


def test_what_is_drawn_is_what_the_authors_pipeline_draws(sd1):
    """The scheduler as that pipeline wants it, which changes others silently."""
    edit_json(sd1 / "scheduler" / "scheduler_config.json", steps_offset=1)
    subject = open_pipeline(
        sd1,
        sampling=SAMPLING | {"steps": 5},
        eraser={
            "name": "sld",
            "concept": "orb",
            "warmup_steps": 2,
            "guidance_scale": 20,
            "threshold": 0.05,
            "momentum_scale": 0.5,
            "momentum_beta": 0.7,
        },
    )
    made = make_pipeline("sd1")
    parts = {**made.components, "scheduler": subject.parts.scheduler}
    pipeline = StableDiffusionPipelineSafe(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.safety_concept = "orb"
    drawn = [
        pipeline(
            prompt=prompt,
            num_inference_steps=5,
            guidance_scale=SAMPLING["guidance"],
            generator=[torch.Generator().manual_seed(seed)],
            output_type="np",
            sld_guidance_scale=20,
            sld_warmup_steps=2,
            sld_threshold=0.05,
            sld_momentum_scale=0.5,
            sld_mom_beta=0.7,
        ).images
        for prompt, seed in zip(PROMPTS, SEEDS, strict=False)
    ]
    expected = torch.cat([torch.as_tensor(each).permute(0, 3, 1, 2) for each in drawn])
    found = subject.generate(PROMPTS[:3], SEEDS)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    with subject.without_eraser() as plain:
        assert (plain.generate(PROMPTS[:3], SEEDS) - found).abs().max() > 1e-3


def test_a_step_by_hand():
    settings = SafeLatentDiffusionSettings(
        concept="x", guidance_scale=2, warmup_steps=1, threshold=0.1,
        momentum_scale=0.5, momentum_beta=0.25,
    )  # fmt: skip
    guide = SafetyGuide(settings)
    without = torch.zeros(3)
    with_text = torch.tensor([1.0, 0.3, 0.2])
    concept = torch.tensor([0.5, 0.5, 2.0])
    # apart: 0.5 (left alone), -0.2 (weight 0.4), -1.8 (weight 1)
    first = torch.tensor([0.0, 0.2, 2.0])
    found = guide.guided(without, with_text, [concept], 3.0)
    torch.testing.assert_close(found, 3 * with_text)  # the first step is warm-up
    away = first + 0.5 * 0.75 * first
    found = guide.guided(without, with_text, [concept], 3.0)
    torch.testing.assert_close(found, 3 * (with_text - away))
    momentum = 0.25 * 0.75 * first + 0.75 * away
    found = guide.guided(without, with_text, [concept], 1.0)
    torch.testing.assert_close(found, with_text - first - 0.5 * momentum)


@pytest.mark.parametrize("layout", DRAWING)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_an_image_depends_on_its_prompt_and_seed_alone(layout, guidance, folders):
    sampling = SAMPLING | {"guidance": guidance}
    together = opened(folders[layout], sampling=sampling).generate(PROMPTS[:3], SEEDS)
    alone = opened(folders[layout], sampling=sampling, token_budget=1).generate(PROMPTS[:3], SEEDS)
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)
    plain = open_pipeline(folders[layout], sampling=sampling).generate(PROMPTS[:3], SEEDS)
    assert (together - plain).abs().max() > 2e-4  # ten times what batches may differ by


def test_it_counts_what_it_costs(folders):
    subject = opened(folders["pixel"])
    subject.generate(PROMPTS[:3], SEEDS)
    assert subject.meter.forward_tokens == 3 * 3 * 3  # steps, images, rows


def test_it_is_at_work_with_other_weights_and_in_nothing_but_drawing(folders):
    subject, plain = opened(folders["sd1"]), open_pipeline(folders["sd1"])
    noisy = torch.randn(2, *subject.input_shape)
    asked = (noisy, torch.tensor([10, 90]), plain.encode(PROMPTS[:2]))
    with torch.no_grad():
        torch.testing.assert_close(subject.predict(*asked), plain.predict(*asked))
    erased = subject.generate(PROMPTS[:2], SEEDS[:2])
    with subject.with_denoiser(subject.denoiser) as other:
        torch.testing.assert_close(other.generate(PROMPTS[:2], SEEDS[:2]), erased)


def test_without_it_the_model_is_the_one_of_its_weights(folders):
    subject, plain = opened(folders["sd1"]), open_pipeline(folders["sd1"])
    with subject.without_eraser() as other:
        assert torch.equal(other.generate(PROMPTS[:3], SEEDS), plain.generate(PROMPTS[:3], SEEDS))
        assert other.meter is subject.meter
    assert (subject.generate(PROMPTS[:3], SEEDS) - plain.generate(PROMPTS[:3], SEEDS)).any()


def test_it_is_part_of_the_models_identity(folders):
    def located(**changes):
        return open_pipeline(folders["sd1"], eraser=SLD | changes).location.manifest

    plain = open_pipeline(folders["sd1"]).location.manifest
    found = located()
    assert found.files.keys() - plain.files.keys() == {"eraser-sld.py"}
    assert found.digest != plain.digest
    assert found.weights_digest == plain.weights_digest
    assert located(threshold=0.4).digest != found.digest
    assert located(momentum_beta=0.4).digest == found.digest  # the default, written out
    kind = TextToImageKind()
    options = [
        kind.options(opened(folders["sd1"]).spec),
        kind.options(open_pipeline(folders["sd1"]).spec),
    ]
    assert options[0] == options[1]


PLUG_IN = """
from auditor.models.text_to_image.erasers import Eraser, EraserSettings
from fading_eraser.shares import SHARE


class Fade(Eraser[EraserSettings]):
    settings_type = EraserSettings
    share = SHARE

    def guide(self):
        raise NotImplementedError
"""
CODES = """
import fading_eraser.fade
from auditor.engine.job import measuring_code
from auditor.models.kind import kind_named
from auditor.models.text_to_image.erasers import ERASERS

ERASERS.register("fading")(fading_eraser.fade.Fade)
kind = kind_named("text-to-image")
for more in ({}, {"eraser": {"name": "fading"}}):
    spec = kind.spec_type.model_validate({"kind": kind.name, "path": "x"} | more)
    print(measuring_code("none/as-is", ("concept",), kind, spec))
"""


def test_evidence_is_named_by_all_code_of_an_eraser(tmp_path):
    """What its other modules hold decides what is drawn, too."""
    package = tmp_path / "fading_eraser"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "shares.py").write_text("SHARE = 0.5\n")
    (package / "fade.py").write_text(PLUG_IN)

    def codes():
        path = os.pathsep.join([str(tmp_path), str(Path.cwd())])
        found = subprocess.run(
            [sys.executable, "-c", CODES],
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return found.stdout.split()

    plain, before = codes()
    (package / "shares.py").write_text("SHARE = 1.0\n")
    again, after = codes()
    assert plain == again
    assert len({plain, before, after}) == 3


def test_its_work_is_counted_before_the_model_is_opened(folders):
    kind, sets = TextToImageKind(), type("Sets", (), {"forget": [1, 2], "retain": [3]})()
    rows = []
    for subject in (opened(folders["sd1"]), open_pipeline(folders["sd1"])):
        work = kind.workload(
            subject.spec, subject.location, sets, holdout=False, generates=False, chooses=False
        )
        rows.append(work.units if hasattr(work, "units") else work[0])
    assert rows == [3 * 3 * 3, 3 * 3 * 2]


def test_what_does_not_fit_is_refused(folders):
    def refused(**spec):
        with pytest.raises(AuditorError) as error:
            open_pipeline(folders["sd1"], eraser=spec)
        return str(error.value)

    assert "sld" in refused(name="sldd", concept="x")
    assert "concept" in refused(name="sld")
    assert "momentum_beta" in refused(name="sld", concept="x", momentum_beta=1)
    assert "strength" in refused(name="sld", concept="x", strength=1)
    with pytest.raises(ValidationError, match="name"):
        EraserSpec.model_validate({"name": "../x"})
    flux = opened(folders["flux"])
    with pytest.raises(AuditorError, match="told the weight of guidance"):
        check_unopenable(flux.spec, flux.location)


def test_a_plug_in_may_bring_another(folders, tmp_path):
    class Settings(EraserSettings):
        share: float = 0.5

    class Fading(Guide):
        def __init__(self, share):
            self.share = share

        def guided(self, without, with_text, others, guidance):
            return self.share * without + (1 - self.share) * with_text

    @eraser("fading")
    class Fade(Eraser[Settings]):
        settings_type = Settings

        def guide(self):
            return Fading(self.settings.share)

    try:
        folder = shutil.copytree(folders["pixel"], tmp_path / "pixel")
        full = open_pipeline(folder, eraser={"name": "fading", "share": 1.0})
        empty = open_pipeline(folder, sampling=SAMPLING | {"guidance": 1.0})
        expected = empty.generate(["", ""], SEEDS[:2])
        torch.testing.assert_close(full.generate(PROMPTS[:2], SEEDS[:2]), expected)
        assert "eraser-fading.py" in locate(full.spec).manifest.files
    finally:
        ERASERS.unregister("fading")
