"""GGUF files of llama.cpp as language models.

`transformers` reads settings, tokenizer and weights out of such a file. Its settings and its
tokenizer are written beside each other as files of `transformers`, once for each file, and read as
those of any model are; its weights are read back from their rounding when the model is loaded.

`transformers` passes over settings and tensors that it has no place for. Another model than
llama.cpp runs would be audited then, so that such files are refused.
"""

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.integrations import GGUF_CONFIG_MAPPING
from transformers.integrations.gguf import GGUF_CONFIG_ARCHS
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from auditor.core.cache import cache_folder
from auditor.core.errors import AuditorError
from auditor.core.files import whole_folder
from auditor.core.hashing import digest, digest_file
from auditor.core.packages import installed_version
from auditor.models import gguf_header
from auditor.models.gguf_header import GGUFHeader, read_header
from auditor.models.language.loading import load_directory, read_config
from auditor.models.language.spec import LanguageSpec
from auditor.models.manifest import Location

_LIBRARIES = ("transformers", "tokenizers", "gguf")
"""Libraries that decide what is read out of a file."""
_FREQUENCIES = "rope_freqs.weight"
"""Tensor by which llama.cpp scales rotary frequencies; no weight of the network."""
_LLAMA3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
"""Scaling of the frequencies of Llama 3.1 and 3.2, its factor aside."""
_ENDS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
"""Settings that name tokens at which llama.cpp ends an answer."""
_TOKENS = {
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}
"""Special tokens of a configuration, and the settings that name them."""
_CONTEXT, _WINDOW = "context_length", "attention.sliding_window"
_WITHOUT_EFFECT = frozenset(
    {"vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "attention.causal"}
)
"""Settings of an architecture that llama.cpp computes nothing from."""


def described(path: Path, file_digest: str, header: GGUFHeader) -> Path:
    """Return a folder with a file's settings and tokenizer.

    They have the form of `transformers`. It lies in the user's cache, under the digests of the file
    and of the code that describes it and the versions of the libraries, and is made where it is not
    there yet.

    Args:
        path: The file.
        file_digest: Its sha256.
        header: Its header.

    Raises:
        AuditorError: `transformers` does not open its architecture or its tokenizer, or would pass
            over a part of what it says; or the file was changed meanwhile.
    """
    versions = {name: installed_version(name) for name in _LIBRARIES}
    code = [digest_file(Path(module)) for module in (__file__, gguf_header.__file__)]
    key = digest({"file": file_digest, "code": code, "libraries": versions})
    folder = cache_folder() / "gguf" / key / path.name
    if not _is_ours(folder):
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with whole_folder(folder) as unfinished:
            _write(path, header, unfinished)
            if digest_file(path) != file_digest:  # else it would describe another file for good
                raise AuditorError(
                    f"{path} was changed while it was read. Leave the files of models alone while "
                    "they are audited, and start again."
                )
            unfinished.chmod(0o700)
        if not _is_ours(folder):
            raise AuditorError(
                f"{folder} was written by somebody else, or others may change it; remove it."
            )
    return folder


def load_gguf(auto_class: Any, spec: LanguageSpec, location: Location) -> PreTrainedModel:
    """Load the network of a GGUF file.

    Rounded weights are read back as ggml does, so that the network is one of full precision.

    Args:
        auto_class: Class of `transformers` that loads models of the kind.
        spec: How it is opened; the type ``auto`` is one that holds all weights as they are.
        location: The file, and the folder of its description.

    Raises:
        AuditorError: Weights and network do not match.
    """
    path = _file(location)
    header = read_header(path)
    network = load_directory(
        auto_class,
        spec,
        location.model,
        config=read_config(spec, location.model),
        gguf_file=str(path),  # whole: a bare name would be looked for in the working folder, too
        quantization_config=GgufConfig(dequantize=True),
        dtype=getattr(torch, header.float_type if spec.dtype == "auto" else spec.dtype),
    )
    check_weights(network, header, path)
    if (quantizer := getattr(network, "hf_quantizer", None)) is not None:
        quantizer.remove_quantization_config(network)  # it is of full precision from now on
    network.generation_config = GenerationConfig.from_pretrained(location.model)
    return network


def check_weights(network: PreTrainedModel, header: GGUFHeader, path: Path) -> None:
    """Refuse a file with more or fewer weights than its network.

    Each place of the network gets a tensor of its own when it is loaded, or is named as missing
    then: where the numbers of weights are equal, so every tensor is used.

    Args:
        network: The network, loaded or on the device ``meta``.
        header: The file's header.
        path: The file, for messages.

    Raises:
        AuditorError: Says both numbers.
    """
    held = sum(t.size for name, t in header.tensors.items() if name != _FREQUENCIES)
    needed = sum(parameter.numel() for parameter in network.parameters())
    if held != needed:
        raise AuditorError(
            f"{path} holds {held:,} weights, and the network that it describes "
            f"({network.config.model_type}) has {needed:,}: some would not be asked, or be random. "
            "Give the checkpoint that it was made from."
        )


def _file(location: Location) -> Path:
    if location.gguf is None:
        raise TypeError(f"{location.model} is no description of a GGUF file")
    return location.gguf


def _is_ours(folder: Path) -> bool:
    """Return whether a description is there that nobody else could have written."""
    for place in (folder, folder.parent):
        try:
            found = place.lstat()
        except OSError:
            return False
        others = stat.S_IWGRP | stat.S_IWOTH
        if (
            not stat.S_ISDIR(found.st_mode)
            or found.st_uid != os.geteuid()
            or found.st_mode & others
        ):
            return False
    return True


def _write(path: Path, header: GGUFHeader, folder: Path) -> None:
    """Write settings and tokenizer into an empty folder."""
    try:
        config = AutoConfig.from_pretrained(folder, gguf_file=str(path))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise AuditorError(
            f"{path} is a model of the architecture {header.architecture}, and transformers does "
            f"not open it ({_said(error)}). Give the checkpoint that it was made from."
        ) from error
    for name, key in _TOKENS.items():  # a default of the library is none of the file's
        setattr(config, name, header.settings.get(key))
    _rounded_as_stored(config)
    _scale_frequencies(config, path, header)
    _check_settings(config, path, header)
    own = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if own and not config.architectures:
        config.architectures = [own]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=str(path))
    except Exception as error:  # what is wrong in a vocabulary shows anywhere in a library
        raise AuditorError(
            f"{path} has no tokenizer that transformers reads ({_said(error)}). Give the "
            "checkpoint that it was made from."
        ) from error
    tokenizer.save_pretrained(folder)
    ends = sorted({end for key in _ENDS if isinstance(end := header.settings.get(key), int)})
    generation = GenerationConfig.from_model_config(config)
    generation.eos_token_id = ends[0] if len(ends) == 1 else ends or None
    generation.save_pretrained(folder)
    content = config.to_json_string(use_diff=False)
    (folder / "config.json").write_text(content, encoding="utf-8")


