"""Text-to-image diffusion models under audit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from auditor.models.batching import run_batched
from auditor.models.checkpoint_files import read_json
from auditor.models.manifest import Location
from auditor.models.memory import release_memory, weak_references
from auditor.models.model import AuditedModel
from auditor.models.preserve import preserve_weights, unchanged_weights
from auditor.models.spec import TOKEN_BUDGET
from auditor.models.text_to_image.checks import hashed_pipeline, image_device
from auditor.models.text_to_image.denoising import denoise, first_noise, guided
from auditor.models.text_to_image.erasers import open_eraser
from auditor.models.text_to_image.forward_process import ForwardProcess, process_of
from auditor.models.text_to_image.latent_space import LatentSpace
from auditor.models.text_to_image.layouts import Denoiser, Given
from auditor.models.text_to_image.parts import Parts, load_parts, preserve_parts, write_pipeline
from auditor.models.text_to_image.redrawing import Redrawing
from auditor.models.text_to_image.replacement_files import find_replacement
from auditor.models.text_to_image.replacements import apply
from auditor.models.text_to_image.spec import INDEX, TextToImageSpec
from auditor.models.text_to_image.text import Text, stacked
from auditor.models.text_to_image.text_encoding import PromptReader, encode


class TextToImage(AuditedModel):
    """A diffusion model that draws from text, in latents or in pixels.

    Its safety checker is set aside: an audit asks what the weights know. An inference-time eraser
    of its spec is at work in whatever it draws, and in nothing else. The meter's forward
    tokens are rows through the denoiser, a UNet or a transformer: the scheduler's steps x images,
    twice with guidance; a row whose gradient may be taken counts three times. A batch's token
    budget holds the positions (height x width of the denoiser's input) of all its rows.
    """

    spec: TextToImageSpec

    def __init__(
        self,
        spec: TextToImageSpec,
        location: Location,
        token_budget: int = TOKEN_BUDGET,
        tick: Callable[[int], None] = lambda n: None,
    ) -> None:
        super().__init__(spec, location)
        self.token_budget = token_budget
        self._tick = tick
        self._opened: Parts | None = None
        self._networks: nn.ModuleDict | None = None

    @property
    def parts(self) -> Parts:
        """The pipeline's components, with the replacement in place."""
        if self._opened is None:
            files = hashed_pipeline(self.spec, self.location)
            with self._loading():
                parts = load_parts(files, self.spec, image_device(self.spec))
                if self.location.replacement:
                    found = find_replacement(str(self.location.replacement), self.spec.allow_pickle)
                    apply(found, parts.networks)
            self._opened = parts
        return self._opened

    def _hashed_files(self, location: Location) -> Mapping[str, Path]:
        """Return the files of the pipeline and its replacement, without erasers."""
        found = dict(hashed_pipeline(self.spec, location).files)
        if location.replacement:
            found |= find_replacement(str(location.replacement), self.spec.allow_pickle).named
        return found

    @property
    def network(self) -> nn.ModuleDict:
        """Networks that an erasure changes.

        They are ``unet`` or ``transformer``, and the text encoders.
        """
        if self._networks is None:
            self._networks = nn.ModuleDict(self.parts.networks).eval()
        return self._networks

    @property
    def denoiser(self) -> Denoiser:
        """Network that predicts noise, or the velocity of a flow."""
        return self.parts.denoiser

    @property
    def text_encoder(self) -> PreTrainedModel:
        """The (first) text encoder."""
        return self.parts.text_encoders[0]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The (first) text encoder's tokenizer."""
        return self.parts.tokenizers[0]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the denoiser's input.

        They are those of latents, or of an image.
        """
        layout = self.parts.layout
        return self._space().input_shape(layout.usual_size, layout.patch, self.spec.drawing)

    @property
    def process(self) -> ForwardProcess:
        """How pictures are noised in training, and what is then predicted."""
        return process_of(self.parts.scheduler)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return the states of prompts that attention reads, [n, length, width].

        A prompt that is too long is cut.
        """
        return self.text(prompts).hidden

    def text(self, prompts: Sequence[str]) -> Text:
        """Return the denoiser's text for prompts, pooled text included."""
        text = encode(self.parts, prompts, self.token_budget)
        return text.to(self.denoiser.device, self.denoiser.dtype)

    def empty_text(self) -> Text:
        """Return the denoiser's text without text, for guidance.

        It is a single row.

        It is the empty prompt's, or zeros where SDXL was trained with those (2307.01952's pipeline
        says so: ``force_zeros_for_empty_prompt``).
        """
        index = read_json(self.location.model / INDEX)
        return self.parts.layout.without_text(self.text([""]), index)

    def generate(
        self,
        prompts: Sequence[str] | None,
        seeds: Sequence[int],
        *,
        embeddings: Tensor | Text | None = None,
        redrawing: Redrawing | None = None,
    ) -> Tensor:
        """Draw images.

        But for rounding, each depends on its prompt and seed alone.

        Args:
            prompts: one an image; None where ``embeddings`` are given.
            seeds: one an image.
            embeddings: encoded text instead of the prompts' own. Of states for attention alone,
                [n, length, width], the pooled text stays that of the prompts, or of the empty
                prompt without any.
            redrawing: pictures that are drawn again, one an image; by default each image is drawn
                from noise alone.

        Returns:
            [n, 3, height, width] float32 in [0, 1] on the CPU.

        Raises:
            MeasurementError: an image is not finite, or alone does not fit into memory.
        """
        text = self._given(prompts, embeddings, len(seeds))
        if redrawing is not None and len(redrawing.images) != len(seeds):
            raise ValueError(f"{len(redrawing.images)} pictures to redraw for {len(seeds)} images")
        space, settings = self._space(), self.spec.drawing
        shape = self.input_shape
        if not seeds:
            return torch.zeros(0, 3, shape[1] * space.factor, shape[2] * space.factor)
        told = self.parts.layout.embeds_guidance
        eraser = None if self.spec.eraser is None else open_eraser(self.spec.eraser)
        guides = (settings.guidance > 1 and not told) or eraser is not None
        nothing = self.empty_text() if guides else None
        others = [] if eraser is None else [self.text([other]) for other in eraser.texts]
        copies = 1 if nothing is None else 2 + len(others)
        replaced = None
        if eraser is not None and eraser.reads_prompts and embeddings is None:
            reader = PromptReader(self.parts, self.token_budget)
            replaced = eraser.replaced(prompts or [], text.hidden, reader)

        def prepare(schedule: Any) -> None:
            positions, device = shape[1] * shape[2], self.denoiser.device
            self.parts.layout.set_timesteps(schedule, settings.steps, positions, device)

        def run(batch: list[int]) -> list[Tensor]:
            own = text.rows(batch)
            guide = None if eraser is None else eraser.guide()
            noise, generators = first_noise(shape, [seeds[i] for i in batch])
            steps = count()

            def predict(sample: Tensor, timestep: Tensor) -> Tensor:
                chosen = own if replaced is None else replaced.at(next(steps), own, batch)
                if nothing is None:
                    return self._denoised(sample, timestep, chosen)
                further = [other.repeated(len(batch)) for other in others]
                chosen = stacked([nothing.repeated(len(batch)), chosen, *further])
                output = self._denoised(torch.cat([sample] * copies), timestep, chosen)
                if guide is None:
                    return guided(output, settings.guidance)
                without, with_text, *rest = output.chunk(copies)
                return guide.guided(without, with_text, rest, settings.guidance)

            with torch.inference_mode():
                noise = noise.to(self.denoiser.device, self.denoiser.dtype)
                start = None
                if redrawing is not None:
                    start = redrawing.start(self.latents(redrawing.images[batch]))
                drawn = denoise(self.parts.scheduler, prepare, noise, generators, predict, start)
                return list(space.decode(drawn).cpu())

        rows = shape[1] * shape[2] * copies
        return torch.stack(run_batched([rows] * len(seeds), self.token_budget, run, self._tick))

    def latents(self, images: Tensor) -> Tensor:
        """Return the denoiser's input for images.

        The images are [n, 3, h, w] in [0, 1].

        Of the distribution of latents it is the mode.
        """
        with torch.no_grad():
            images = images.to(self.denoiser.device)
            return self._space().encode(images).to(self.denoiser.dtype)

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: Tensor | Text,
    ) -> Tensor:
        """Return the noise that is predicted, or the velocity of a flow.

        It is without guidance, and has gradients where they are enabled. A denoiser that is told
        the weight of guidance is told that of drawings.

        Args:
            noisy: the denoiser's input, [n, *input_shape].
            timesteps: timesteps of training, [n] integers.
            text: n encoded prompts, or states for attention alone, [n, length, width], with which
                the empty prompt's pooled text goes.

        Returns:
            [n, *input_shape], converted to noise where a UNet predicts v or the image.
        """
        device, dtype = self.denoiser.device, self.denoiser.dtype
        text = self._given(None, text, len(noisy))  # a denoiser in training may be wider
        timesteps, noisy = timesteps.to(device), noisy.to(device, dtype)
        process = self.process
        output = self._denoised(noisy, process.told(timesteps), text)
        return process.prediction(output, noisy, timesteps)

    @contextmanager
    def preserve_weights(self) -> Iterator[nn.Module]:
        """Lend denoiser and text encoders to an attack; exactly restored afterwards.

        No weight asks for a gradient until the attack says which.
        """
        with preserve_parts(self.parts, preserve_weights(self.network)) as model:
            yield model

    @contextmanager
    def unchanged_weights(self) -> Iterator[nn.Module]:
        """Show denoiser and text encoders to an attack that leaves their weights."""
        with preserve_parts(self.parts, unchanged_weights(self.network)) as model:
            yield model

    @contextmanager
    def with_denoiser(self, denoiser: Denoiser) -> Iterator["TextToImage"]:
        """Yield the same model with another denoiser.

        The other one may be quantized, say; all else is shared.
        """
        other = TextToImage(self.spec, self.location, self.token_budget, self._tick)
        other.meter = self.meter
        other._opened = replace(self.parts, denoiser=denoiser.eval())
        try:
            yield other
        finally:
            other.close()

    @contextmanager
    def without_eraser(self) -> Iterator["TextToImage"]:
        """Yield the same model without its eraser; all else is shared."""
        spec = self.spec.model_copy(update={"eraser": None})
        other = TextToImage(spec, self.location, self.token_budget, self._tick)
        other.meter = self.meter
        other._opened = self.parts
        yield other

    def directory(self, scratch: Path) -> Path:
        """Return a directory with the audited weights.

        A replacement is put in place, in ``scratch``.
        """
        pipeline = hashed_pipeline(self.spec, self.location)
        renamed = any(component.renamed for component in pipeline.components.values())
        if self.location.replacement is None and not renamed:
            return self.location.model
        written = scratch / "pipeline"
        if not (written / INDEX).exists():
            write_pipeline(self.parts, self.location.model, written)
        return written

    def close(self) -> None:
        """Let go of the weights."""
        parts = () if self._opened is None else tuple(self._opened.all.values())
        let_go = weak_references(part for part in parts if isinstance(part, nn.Module))
        del parts  # else they would outlive the model
        self._opened = self._networks = None
        release_memory(let_go)

    def _space(self) -> LatentSpace:
        return LatentSpace(self.parts.vae)

    def _given(
        self, prompts: Sequence[str] | None, embeddings: Tensor | Text | None, count: int
    ) -> Text:
        if prompts is None and embeddings is None:
            raise ValueError("give prompts or embeddings")
        states = embeddings.hidden if isinstance(embeddings, Text) else embeddings
        for given in (prompts, states):
            if given is not None and len(given) != count:
                raise ValueError(f"{len(given)} prompts or embeddings for {count} images")
        if embeddings is None:
            return self.text(prompts or [])
        if isinstance(embeddings, Tensor):
            pooled = None
            if len(self.parts.text_encoders) > 1:
                pooled = self.text(prompts if prompts is not None else [""] * count).pooled
            embeddings = Text(embeddings, pooled)
        return embeddings.to(self.denoiser.device, self.denoiser.dtype)

    def _denoised(self, sample: Tensor, time: Tensor, text: Text) -> Tensor:
        self.meter.forward_tokens += len(sample) * (3 if torch.is_grad_enabled() else 1)
        height, width = (side * self._space().factor for side in sample.shape[-2:])
        guidance = self.spec.drawing.guidance
        given = Given(sample, time, text, (height, width), guidance)
        return self.parts.layout.run(self.denoiser, given)
