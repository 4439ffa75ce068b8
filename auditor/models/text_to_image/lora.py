"""Low-rank adapters of text-to-image models, merged into the weights.

The merged weight is W + (alpha / r) B A (arXiv 2106.09685).

Diffusers knows the names that trainers give to the factors, PEFT which alpha belongs to which
layer. Two things are held to here, which neither's ``load_lora_weights`` and ``fuse_lora`` do:
every tensor of a file is used, once, or the file is refused; and a weight is rounded once, to the
type that it has, while these round the factors and the update as well.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft
from diffusers.utils.state_dict_utils import StateDictType
from peft.utils.other import get_pattern_key
from torch import Tensor, nn

from auditor.core.errors import AuditorError
from auditor.models.checkpoint_files import read_json
from auditor.models.text_to_image.state_dicts import RESPELLINGS, listed, metadata

_FACTOR = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
_ALPHA = re.compile(r"(?P<layer>.+?)(?:\.lora_A\.weight)?\.alpha")
_UNSUPPORTED = ("use_dora", "use_rslora", "lora_bias", "modules_to_save", "target_parameters")


@dataclass(frozen=True)
class LowRank:
    """The update of one layer.

    Attributes:
        down: [r, in] of a linear layer, [r, in, h, w] of a convolution.
        up: [out, r], or [out, r, 1, 1].
        alpha: Times 1 / r the scale.
    """

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def delta(self) -> Tensor:
        """Sum to add to the layer's weight, float32 of its shape."""
        rank = self.down.shape[0]
        down, up = self.down.float().flatten(1), self.up.float().flatten(1)
        return (self.alpha / rank) * (up @ down).reshape(self.up.shape[0], *self.down.shape[1:])


def is_lora(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict holds factors of a low-rank adapter."""
    return any("lora" in name for name in tensors)


def merge_lora(updates: Mapping[str, LowRank], parts: Mapping[str, nn.Module], file: Path) -> None:
    """Add each update to its layer's weight.

    The sum is rounded once, to the weight's type.

    Args:
        updates: Updates as :func:`read_lora` gives them.
        parts: The denoiser and the text encoders, by their names in the pipeline.
        file: Where they come from.

    Raises:
        AuditorError: As :func:`check_lora`, or an update is not finite, or all are zero.
    """
    layers = check_lora(updates, parts, file)
    if not any(update.delta.any() for update in updates.values()):
        raise AuditorError(f"{file} changes nothing: all its {len(updates)} updates are zero.")
    for name, layer in layers.items():
        delta = updates[name].delta
        if not torch.isfinite(delta).all():
            raise AuditorError(f"{file}: the update of {name} is not finite.")
        with torch.no_grad():
            layer.weight.copy_(layer.weight.float() + delta.to(layer.weight.device))


def check_lora(
    updates: Mapping[str, LowRank], parts: Mapping[str, nn.Module], file: Path
) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the layer to which each update belongs.

    The networks may be on the device ``meta``.

    Raises:
        AuditorError: There is no such layer, it has another shape, or two updates are of one.
    """
    known: dict[str, nn.Linear | nn.Conv2d] = {
        name: layer
        for part, network in reversed(list(parts.items()))  # a bare name is the denoiser's
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
    if other := [
        f"{name} is {list(updates[name].delta.shape)}, not {list(layer.weight.shape)}"
        for name, layer in layers.items()
        if updates[name].delta.shape != layer.weight.shape
    ]:
        raise AuditorError(f"{file} does not fit the pipeline: {listed(other)}.")
    return layers


def read_lora(tensors: Mapping[str, Tensor], file: Path, config: Path | None) -> dict[str, LowRank]:
    """Sort an adapter's tensors by layer.

    Args:
        tensors: Tensors in the names of diffusers, PEFT or kohya.
        file: Where they come from; its header may hold the adapter's settings.
        config: ``adapter_config.json``, where there is one.

    Returns:
        The layer's name (``unet.down_blocks.0.….to_k``, or without the network) to its update.

    Raises:
        AuditorError: An unknown key, half a pair, or a variant of LoRA that is not merged here.
    """
    pairs, alphas = _by_layer(tensors, file)
    if half := sorted(layer for layer, pair in pairs.items() if len(pair) < 2):
        raise AuditorError(f"{file} lacks one factor of: {listed(half)}.")
    settings = _settings(file, config)
    found = {}
    for layer, pair in pairs.items():
        down, up = pair["A"], pair["B"]
        if down.ndim not in (2, 4) or up.ndim != down.ndim or up.shape[1] != down.shape[0]:
            raise AuditorError(
                f"{file}: the factors of {layer} do not fit each other: {list(down.shape)} and "
                f"{list(up.shape)}."
            )
        try:
            alpha = float(alphas[layer] if layer in alphas else _alpha(settings, layer, down))
        except (TypeError, ValueError, AttributeError, RuntimeError, re.error) as error:
            raise AuditorError(f"{config or file}: the alpha of {layer} is no number.") from error
        found[layer] = LowRank(down, up, alpha)
    return found


def _by_layer(
    tensors: Mapping[str, Tensor], file: Path
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor | float]]:
    """Return the factors of each layer by side, and its alpha.

    Alpha is given only where the tensors say it.
    """
    refused = AuditorError(
        f"{file} holds keys that are no factors of a LoRA, or stand for one twice, among: "
        f"{listed(sorted(tensors))}. LoRAs of diffusers, PEFT and kohya are merged; DoRA, LoHa and "
        "LoKr are not: give the merged model."
    )
    try:
        state, scales = StableDiffusionLoraLoaderMixin.lora_state_dict(dict(tensors))
    except (KeyError, ValueError, RuntimeError) as error:
        raise refused from error
    state = convert_unet_state_dict_to_peft(state | (scales or {}))
    state = convert_state_dict_to_peft(state, StateDictType.DIFFUSERS)
    pairs: dict[str, dict[str, Tensor]] = defaultdict(dict)
    alphas: dict[str, Tensor | float] = {}
    for name, value in state.items():
        plain = name.removeprefix("base_model.model.")
        if match := _FACTOR.fullmatch(plain):
            pairs[match["layer"]][match["side"]] = value
        elif match := _ALPHA.fullmatch(plain):
            alphas[match["layer"]] = value
        else:
            raise refused
    # diffusers drops what it does not know, and lets one key take another's place
    if sum(map(len, pairs.values())) + len(alphas) < len(tensors) or alphas.keys() - pairs.keys():
        raise refused
    return pairs, alphas


def _settings(file: Path, config: Path | None) -> dict[str, Any]:
    settings: Any
    if config is not None:
        settings = read_json(config)
    else:
        try:
            settings = json.loads(metadata(file).get("lora_adapter_metadata", "{}"))
        except (ValueError, RecursionError) as error:
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
    return dict(settings)


def _alpha(settings: Mapping[str, Any], layer: str, down: Tensor) -> Any:
    """Return the layer's alpha.

    It is its pattern's, or else the adapter's, or else the rank (a scale of 1).
    """
    component, _, inner = layer.partition(".")
    for prefix, name in ((f"{component}.", inner), ("", layer)):
        patterns = settings.get(f"{prefix}alpha_pattern") or {}
        alpha = settings.get(f"{prefix}lora_alpha")
        if patterns or alpha is not None:
            fallback = down.shape[0] if alpha is None else alpha
            return patterns.get(get_pattern_key(patterns.keys(), name), fallback)
    return down.shape[0]