def _rounded_as_stored(config: PretrainedConfig) -> None:
    """Write numbers with the digits of a float32: 1e-06, not 9.99999997e-07."""
    for name, value in list(vars(config).items()):
        if isinstance(value, float):
            setattr(config, name, float(str(np.float32(value))))
    rope = getattr(config, "rope_parameters", None)
    if isinstance(rope, dict) and isinstance(rope.get("rope_theta"), float):
        rope["rope_theta"] = float(str(np.float32(rope["rope_theta"])))


def _scale_frequencies(config: PretrainedConfig, path: Path, header: GGUFHeader) -> None:
    """Give a configuration the scaling of rotary frequencies.

    The file holds it as a tensor.

    Raises:
        AuditorError: It is none that `transformers` has a name for.
    """
    tensor = header.tensors.get(_FREQUENCIES)
    if tensor is None:
        return
    with path.open("rb") as opened:
        opened.seek(tensor.begin)
        factors = np.frombuffer(opened.read(tensor.end - tensor.begin), "<f4")
    plain = dict(config.rope_parameters)
    scaled = {**plain, **_LLAMA3, "rope_type": "llama3", "factor": float(factors.max())}
    config.rope_parameters = scaled
    slowed, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    own = 1.0 / plain["rope_theta"] ** (torch.arange(0, width, 2).float() / width)
    ratio = (own / slowed).numpy()
    if ratio.shape != factors.shape or not np.allclose(ratio, factors, rtol=1e-3):
        raise AuditorError(
            f"{path} scales rotary frequencies ({_FREQUENCIES}) in a way that transformers has no "
            "name for. Give the checkpoint that it was made from."
        )


def _check_settings(config: PretrainedConfig, path: Path, header: GGUFHeader) -> None:
    """Refuse settings that `transformers` passes over or takes otherwise.

    Raises:
        AuditorError: Names them all.
    """
    if header.architecture in GGUF_CONFIG_ARCHS:  # read by code of their own, key by key
        return
    plain = {_plain(name): known for name, known in GGUF_CONFIG_MAPPING.items()}
    read = {key for key, name in plain.get(_plain(header.architecture), {}).items() if name}
    expected = _expected(config)
    odd = []
    for key, value in header.own.items():
        wanted = expected.get(key)
        if wanted is not None and (key not in read or key == _CONTEXT):
            if not isinstance(value, int | float) or not np.isclose(value, wanted, rtol=1e-6):
                odd.append(f"{key} of {ascii(value)[:40]} would be {wanted:g}")
        elif key not in read and key not in _WITHOUT_EFFECT and value not in (0, "none", False):
            odd.append(f"{key} of {ascii(value)[:40]} would be passed over")
    window = expected.get(_WINDOW)
    if window and _WINDOW not in header.own and window < expected.get(_CONTEXT, 0):
        odd.append(f"{_WINDOW}, of which it says nothing, would be {window:g}")
    if odd:
        raise AuditorError(
            f"{path} says of its network what transformers reads otherwise, so that another model "
            f"would be audited: {'; '.join(odd)}. Give the checkpoint that it was made from."
        )


def _plain(name: str) -> str:
    """Name of an architecture, which the two spell differently, without hyphens."""
    return name.replace("_", "").replace("-", "")


def _expected(config: PretrainedConfig) -> dict[str, float]:
    """Settings of a configuration, by their names in a file."""
    rope = getattr(config, "rope_parameters", None) or {}
    heads = getattr(config, "num_attention_heads", None)
    width = getattr(config, "head_dim", None) or (heads and config.hidden_size // heads)
    found = {
        _CONTEXT: getattr(config, "max_position_embeddings", None),
        _WINDOW: getattr(config, "sliding_window", None),
        "attention.key_length": width,
        "attention.value_length": width,
        "rope.dimension_count": width and int(width * rope.get("partial_rotary_factor", 1.0)),
        "rope.freq_base": rope.get("rope_theta"),
        "rope.scaling.factor": 1.0,
        "rope.scaling.original_context_length": getattr(config, "max_position_embeddings", None),
        "attn_logit_softcapping": getattr(config, "attn_logit_softcapping", None),
        "final_logit_softcapping": getattr(config, "final_logit_softcapping", None),
        "expert_feed_forward_length": getattr(config, "moe_intermediate_size", None),
        "expert_shared_feed_forward_length": getattr(
            config, "shared_expert_intermediate_size", None
        ),
    }
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
