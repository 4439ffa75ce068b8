"""GGUF: the weights as llama.cpp's files hold them."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from attacks.quantization.family import (
    QuantizationAttack,
    QuantizationParameters,
    Quantized,
    assert_covered,
)
from attacks.quantization.ggml import ggml, rounded
from attacks.quantization.gguf_types import FileShape, Level, summary, tensor_types
from auditor.attack import Footprint, Keep, Preset, Requirements, attack
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.messages import Message, message
from auditor.models.checkpoint_files import read_json
from auditor.models.language.experts import stacked_experts
from auditor.models.language.layers import (
    embedded_weights,
    is_transposed,
    linear_layers,
    weight_matrices,
)
from auditor.models.language.model import LanguageModel
from auditor.models.manifest import Location

_ARCHITECTURES = {
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "gpt2": "gpt2",
    "gpt_neox": "gptneox",
    "granite": "granite",
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "olmo2": "olmo2",
    "phi": "phi2",
    "phi3": "phi3",
    "qwen2": "qwen2",
    "qwen2_moe": "qwen2moe",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "smollm3": "smollm3",
    "stablelm": "stablelm",
    "starcoder2": "starcoder2",
}
"""Type of a model in `transformers` to its architecture in GGUF, where a file holds the rows of
the model's own matrices (in whatever order)."""


class GGUFParameters(QuantizationParameters):
    """Settings of a GGUF file."""

    level: Level = "q4_k_m"
    """Level of the file, as `llama-quantize` calls it."""


class _Matrices(NamedTuple):
    """Matrices of one parameter, or of all experts of a layer."""

    parameter: nn.Parameter
    views: list[torch.Tensor]
    """Each [out, in], which shares the parameter's memory."""


@attack("quantization/gguf")
class GGUF(QuantizationAttack[GGUFParameters]):
    """Weights of a GGUF file."""

    summary = "Round the weights as a GGUF file holds them, with ggml's own quantizer."
    details = """
    A GGUF file is what llama.cpp, Ollama and LM Studio run on desktops and phones. Each matrix is
    given the type that `llama-quantize` gives it without an importance matrix: Q4_K_M has Q4_K for
    most, and Q6_K for the values and outputs of half of the layers and for the output head; rows
    that are no multiple of 256 get the older types. Embeddings, head and stacked experts are
    rounded too; norms, biases, routers and embeddings of positions stay. ggml itself rounds (the
    library that the package xllamacpp brings), and the package gguf, which shares no code with it,
    reads a row of each part of a matrix as well: where the two differ, nothing is measured.

    The rounded weights are put in the place of the model's and are computed with in the model's
    own type. llama.cpp also rounds what goes into each product, to 8 bits, and some publishers
    weigh the rounding by an importance matrix; neither is done here. Two bits often break the
    original as well.
    """
    threat_model = "Whoever downloads or publishes a GGUF file of the model, as is usual."
    access = "Weights."
    cost = "Minutes of rounding (IQ4_NL: five times as many), and one evaluation."
    leak = "Knowledge that is absent at full precision and present here."
    source = (
        "llama.cpp (`llama-quantize`) and ggml; quantization after unlearning (arXiv 2410.16454)."
    )

    parameters_type = GGUFParameters
    presets = (
        Preset("q4_k_m", {"level": "q4_k_m"}),
        Preset("q5_k_m", {"level": "q5_k_m"}, "exhaustive"),
        Preset("q3_k_m", {"level": "q3_k_m"}, "exhaustive"),
        Preset("q2_k", {"level": "q2_k"}, "exhaustive"),
        Preset("q8_0", {"level": "q8_0"}, "exhaustive"),
        Preset("iq4_nl", {"level": "iq4_nl"}, "exhaustive"),
    )
    requires = Requirements(packages=("gguf", "xllamacpp"), full_precision=True)

    rounds_experts = True

    @property
    def variant(self) -> str:
        """The level."""
        return self.parameters.level

    @property
    def footprint(self) -> Footprint:
        """Weights are rounded in place, in parts."""
        return Footprint(lent=True, weights_read=2)

    def unavailable(self, location: Location) -> Message | None:
        """Return why it cannot run, or None.

        Files of some architectures hold other matrices than the model.
        """
        if reason := super().unavailable(location):
            return reason
        model_type = read_json(location.model / "config.json").get("model_type")
        if model_type not in _ARCHITECTURES:
            return message("gguf_architecture_unknown", model_type=str(model_type))
        try:
            ggml()
        except UnavailableError:
            return message("ggml_not_callable", package="xllamacpp")
        return None

    @contextmanager
    def quantized(
        self, model: LanguageModel, scratch: Path, keep: Keep | None = None
    ) -> Iterator[Quantized]:
        """Round the weights in place, and restore them afterwards."""
        level = self.parameters.level
        form = model.form  # refused before weights are loaded, where it is refused
        widths = {name: part.views[0].shape[1] for name, part in _matrices(form).items()}
        types = tensor_types(level, widths, _shape(form))
        chosen = [name for name, type_ in types.items() if type_]
        lent = _matrices(model.network)
        with model.preserve_weights([lent[name].parameter for name in chosen]) as network:
            held = _matrices(network)
            size = sum(_round(held[name].views, types[name]) for name in chosen)
            experts = [stack.parameter for stack in stacked_experts(network)]
            linear = [layer.weight for layer in linear_layers(network).values()]
            done = {id(held[name].parameter) for name in chosen}
            if left := [w for w in (*linear, *experts) if id(w) not in done]:
                raise MeasurementError(f"{len(left)} matrices are of no type in a GGUF file")
            assert_covered(model, sum(weight.numel() for weight in linear), experts)
            weights = sum(held[name].parameter.numel() for name in chosen)
            notes = {
                "level": level,
                "layers_quantized": len(chosen),
                "types": summary([type_ for type_ in types.values() if type_]),
                "bits_a_weight": round(8 * size / weights, 3),
            }
            yield Quantized(model, {}, notes)


