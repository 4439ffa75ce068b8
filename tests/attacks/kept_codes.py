"""Codes that a quantizer keeps of its layers, and codes of whole tensors."""

import torch


def kept_codes(state):
    """Layer names to their codes, flat: of such small layers all are kept."""
    return {
        key.removeprefix("codes/"): torch.from_numpy(codes)
        for key, codes in state.codes.items()
        if key.startswith("codes/")
    }


def signed(codes):
    """Codes of a format with signs."""
    return codes.view(torch.int8)


def all_codes(packed):
    """Every code of a packed tensor, flat."""
    return packed.take(torch.arange(packed.numel()))
