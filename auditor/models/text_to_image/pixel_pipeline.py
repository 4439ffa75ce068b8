"""A diffusers pipeline that draws from text without an autoencoder, in pixels.

The folder that ``save_pretrained`` writes has the layout of a Stable Diffusion folder without
``vae``: ``model_index.json``, ``tokenizer``, ``text_encoder``, ``unet`` and ``scheduler``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.utils import numpy_to_pil
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer


class PixelPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers carries no types
    """Text to image in pixel space; called like a ``StableDiffusionPipeline``."""

    model_cpu_offload_seq = "text_encoder->unet"

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        unet: UNet2DConditionModel,
        scheduler: DDIMScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer, text_encoder=text_encoder, unet=unet, scheduler=scheduler
        )

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return cross-attention's input for each prompt, [n, length, width]."""
        ids = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )["input_ids"]
        hidden: Tensor = self.text_encoder(ids.to(self.text_encoder.device)).last_hidden_state
        return hidden

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        generator: Sequence[torch.Generator] | None = None,
        num_inference_steps: int = 15,
        guidance_scale: float = 1.0,
        prompt_embeds: Tensor | None = None,
        output_type: str = "pil",
    ) -> ImagePipelineOutput:
        """Draw one image a prompt.

        Args:
            prompt: One prompt or several; None where ``prompt_embeds`` are given.
            generator: One an image, on the CPU: an image then does not depend on the batch that
                it is drawn in. The global random state, if None.
            num_inference_steps: Steps of the scheduler.
            guidance_scale: Weight of classifier-free guidance (arXiv 2207.12598); 1 is none.
            prompt_embeds: Instead of prompts, [n, length, width] as :meth:`encode` gives.
            output_type: ``pil``, ``np`` [n, height, width, 3] or ``pt`` [n, 3, height, width],
                the arrays in [0, 1].

        Raises:
            ValueError: Not exactly one of prompts and embeddings is given, or another number of
                generators than of images.
        """
        if prompt is not None and prompt_embeds is None:
            prompt_embeds = self.encode([prompt] if isinstance(prompt, str) else prompt)
        elif prompt is not None or prompt_embeds is None:
            raise ValueError("give either `prompt` or `prompt_embeds`")
        embeddings = prompt_embeds.to(self.unet.device, self.unet.dtype)
        sample = self._noise(len(embeddings), generator).to(embeddings)
        guided = guidance_scale != 1
        if guided:
            nothing = self.encode([""]).to(embeddings).expand_as(embeddings)
            embeddings = torch.cat([nothing, embeddings])
        self.scheduler.set_timesteps(num_inference_steps, device=sample.device)
        sample = sample * self.scheduler.init_noise_sigma
        for timestep in self.progress_bar(self.scheduler.timesteps):
            seen = self.scheduler.scale_model_input(sample, timestep)
            noise = self.unet(
                torch.cat([seen, seen]) if guided else seen,
                timestep,
                encoder_hidden_states=embeddings,
            ).sample
            if guided:
                without, with_text = noise.chunk(2)
                noise = without + guidance_scale * (with_text - without)
            sample = self.scheduler.step(noise, timestep, sample).prev_sample
        return ImagePipelineOutput(images=_as(output_type, (sample.float() / 2 + 0.5).clamp(0, 1)))

    def _noise(self, count: int, generator: Sequence[torch.Generator] | None) -> Tensor:
        size = self.unet.config.sample_size
        shape = (self.unet.config.in_channels, size, size)
        if generator is None:
            return torch.randn(count, *shape)
        if len(generator) != count:
            raise ValueError(f"{len(generator)} generators for {count} images; give one an image")
        return torch.stack([torch.randn(shape, generator=each) for each in generator])


def _as(output_type: str, images: Tensor) -> Any:
    if output_type == "pt":
        return images
    array = images.permute(0, 2, 3, 1).cpu().numpy()
    return numpy_to_pil(array) if output_type == "pil" else array
