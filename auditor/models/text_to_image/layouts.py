"""Layouts of pipelines: what their denoiser is given.

A layout is known by the class of the denoiser. It says which states of the text encoders are
joined to the denoiser's text, and how a deployer's pipeline calls the denoiser and its scheduler.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from auditor.models.text_to_image.text import Text

Denoiser = UNet2DConditionModel | SD3Transformer2DModel | FluxTransformer2DModel
"""Networks that predict the noise, or the velocity of a flow, in a noisy picture."""

_FLUX_SIZE = 128
"""Side of the latents that Flux draws unasked, as its pipeline has it."""
_FLUX_PATCH = 2
"""Latents along each side of a patch that Flux takes as one."""


class Given(NamedTuple):
    """What a denoiser is given in one step."""

    sample: Tensor
    """Noisy input, [n, channels, height, width]."""
    time: Tensor
    """What it is told of the noise in it, a timestep or [n] of them."""
    text: Text
    """n encoded prompts."""
    size: tuple[int, int]
    """Height and width of the whole image in pixels."""
    guidance: float
    """Weight of guidance, for denoisers that are told it."""


class Layout(ABC):
    """How one class of denoisers is used.

    Args:
        config: Configuration of the denoiser.
    """

    component: ClassVar[str]
    """Name of the denoiser in a pipeline."""
    flow: ClassVar[bool]
    """Whether it predicts the velocity of a flow (arXiv 2210.02747), not noise."""
    text_length: ClassVar[int] = 0
    """Tokens that a T5 encoder is given of a prompt, where there is one."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def usual_size(self) -> int | tuple[int, int] | None:
        """Side or sides of the input that the denoiser was made for."""
        size: int | tuple[int, int] | None = self.config.sample_size
        return size

    @property
    def patch(self) -> int:
        """Positions along each side that the denoiser takes as one."""
        return 1

    @property
    def embeds_guidance(self) -> bool:
        """Whether the denoiser is told the weight of guidance.

        Those are that were distilled from guided ones.
        """
        return False

    @abstractmethod
    def needs_states(self, encoders: int) -> bool:
        """Whether states of inner layers of the text encoders are used.

        Args:
            encoders: number of text encoders.
        """

    @abstractmethod
    def joined(self, outputs: Sequence[Any]) -> Text:
        """Join what the text encoders gave, one output an encoder."""

    def without_text(self, empty: Text, index: Mapping[str, Any]) -> Text:
        """Return the text of a drawing without text.

        Args:
            empty: the empty prompt's.
            index: the pipeline's ``model_index.json``.
        """
        return empty

    @abstractmethod
    def run(self, network: Any, given: Given) -> Tensor:
        """Return the denoiser's output, [n, channels, height, width].

        Args:
            network: the denoiser, or a copy that was changed.
            given: what it is given.
        """

    def set_timesteps(self, schedule: Any, steps: int, positions: int, device: Any) -> None:
        """Set a scheduler's timesteps as the layout's pipeline does.

        Args:
            schedule: the scheduler.
            steps: number of steps.
            positions: positions of the input, height times width.
            device: where the samples are.
        """
        schedule.set_timesteps(steps, device=device)


class UNetLayout(Layout):
    """Stable Diffusion 1 and 2, SDXL, and pixel space.

    SDXL is arXiv 2307.01952; in pixel space is the layout of the first without an autoencoder.

    One encoder gives its last hidden state; of two, the last but one of each are joined, and the
    second's projected text is the pooled one.
    """

    component = "unet"
    flow = False

    def needs_states(self, encoders: int) -> bool:
        """Of two encoders the last but one state is used."""
        return encoders == 2

    def joined(self, outputs: Sequence[Any]) -> Text:
        """Join the states of one or of two CLIP encoders."""
        if len(outputs) == 1:
            return Text(outputs[0].last_hidden_state)
        return Text(_side_by_side(outputs), outputs[1].text_embeds)

    def without_text(self, empty: Text, index: Mapping[str, Any]) -> Text:
        """Return the empty prompt's text, or SDXL's zeros."""
        zeros = index.get("force_zeros_for_empty_prompt", True)
        return empty.zeros() if zeros and empty.pooled is not None else empty

    def run(self, network: Any, given: Given) -> Tensor:
        """Run a UNet, which is told of no guidance."""
        output: Tensor = network(
            given.sample,
            given.time,
            encoder_hidden_states=given.text.hidden,
            added_cond_kwargs=given.text.added(*given.size),
            return_dict=False,
        )[0]
        return output


class _FlowLayout(Layout):
    """Transformers that predict the velocity of a flow."""

    component = "transformer"
    flow = True

    def set_timesteps(self, schedule: Any, steps: int, positions: int, device: Any) -> None:
        """Set noise levels.

        They are shifted by the size of the picture where the scheduler says so.
        """
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift  # costs seconds

        options = self._levels(schedule.config, steps)
        if schedule.config.use_dynamic_shifting:
            config = schedule.config
            options["mu"] = calculate_shift(
                positions // self.patch**2,
                config.base_image_seq_len,
                config.max_image_seq_len,
                config.base_shift,
                config.max_shift,
            )
        schedule.set_timesteps(steps, device=device, **options)

    def _levels(self, config: Any, steps: int) -> dict[str, Any]:
        return {}


