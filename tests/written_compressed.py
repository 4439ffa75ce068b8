"""Models written as checkpoints of compressed-tensors, rounded to nearest."""

from pathlib import Path

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationConfig,
    apply_quantization_config,
    preset_name_to_scheme,
)
from compressed_tensors.quantization.utils import calculate_qparams


def write_compressed(folder: Path, network, tokenizer, preset="W4A16") -> Path:
    """Write a checkpoint; the network is changed.

    Args:
        folder: Its folder.
        network: A causal language model.
        tokenizer: Its tokenizer.
        preset: Name of a scheme: W4A16, W8A8, FP8_DYNAMIC.
    """
    scheme = preset_name_to_scheme(preset, ["Linear"])
    config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"])
    apply_quantization_config(network, config)
    with torch.no_grad():
        for module in network.modules():
            if getattr(module, "quantization_scheme", None) is None:
                continue
            size = scheme.weights.group_size or module.weight.shape[1]
            groups = module.weight.reshape(len(module.weight), -1, size)
            scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), scheme.weights)
            module.weight_scale.copy_(scale)
    compressor = ModelCompressor.from_pretrained_model(network)
    compressor.compress_model(network)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    compressor.update_config(folder)
    return folder
