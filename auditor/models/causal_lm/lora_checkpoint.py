"""LoRA around layers of a network, as a checkpoint for an engine.

LoRA is arXiv 2106.09685. Only its plain form is taken: one adapter of one rank and scale, beside
linear layers and embeddings. Anything else is no checkpoint here.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from auditor.core.hashing import digest
from auditor.models.network_state import NetworkState
from auditor.models.tensor_digests import tensor_digest

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True)
class LoRACheckpoint:
    """Matrices of an adapter."""

    rank: int
    scale: float
    """Factor of the product of the two matrices."""
    tensors: dict[str, torch.Tensor]
    """Matrices by their names in PEFT's files."""

    @property
    def name(self) -> str:
        """Digest of all that it holds."""
        held = {name: tensor_digest(tensor) for name, tensor in self.tensors.items()}
        return digest({"rank": self.rank, "scale": self.scale, "tensors": held})[:16]

    def saved(self, root: Path) -> Path:
        """Write it into a folder of its name, as PEFT would.

        Whatever else is in the root is removed: an attack asks one checkpoint after the other.
        """
        folder = root / self.name
        if folder.exists():
            return folder
        for former in root.iterdir():
            shutil.rmtree(former)
        written = root / f"{self.name}.partial"
        written.mkdir(exist_ok=True)
        modules = sorted({name.split(".lora_")[0].split(".", 2)[2] for name in self.tensors})
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": self.rank,
            "lora_alpha": self.rank * self.scale,
            "target_modules": modules,
            "bias": "none",
        }
        (written / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        tensors = {n: t.detach().cpu().contiguous().clone() for n, t in self.tensors.items()}
        save_file(tensors, written / "adapter_model.safetensors")
        written.rename(folder)
        return folder


def lora_checkpoint(network: nn.Module, state: NetworkState) -> LoRACheckpoint | None:
    """Return the adapter in a network that is otherwise as it was.

    Args:
        network: The network, as it is now.
        state: What it was when it was loaded.

    Returns:
        None where there is none, or something else was changed.
    """
    if "peft" not in sys.modules:  # whoever puts an adapter on has imported it
        return None
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {n: m for n, m in network.named_modules() if isinstance(m, BaseTunerLayer)}
    if not layers or not all(map(_is_plain, layers.values())):
        return None
    through = {name: layer.get_base_layer() for name, layer in layers.items()}
    if state.difference(network, through) is not None:
        return None
    forms = {(layer.r[_active(layer)], layer.scaling[_active(layer)]) for layer in layers.values()}
    if len(forms) != 1:
        return None
    [(rank, scale)] = forms
    tensors = {
        f"base_model.model.{name}.{own}": tensor
        for name, layer in layers.items()
        for own, tensor in _matrices(layer).items()
    }
    return LoRACheckpoint(int(rank), float(scale), tensors)


def _active(layer: Any) -> str:
    [name] = layer.active_adapters
    return str(name)


def _is_plain(layer: Any) -> bool:
    """Whether a layer adds the product of two matrices, and no more."""
    from peft.tuners.lora import Embedding, Linear

    if type(layer) not in (Linear, Embedding) or len(layer.active_adapters) != 1:
        return False
    name = _active(layer)
    if layer.merged or layer.disable_adapters or not _is_identity(layer.lora_dropout[name]):
        return False
    others = (layer.use_dora, layer.lora_bias, layer.lora_variant)
    return not any(held.get(name) for held in others) and not any(
        "forward" in vars(part) or any(getattr(part, hooks) for hooks in _HOOKS)
        for part in (layer, *(m for n, m in layer.named_modules() if n.startswith("lora_")))
    )


def _is_identity(dropout: nn.Module) -> bool:
    """Whether dropout passes on what it is given."""
    return isinstance(dropout, nn.Identity) or not dropout.training


def _matrices(layer: Any) -> dict[str, torch.Tensor]:
    """Return a layer's two matrices, by their names in PEFT's files."""
    name = _active(layer)
    if name in layer.lora_embedding_A:
        return {
            "lora_embedding_A": layer.lora_embedding_A[name],
            "lora_embedding_B": layer.lora_embedding_B[name],
        }
    return {
        "lora_A.weight": layer.lora_A[name].weight,
        "lora_B.weight": layer.lora_B[name].weight,
    }
