"""Suppression of attention by one LoRA for each concept.

It is the second step of MACE, arXiv 2403.06135.

The pixels that show the concept are made to look away from the words that name it. The masks
say which pixels those are; the paper segments images of the original model, the testbed's
renderer knows them.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor

from auditor.core.progress import Progress, SilentProgress
from auditor.unlearning.erasure.attention_maps import (
    AttentionMaps,
    masked_attention,
    recorded_attention,
)
from auditor.unlearning.erasure.cross_attention import key_value_names
from auditor.unlearning.erasure.denoising import predicted_noise
from auditor.unlearning.erasure.encoded_prompts import EncodedPrompt
from auditor.unlearning.erasure.settings import MaceSettings


@dataclass(frozen=True)
class MaskedImages:
    """Images of a concept, and where in them it is.

    Attributes:
        images: Images in the UNet's space (pixels in [-1, 1], or scaled latents), [n, channels,
            height, width].
        prompts: Prompts that describe them, n, each with the concept as its subject.
        masks: True or 1 where the concept is, [n, height, width] at any common resolution.
    """

    images: Tensor
    prompts: Sequence[EncodedPrompt]
    masks: Tensor

    def __post_init__(self) -> None:
        """Refuse images that lack a prompt or a mask."""
        if not len(self.images) == len(self.prompts) == len(self.masks) > 0:
            raise ValueError(
                f"{len(self.images)} images, {len(self.prompts)} prompts, {len(self.masks)} masks: "
                "give as many of each, at least one"
            )


@dataclass(frozen=True)
class LowRank:
    """The change ``B A`` to one matrix.

    Attributes:
        down: A, [rank, width].
        up: B, [out, rank].
    """

    down: Tensor
    up: Tensor

    def product(self) -> Tensor:
        """``B A``, [out, width], float64, on the CPU."""
        return self.up.to("cpu", torch.float64) @ self.down.to("cpu", torch.float64)


def focal_density(timesteps: int, settings: MaceSettings) -> Tensor:
    """Probabilities of timesteps 0 to ``timesteps - 1``: concept-focal importance sampling.

    Proportional to ``sigmoid(g (t - t1)) - sigmoid(g (t - t2))``, arXiv 2403.06135: mostly
    between t1 and t2, where an image's concept has been settled but not its details. Uniform
    if the settings say so.

    Returns:
        [timesteps], float64, sums to 1.
    """
    t = torch.arange(timesteps, dtype=torch.float64)
    steepness = settings.focal_steepness
    density = torch.sigmoid(steepness * (t - settings.focal_start)) - torch.sigmoid(
        steepness * (t - settings.focal_stop)
    )
    if not settings.focal:
        density = torch.ones_like(t)
    return density / density.sum()


def suppressed_tokens(prompts: Sequence[EncodedPrompt], after_subject: bool) -> Tensor:
    """Return the tokens to lose attention, bool [batch, length].

    The subject's own, and with ``after_subject`` all that follow, which have read it.
    """
    tokens = torch.zeros(len(prompts), len(prompts[0].states), dtype=torch.bool)
    for row, prompt in zip(tokens, prompts, strict=True):
        stop = len(row) if after_subject else prompt.subject.stop
        row[prompt.subject.start : stop] = True
    return tokens


def suppression_loss(maps: AttentionMaps, masks: Tensor, tokens: Tensor) -> Tensor:
    """Return ``sum over layers |A * M|_F``.

    It is the attention of masked pixels to suppressed tokens.

    arXiv 2403.06135. Heads are averaged first; images of a batch are averaged last.

    Args:
        maps: Maps of one run.
        masks: [batch, height, width].
        tokens: bool [batch, length].

    Returns:
        A scalar.
    """
    layers = masked_attention(maps, masks, tokens)
    norms = [torch.linalg.vector_norm(layer.mean(1), dim=(-2, -1)) for layer in layers]
    return torch.stack(norms).sum(0).mean()


def train_low_rank(
    unet: UNet2DConditionModel,
    scheduler: SchedulerMixin,
    concept: MaskedImages,
    settings: MaceSettings,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, LowRank]:
    """Train one concept's LoRA on all key and value matrices.

    Args:
        unet: The refined UNet, left as it was.
        scheduler: Its ``add_noise`` makes the training images.
        concept: What is erased.
        settings: Rank, rate, steps, timesteps.
        seed: Seed of initial weights, order, timesteps and noise.
        progress: Told about every step, with the loss.

    Returns:
        By name of the matrix in the state dict.
    """
    names = key_value_names(unet)
    modules = [name.removesuffix(".weight") for name in names]
    student = copy.deepcopy(unet).requires_grad_(False).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student.add_adapter(
            LoraConfig(r=settings.rank, lora_alpha=settings.rank, target_modules=modules)
        )
    adapters = {
        name: weight for name, weight in student.named_parameters() if ".lora_" in f".{name}"
    }
    optimizer = torch.optim.AdamW(
        [weight.requires_grad_(True) for weight in adapters.values()],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    draws = torch.Generator().manual_seed(seed)
    density = focal_density(scheduler.config.num_train_timesteps, settings)
    tokens = suppressed_tokens(concept.prompts, settings.after_subject).to(unet.device)
    images, masks = concept.images.to(unet.device), concept.masks.to(unet.device)
    task = (progress or SilentProgress()).task("MACE: LoRA", settings.steps)
    with recorded_attention(student) as maps, task as done:
        for _ in range(settings.steps):
            rows = torch.randint(len(images), (settings.batch_size,), generator=draws)
            times = torch.multinomial(density, len(rows), replacement=True, generator=draws)
            noise = torch.randn(len(rows), *images.shape[1:], generator=draws).to(images)
            noisy = scheduler.add_noise(images[rows], noise, times.to(unet.device))
            predicted_noise(student, noisy, times, [concept.prompts[int(row)] for row in rows])
            loss = suppression_loss(maps, masks[rows], tokens[rows])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            done(1, note=f"loss {loss.item():.3g}")
    return _low_rank(adapters, modules)


def _low_rank(adapters: Mapping[str, Tensor], modules: Sequence[str]) -> dict[str, LowRank]:
    def of(module: str, part: str) -> Tensor:
        return adapters[f"{module}.lora_{part}.default.weight"].detach().to("cpu", copy=True)

    return {f"{module}.weight": LowRank(of(module, "A"), of(module, "B")) for module in modules}
