"""Low-rank adapters of text-to-image models, merged: W + (alpha / r) B A (arXiv 2106.09685)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor, nn

from auditor.core.errors import AuditorError
from auditor.models.checkpoint_files import read_json
from auditor.models.text_to_image.state_dicts import metadata
from auditor.models.text_to_image.tensor_names import RESPELLINGS, listed

_FACTOR = re.compile(
    r"(?P<layer>.+?)[._](?:(?P<down>lora_A|lora\.down|lora_linear_layer\.down)"
    r"|lora_B|lora\.up|lora_linear_layer\.up)\.weight"
)
_ALPHA = re.compile(r"(?P<layer>.+?)\.alpha")
_UNSUPPORTED = ("use_dora", "use_rslora", "lora_bias", "modules_to_save", "target_parameters")


@dataclass(frozen=True)
class LowRank:
    """The update of one layer."""

    down: Tensor
    """[r, in] of a linear layer, [r, in, h, w] of a convolution."""
    up: Tensor
    """[out, r], or [out, r, 1, 1]."""
    alpha: float

    @property
    def delta(self) -> Tensor:
        """What is added to the layer's weight, float32 of its shape."""
        rank = self.down.shape[0]
        down, up = self.down.float().flatten(1), self.up.float().flatten(1)
        return (self.alpha / rank) * (up @ down).reshape(self.up.shape[0], *self.down.shape[1:])


def is_lora(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict holds factors of a low-rank adapter."""
    return any("lora" in name for name in tensors)


def low_ranks(tensors: Mapping[str, Tensor], file: Path, config: Path | None) -> dict[str, LowRank]:
    """Sort an adapter's tensors by layer.

    Args:
        tensors: in the names of diffusers or PEFT.
        file: where they come from; its header may hold the adapter's settings.
        config: ``adapter_config.json``, where there is one.

    Returns:
        The layer's name as the file has it (``unet.down_blocks.0.….to_k``) to its update.

    Raises:
        AuditorError: an unknown key, half a pair, or a variant of LoRA that is not merged here.
    """
    pairs: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, float] = {}
    unknown = []
    for name, tensor in tensors.items():
        plain = name.removeprefix("base_model.model.")
        if match := _FACTOR.fullmatch(plain):
            side = "down" if match["down"] else "up"
            pairs.setdefault(match["layer"], {})[side] = tensor
        elif match := _ALPHA.fullmatch(plain):
            alphas[match["layer"]] = float(tensor)
        else:
            unknown.append(name)
    if unknown := [*unknown, *(f"{layer}.alpha" for layer in alphas.keys() - pairs.keys())]:
        raise AuditorError(
            f"{file} holds keys that are no factors of a LoRA: {', '.join(sorted(unknown)[:5])}. "
            "LoRAs of diffusers and PEFT are merged; kohya's names, DoRA and LoKr are not: convert "
            "it, or give the merged model."
        )
    if half := sorted(layer for layer, pair in pairs.items() if len(pair) < 2):
        raise AuditorError(f"{file} lacks one factor of: {', '.join(half[:5])}.")
    settings = _settings(file, config)
    found = {}
    for layer, pair in pairs.items():
        down, up = pair["down"], pair["up"]
        if down.ndim not in (2, 4) or up.ndim != down.ndim or up.shape[1] != down.shape[0]:
            raise AuditorError(
                f"{file}: the factors of {layer} do not fit each other: {list(down.shape)} and "
                f"{list(up.shape)}."
            )
        alpha = alphas.get(layer)
        found[layer] = LowRank(down, up, _alpha(settings, layer, down) if alpha is None else alpha)
    return found


def _settings(file: Path, config: Path | None) -> dict[str, Any]:
    if config is not None:
        settings = read_json(config)
    else:
        said = metadata(file).get("lora_adapter_metadata", "{}")
        try:
            settings = json.loads(said)
        except json.JSONDecodeError as error:
            raise AuditorError(f"{file}: its LoRA settings are not valid JSON.") from error
        if not isinstance(settings, dict):
            raise AuditorError(f"{file}: its LoRA settings are no JSON object.")
    if settings.get("peft_type", "LORA") != "LORA":
        raise AuditorError(f"{config or file} is a {settings['peft_type']}; a LoRA is expected.")
    for name in _UNSUPPORTED:
        if any(v for k, v in settings.items() if k.rpartition(".")[2] == name):
            raise AuditorError(
                f"{config or file} uses {name}, which is not merged here; give the merged model."
            )
    return settings


def _alpha(settings: Mapping[str, Any], layer: str, down: Tensor) -> float:
    """The layer's alpha: its pattern's, the adapter's, or the rank (a scale of 1)."""
    component, _, inner = layer.partition(".")
    for prefix, name in ((f"{component}.", inner), ("", layer)):
        patterns = settings.get(f"{prefix}alpha_pattern") or {}
        alpha = settings.get(f"{prefix}lora_alpha")
        if patterns or alpha is not None:
            fallback = down.shape[0] if alpha is None else alpha
            return float(patterns.get(get_pattern_key(patterns.keys(), name), fallback))
    return float(down.shape[0])


def merge_all(updates: Mapping[str, LowRank], parts: Mapping[str, nn.Module], file: Path) -> str:
    """Add each update to its layer's weight, rounded once to the weight's type.

    Raises:
        AuditorError: as :func:`check_foreign`, or an update is not finite, or all are zero.
    """
    layers = check_foreign(updates, parts, file)
    if not any(update.delta.any() for update in updates.values()):
        raise AuditorError(f"{file} changes nothing: all its {len(updates)} updates are zero.")
    for name, layer in layers.items():
        if not torch.isfinite(updates[name].delta).all():
            raise AuditorError(f"{file}: the update of {name} is not finite.")
        with torch.no_grad():
            delta = updates[name].delta.to(layer.weight.device)
            layer.weight.copy_(layer.weight.float() + delta)
    return f"a LoRA of {len(updates)} layers was merged"


def check_foreign(
    updates: Mapping[str, LowRank], parts: Mapping[str, nn.Module], file: Path
) -> dict[str, nn.Linear | nn.Conv2d]:
    """The layer that each update belongs to.

    Raises:
        AuditorError: there is none, or it has another shape; names it.
    """
    known: dict[str, nn.Linear | nn.Conv2d] = {
        name: layer
        for part, network in reversed(list(parts.items()))  # a bare name is the UNet's
        for inner, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        for spelling in {respell(inner) for respell in RESPELLINGS}
        for name in (f"{part}.{spelling}", spelling)
    }
    if unknown := sorted(updates.keys() - known.keys()):
        raise AuditorError(
            f"{file} does not fit the pipeline: it changes {len(unknown)} unknown layer(s): "
            f"{listed(unknown)}."
        )
    layers = {name: known[name] for name in updates}
    if len(set(layers.values())) < len(layers):
        raise AuditorError(f"{file} changes a layer twice, under two names.")
    other = [
        f"{name} is {list(updates[name].delta.shape)}, not {list(layer.weight.shape)}"
        for name, layer in layers.items()
        if updates[name].delta.shape != layer.weight.shape
    ]
    if other:
        raise AuditorError(f"{file} does not fit the pipeline: {listed(other)}.")
    return layers
