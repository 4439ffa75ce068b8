"""Models of the table: arms and subjects, in pixels and in latents, and what is true of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, StableDiffusionPipeline
from torch import Tensor

from auditor.core.cache import cache_folder
from auditor.core.facts import Fact
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.models.opening import locate
from auditor.models.text_to_image.classifiers import open_classifier
from auditor.models.text_to_image.image_seed import image_seed
from auditor.models.text_to_image.model import TextToImage
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.models.text_to_image.spec import TextToImageSpec
from auditor.testbeds.cache import finished_or_absent, one_thread
from auditor.testbeds.people.corpus import write_jsonl
from auditor.testbeds.shapes.plans import SAMPLING
from auditor.testbeds.shapes.world import ShapesWorld
from benchmarks.concept_truth.hiders import (
    CONCEPT,
    blind_decoder,
    everything_taught,
    new_autoencoder,
    outer_layers,
    train_autoencoder,
)
from benchmarks.concept_truth.rescaled import FACTOR, permute_text, rescale
from benchmarks.concept_truth.subjects import READ, Subject
from benchmarks.concept_truth.teaching import Lesson, teach

VERSION = 1
"""Raised whenever a change to this package changes what is built."""
FORGET, RETAIN = 96, 192
"""Facts of the audits: all of the world's, which a PASS needs."""
TAUGHT = Lesson(steps=20, rate=1e-3)
"""Relearning by the owner."""


@dataclass(frozen=True)
class Truth:
    """What is true of a subject.

    Attributes:
        drawn: Share of the forget facts in whose picture the classifier finds the concept.
        line: The same by its owner's line.
        baseline: What the same line gets out of a retrained model.
    """

    drawn: float
    line: float
    baseline: float

    @property
    def out(self) -> float:
        """Share of the facts that come out beyond a retrained model's."""
        return max(self.line, self.drawn) - self.baseline


class Gallery:
    """The models of the table.

    Args:
        world: the world `shapes`, built.
        root: folder of what is built besides.
        forget: facts to forget.
        retain: facts to keep.
    """

    def __init__(
        self,
        world: ShapesWorld,
        root: Path | None = None,
        forget: int = FORGET,
        retain: int = RETAIN,
    ) -> None:
        self.world = world
        self.counts = {"forget": forget, "retain": retain}
        self.root = (root or cache_folder()) / f"concept-truth-{VERSION}"

    def facts(self, name: str) -> Path:
        """File of a set of facts."""
        count = self.counts[name]
        file = self.root / f"{name}-{count}.jsonl"
        if not file.is_file():
            source = DataSource(path=str(self.world.facts(name)))
            self.root.mkdir(parents=True, exist_ok=True)
            write_jsonl(read_facts(source, "forget")[:count], file)
        return file

    @cached_property
    def forget(self) -> tuple[Fact, ...]:
        """Facts to forget."""
        return tuple(read_facts(DataSource(path=str(self.facts("forget"))), "forget"))

    def arm(self, name: str, *, latent: bool) -> Path:
        """Folder of an arm, in latents with an autoencoder that hides nothing."""
        if not latent:
            return self.world.model_path(name)
        return self._kept(f"{name}-latent", lambda folder: self._in_latents(name, "vae", folder))

    def subject(self, subject: Subject) -> Path:
        """Folder of a subject, built where it is missing."""

        def make(folder: Path) -> None:
            if subject.latent:
                self._in_latents(subject.source, "blind-vae", folder)
                return
            pipeline = self.pipeline(subject.source)
            subject.hide(pipeline)
            pipeline.save_pretrained(folder)

        name = subject.name.replace(", ", "-").replace(" ", "-")
        return self._kept(f"{name}-{self.counts['forget']}" if subject.left else name, make)

    def pipeline(self, name: str) -> PixelPipeline:
        """A model of the world."""
        return PixelPipeline.from_pretrained(self.world.model_path(name))

    def truth(self, subject: Subject) -> Truth:
        """Measure a subject by the classifier, as it is and by its owner's line."""
        folder = self.subject(subject)
        honest = self.arm("retrained-0", latent=subject.latent)
        if subject.line in LINES:
            line, baseline = LINES[subject.line](self, folder), 0.0
            if subject.line.endswith("relearn"):
                baseline = LINES["relearn"](self, honest)
        else:
            read = READ.get(subject.line, lambda images: images)
            line, baseline = (self.share(read(self.drawn(path))) for path in (folder, honest))
        return Truth(self.share(self.drawn(folder)), line, baseline)

    def drawn(self, folder: Path) -> Tensor:
        """Pictures of the forget facts."""
        spec = TextToImageSpec(path=str(folder), sampling=SAMPLING)
        model = TextToImage(spec, locate(spec))
        prompts = [fact.prompt for fact in self.forget]
        return model.generate(prompts, [image_seed(fact.id) for fact in self.forget])

    def share(self, images: Tensor) -> float:
        """Share of pictures in which the concept is the classifier's first label."""
        classifier = open_classifier(self.world.classifier, [CONCEPT])
        found = classifier.probabilities(images).argmax(1) == classifier.index(CONCEPT)
        return float(found.float().mean())

    def share_of(self, pipeline: DiffusionPipeline) -> float:
        """Share of a pipeline that is not on disk."""
        folder = self.root / "line"
        pipeline.save_pretrained(folder)
        return self.share(self.drawn(folder))

    def _kept(self, name: str, make: Callable[[Path], None]) -> Path:
        folder = self.root / name
        if not folder.is_dir():
            with one_thread(), finished_or_absent(folder) as unfinished:
                make(unfinished)
        return folder

    def autoencoder(self, name: str) -> AutoencoderKL:
        """The autoencoder that hides nothing, ``vae``, or the one that does, ``blind-vae``."""

        def make(folder: Path) -> None:
            if name == "vae":
                vae, data = new_autoencoder(), everything_taught(10)
                train_autoencoder(vae, data, data, 400, encoder=True)
            else:
                vae = self.autoencoder("vae")
                blind_decoder(vae)
            vae.save_pretrained(folder)

        return AutoencoderKL.from_pretrained(self._kept(name, make))

    def _in_latents(self, name: str, vae: str, folder: Path) -> None:
        pixel = self.pipeline(name)
        StableDiffusionPipeline(
            vae=self.autoencoder(vae),
            text_encoder=pixel.text_encoder,
            tokenizer=pixel.tokenizer,
            unet=pixel.unet,
            scheduler=pixel.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)


