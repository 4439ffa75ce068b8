"""Putting published erased weights in the place of a pipeline's own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from auditor.core.errors import AuditorError
from auditor.models.checkpoint_files import read_json
from auditor.models.text_to_image.lora import check_lora, is_lora, merge_lora, read_lora
from auditor.models.text_to_image.parts import FAULTS
from auditor.models.text_to_image.pipeline_files import DENOISERS
from auditor.models.text_to_image.replacement_files import Replacement
from auditor.models.text_to_image.state_dicts import (
    OBSOLETE,
    RESPELLINGS,
    listed,
    read_tensors,
)

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_COMPVIS = "model.diffusion_model."


@dataclass(frozen=True)
class Fitted:
    """Tensors that fit one network of a pipeline.

    They stand under the network's own names.
    """

    part: str
    tensors: Mapping[str, Tensor]
    whole: bool
    """Whether the tensors are all of the network's, not only the trained ones."""


def apply(replacement: Replacement, parts: Mapping[str, nn.Module]) -> None:
    """Replace weights, in place.

    Known are: a whole UNet (UCE, arXiv 2308.14761; RECE, 2407.12383), the trained layers of one
    (ESD, 2303.07345), a whole text encoder (AdvUnlearn, 2405.15234), and a LoRA, which is merged.
    Weights are rounded to the type of those they replace.

    Args:
        replacement: what was found on disk.
        parts: the denoiser and the text encoders, by their names in the pipeline.

    Raises:
        AuditorError: unknown or missing keys, wrong shapes, or nothing that changes; names them.
    """
    tensors, file = _read(replacement, "cpu")
    if is_lora(tensors):
        merge_lora(read_lora(tensors, file, replacement.config), parts, file)
        return
    fitted = _fitted(replacement, tensors, file, parts)
    if odd := [n for n, t in fitted.tensors.items() if not torch.isfinite(t).all()]:
        raise AuditorError(f"{file} holds numbers that are not finite: {listed(odd)}.")
    own = parts[fitted.part].state_dict()
    changed = 0
    with torch.no_grad():
        for name, tensor in fitted.tensors.items():
            # compared as published: a delta in bfloat16 differs from its float32 base by rounding
            before = own[name].to("cpu", tensor.dtype)
            changed += not torch.equal(before, tensor)
            own[name].copy_(tensor)
    if not changed and not fitted.whole:
        raise AuditorError(
            f"{file} changes nothing: its {len(fitted.tensors)} tensors are those of the "
            f"pipeline's own {fitted.part}. Give the trained ones."
        )


def check_unfitting(replacement: Replacement, parts: Mapping[str, nn.Module]) -> None:
    """Refuse by names and shapes what :func:`apply` would refuse.

    Args:
        replacement: what was found on disk.
        parts: the networks; they may be on the device ``meta``.

    Raises:
        AuditorError: as :func:`apply`.
    """
    tensors, file = _read(replacement, "meta")
    if is_lora(tensors):
        tensors, file = _read(replacement, "cpu")  # small, and its scales are values
        check_lora(read_lora(tensors, file, replacement.config), parts, file)
    else:
        _fitted(replacement, tensors, file, parts)


def _read(replacement: Replacement, device: str) -> tuple[dict[str, Tensor], Path]:
    tensors: dict[str, Tensor] = {}
    for file in replacement.weights:
        tensors |= read_tensors(file, device)
    if not tensors:
        raise AuditorError(f"{replacement.path} holds no tensors, so it replaces nothing.")
    adapter = is_lora(tensors)
    if replacement.form == "LoRA" and not adapter:
        raise AuditorError(f"{replacement.path} holds no factors of a LoRA.")
    if replacement.form in ("denoiser", "text encoder") and adapter:
        raise AuditorError(f"{replacement.path} holds a LoRA under the name of a model.")
    return tensors, replacement.weights[0] if len(replacement.weights) == 1 else replacement.path


def _fitted(
    replacement: Replacement,
    tensors: Mapping[str, Tensor],
    file: Path,
    parts: Mapping[str, nn.Module],
) -> Fitted:
    if any(name.startswith(_COMPVIS) for name in tensors):
        raise AuditorError(
            f"{file} has the names of a CompVis checkpoint ({_COMPVIS}…); give the one with the "
            "names of diffusers, which is published beside it, or convert it."
        )
    part, named = _best(replacement, tensors, file, parts)
    network = parts[part]
    own = network.state_dict()
    if unknown := sorted(named.keys() - own.keys()):
        raise AuditorError(
            f"{file} does not fit the pipeline's {part}: it holds {len(unknown)} unknown key(s): "
            f"{listed(unknown)}."
        )
    other = [
        f"{name} is {list(tensor.shape)}, not {list(own[name].shape)}"
        for name, tensor in named.items()
        if tensor.shape != own[name].shape
    ]
    if other:
        raise AuditorError(
            f"{file} does not fit the pipeline's {part}: {len(other)} tensor(s) have another "
            f"shape: {listed(other)}."
        )
    if odd := [f"{n} is {t.dtype}" for n, t in named.items() if t.dtype not in _FLOATS]:
        raise AuditorError(
            f"{file} holds tensors that are no plain floating-point numbers (quantized?): "
            f"{listed(odd)}. Give them as they were before."
        )
    missing = sorted((own.keys() & _distinct(network)) - named.keys())
    whole = not missing
    if missing and (replacement.form != "state dict" or not _is_delta(part, network, named)):
        raise AuditorError(
            f"{file} lacks {len(missing)} of the {len(own)} keys of the pipeline's {part}: "
            f"{listed(missing)}. Check that the checkpoint is whole."
        )
    touched = {name.rpartition(".")[0] for name in named}
    if torn := [name for name in missing if name.rpartition(".")[0] in touched]:
        raise AuditorError(
            f"{file} lacks a part of layers that it holds otherwise: {listed(torn)}. Check that "
            "the checkpoint is whole."
        )
    if replacement.config is not None:
        _check_other_architecture(replacement.config, part, network)
    return Fitted(part, named, whole)