def _round(views: list[torch.Tensor], type_: str | None) -> int:
    """Round matrices in place, and return their bytes in a file."""
    size = 0
    for view in views:
        result = rounded(view, str(type_))
        view.copy_(torch.from_numpy(result.weights))
        size += result.size
    return size


def _shape(network: Any) -> FileShape:
    """Return what llama.cpp's rules read of a model.

    Raises:
        UnavailableError: It is of an architecture that is not known here.
    """
    config = network.config.get_text_config()
    if config.model_type not in _ARCHITECTURES:
        raise UnavailableError(f"how GGUF files hold a model of {config.model_type} is not known")
    stacks = stacked_experts(network)
    heads = config.num_attention_heads
    return FileShape(
        architecture=_ARCHITECTURES[config.model_type],
        layers=config.num_hidden_layers,
        experts=len(stacks[0].parameter) if stacks else 1,
        grouped=heads // (getattr(config, "num_key_value_heads", None) or heads),
    )


def _matrices(network: Any) -> dict[str, _Matrices]:
    """Return a model's matrices by their names in a GGUF file.

    Raises:
        UnavailableError: A file of this architecture has no place for one.
    """
    package = importlib.import_module("gguf")
    shape = _shape(network)
    architectures = {name: number for number, name in package.MODEL_ARCH_NAMES.items()}
    names = package.get_tensor_name_map(architectures[shape.architecture], shape.layers)
    held: dict[str, _Matrices] = {}
    for name, part in _parts(network):
        # a file has gates and ups apart, in one type
        known = names.get_name(name.removesuffix(".weight").replace("gate_up_proj", "gate_proj"))
        if known is None:
            raise UnavailableError(f"a GGUF file of {shape.architecture} has no place for {name}")
        held[f"{known}.weight"] = part
    return held


def _parts(network: Any) -> Iterator[tuple[str, _Matrices]]:
    """Yield all matrices by their names in the model."""
    turned = {id(x.weight): is_transposed(x) for x in linear_layers(network).values()}
    stacks = {id(stack.parameter): stack for stack in stacked_experts(network)}
    for matrix in weight_matrices(network):
        weight = matrix.parameter
        if stack := stacks.get(id(weight)):
            views = list(stack.matrices())
        else:
            views = [weight.data.T if turned.get(id(weight)) else weight.data]
        if min(views[0].shape) > 1:
            yield matrix.name, _Matrices(weight, views)
    embedded = set(map(id, embedded_weights(network)))
    for name, parameter in network.named_parameters():
        if id(parameter) in embedded:
            yield name, _Matrices(parameter, [parameter.data])