class StableDiffusion3Layout(_FlowLayout):
    """Stable Diffusion 3 and 3.5 (arXiv 2403.03206).

    The last but one states of two CLIP encoders are joined side by side and padded to T5's width;
    T5's last state follows them. The pooled text is that of both CLIPs.
    """

    text_length = 256

    @property
    def patch(self) -> int:
        """Latents along each side of a patch."""
        return int(self.config.patch_size)

    def needs_states(self, encoders: int) -> bool:
        """The last but one state of the CLIP encoders is used."""
        return True

    def joined(self, outputs: Sequence[Any]) -> Text:
        """Join two CLIP encoders and T5."""
        *clips, t5 = outputs
        words, others = t5.last_hidden_state, _side_by_side(clips)
        padded = functional.pad(others, (0, words.shape[-1] - others.shape[-1]))
        pooled = [clip.text_embeds.to(others) for clip in clips]
        return Text(torch.cat([padded, words.to(padded)], dim=1), torch.cat(pooled, dim=-1))

    def run(self, network: Any, given: Given) -> Tensor:
        """Run the transformer, which is told of no guidance."""
        output: Tensor = network(
            hidden_states=given.sample,
            timestep=given.time.expand(len(given.sample)),
            encoder_hidden_states=given.text.hidden,
            pooled_projections=given.text.pooled,
            return_dict=False,
        )[0]
        return output


class FluxLayout(_FlowLayout):
    """Flux.1, with T5 for the words and CLIP for the pooled text.

    Latents are packed two by two.
    """

    text_length = 512

    @property
    def usual_size(self) -> int | tuple[int, int] | None:
        """Side of the latents, which the configuration does not say."""
        return _FLUX_SIZE

    @property
    def patch(self) -> int:
        """Latents along each side of a patch."""
        return _FLUX_PATCH

    @property
    def embeds_guidance(self) -> bool:
        """Whether it is Flux.1 [dev] or another distilled one."""
        return bool(self.config.guidance_embeds)

    def needs_states(self, encoders: int) -> bool:
        """Last states alone are used."""
        return False

    def joined(self, outputs: Sequence[Any]) -> Text:
        """Take CLIP's pooled text and T5's states."""
        clip, t5 = outputs
        return Text(t5.last_hidden_state, clip.pooler_output)

    def run(self, network: Any, given: Given) -> Tensor:
        """Run the transformer on packed latents."""
        sample, text = given.sample, given.text
        rows, columns = (side // _FLUX_PATCH for side in sample.shape[-2:])
        packed = functional.pixel_unshuffle(sample, _FLUX_PATCH).flatten(2).transpose(1, 2)
        places = torch.zeros(rows, columns, 3).to(sample)
        places[..., 1] += torch.arange(rows).to(sample)[:, None]
        places[..., 2] += torch.arange(columns).to(sample)
        told = None
        if self.embeds_guidance:
            told = torch.full(
                (len(sample),), given.guidance, dtype=torch.float32, device=sample.device
            )
        output: Tensor = network(
            hidden_states=packed,
            timestep=given.time.expand(len(sample)).to(sample.dtype) / _TIME_UNITS,
            guidance=told,
            pooled_projections=text.pooled,
            encoder_hidden_states=text.hidden,
            txt_ids=torch.zeros(text.hidden.shape[1], 3).to(sample),
            img_ids=places.view(-1, 3),
            return_dict=False,
        )[0]
        unpacked = output.transpose(1, 2).reshape(len(sample), -1, rows, columns)
        return functional.pixel_shuffle(unpacked, _FLUX_PATCH)

    def _levels(self, config: Any, steps: int) -> dict[str, Any]:
        if config.get("use_flow_sigmas"):
            return {}
        return {"sigmas": np.linspace(1.0, 1 / steps, steps)}


_TIME_UNITS = 1000
"""Timesteps that make up Flux's unit of time."""

LAYOUTS: Mapping[type[nn.Module], type[Layout]] = {
    UNet2DConditionModel: UNetLayout,
    SD3Transformer2DModel: StableDiffusion3Layout,
    FluxTransformer2DModel: FluxLayout,
}
"""Layout of each class of denoisers."""


def layout_of(denoiser: Any) -> Layout:
    """Return the layout of a denoiser's pipeline."""
    return LAYOUTS[type(denoiser)](denoiser.config)


def _side_by_side(outputs: Sequence[Any]) -> Tensor:
    """The last but one states of encoders, [n, length, widths together]."""
    states = [output.hidden_states[-2] for output in outputs]
    return torch.cat([state.to(states[0]) for state in states], dim=-1)