def _distinct(network: nn.Module) -> set[str]:
    """Names of a network's tensors, one of each.

    Some are held under several names, as T5's embeddings.
    """
    held = (*network.named_parameters(), *network.named_buffers())
    return {name for name, _ in held}


def _is_delta(part: str, network: nn.Module, named: Mapping[str, Tensor]) -> bool:
    """Return whether tensors are only the trained ones of a denoiser.

    Otherwise they are a checkpoint with missing tensors.

    ESD trains linear maps and convolutions and saves these alone; a whole UNet has norms too. A
    transformer may have none with weights: what a torn checkpoint of one lacks stays the
    pipeline's own.
    """
    layers = {name.rpartition(".")[0] for name in named}
    return part in DENOISERS and all(
        isinstance(network.get_submodule(layer), nn.Linear | nn.Conv2d) for layer in layers
    )


def _best(
    replacement: Replacement,
    tensors: Mapping[str, Tensor],
    file: Path,
    parts: Mapping[str, nn.Module],
) -> tuple[str, dict[str, Tensor]]:
    """Return the network that fits the tensors best.

    It has most of their names and shapes. The second value has the tensors under its names.
    """
    wanted: tuple[str, ...] = {
        "denoiser": DENOISERS,
        "text encoder": ("text_encoder",),
    }.get(replacement.form, ("",))
    scored = []
    for part, network in parts.items():
        if not part.startswith(wanted):
            continue
        own = network.state_dict()
        for renamed in _spellings(part, tensors):
            same = [name for name in renamed if name in own]
            fits = sum(renamed[name].shape == own[name].shape for name in same)
            scored.append(((fits, len(same)), part, renamed))
    scored.sort(key=lambda entry: entry[0], reverse=True)
    best = scored[0]
    if best[0] == (0, 0):
        raise AuditorError(
            f"{file} holds no weights of this pipeline ({', '.join(parts)}): its keys are "
            f"{listed(sorted(tensors))}."
        )
    rivals = {part for score, part, _ in scored if score == best[0]}
    if len(rivals) > 1:
        raise AuditorError(
            f"{file} fits {' and '.join(sorted(rivals))} alike; say which by the prefix of its "
            f"keys ({best[1]}.…)."
        )
    return best[1], best[2]


def _spellings(part: str, tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors under the names of several library versions."""
    prefix = f"{part}."
    stripped = dict(tensors)
    if all(name.startswith(prefix) for name in tensors):
        stripped = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    yield stripped
    if part not in DENOISERS:
        kept = {n: t for n, t in stripped.items() if not n.endswith(OBSOLETE)}
        for respell in RESPELLINGS:
            respelt = {respell(name): tensor for name, tensor in kept.items()}
            if len(respelt) == len(kept):  # else two of its keys would become one
                yield respelt


def _check_other_architecture(file: Path, part: str, network: nn.Module) -> None:
    """Refuse a configuration that makes another function of the same shapes."""
    try:
        own, said = _settings(network.config), _settings(_config_of(read_json(file), network))
    except FAULTS as error:
        raise AuditorError(f"{file} does not load ({type(error).__name__}: {error}).") from error
    if other := sorted(name for name in own.keys() & said.keys() if own[name] != said[name]):
        named = listed([f"{name} is {said[name]!r}, not {own[name]!r}" for name in other])
        raise AuditorError(f"{file} is not the architecture of the pipeline's {part}: {named}.")


def _config_of(content: dict[str, Any], network: nn.Module) -> Any:
    """A configuration with the defaults of the network's class filled in."""
    if isinstance(network, PreTrainedModel):
        return type(network.config).from_dict(content)
    with torch.device("meta"):
        return type(network).from_config(content).config  # type: ignore[attr-defined]


_NOT_THE_FUNCTION = {
    "architectures",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "model_type",
    "pad_token_id",
    "torch_dtype",
    "transformers_version",
}


def _settings(config: Any) -> dict[str, Any]:
    content = config.to_dict() if isinstance(config, PretrainedConfig) else dict(config)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in content.items()
        if not name.startswith("_") and name not in _NOT_THE_FUNCTION
    }