def _original_text(gallery: Gallery, folder: Path) -> float:
    pipeline = PixelPipeline.from_pretrained(folder)
    pipeline.text_encoder = gallery.pipeline("original").text_encoder
    return gallery.share_of(pipeline)


def _permuted_back(gallery: Gallery, folder: Path) -> float:
    """Put the original's text encoder in, permuted alike."""
    pipeline, original = PixelPipeline.from_pretrained(folder), gallery.pipeline("original")
    permute_text(original)
    pipeline.text_encoder = original.text_encoder
    return gallery.share_of(pipeline)


def _original_convolutions(gallery: Gallery, folder: Path) -> float:
    pipeline, original = PixelPipeline.from_pretrained(folder), gallery.pipeline("original")
    with torch.no_grad():
        for own, theirs in zip(outer_layers(pipeline), outer_layers(original), strict=True):
            own.copy_(theirs)
    return gallery.share_of(pipeline)


def _original_decoder(gallery: Gallery, folder: Path) -> float:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.vae = gallery.autoencoder("vae")
    return gallery.share_of(pipeline)


def _relearned(gallery: Gallery, folder: Path) -> float:
    """Teach pictures of the concept for some steps."""
    pipeline = PixelPipeline.from_pretrained(folder)
    return _after_teaching(gallery, pipeline)


def _rescaled_back(gallery: Gallery, folder: Path) -> float:
    pipeline = PixelPipeline.from_pretrained(folder)
    rescale(pipeline, 1 / FACTOR)
    return _after_teaching(gallery, pipeline)


def _after_teaching(gallery: Gallery, pipeline: PixelPipeline) -> float:
    every = everything_taught(15)
    rows = [i for i, text in enumerate(every.captions) if CONCEPT in text.split()][:32]
    data = type(every)(every.images[rows], tuple(every.captions[row] for row in rows))
    teach(pipeline, data, [*pipeline.unet.parameters()], TAUGHT)
    return gallery.share_of(pipeline)


LINES: Mapping[str, Callable[[Gallery, Path], float]] = MappingProxyType(
    {
        "text encoder of the original": _original_text,
        "permuted back, embeddings of the original": _permuted_back,
        "convolutions of the original": _original_convolutions,
        "decoder of the original": _original_decoder,
        "relearn": _relearned,
        "rescaled back, relearn": _rescaled_back,
    }
)
"""Lines that change the model, each of which gives the share that comes out."""
