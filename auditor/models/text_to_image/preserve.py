"""Lending the networks of a text-to-image model, with what hangs on them besides weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from auditor.models.preserve import preserve_weights
from auditor.models.text_to_image.pipeline_loading import Parts


@contextmanager
def preserve_parts(parts: Parts, networks: nn.Module) -> Iterator[nn.Module]:
    """Yield the networks for an attack to change in place; afterwards they are what they were.

    The UNet's attention processors, which are no modules, are put back too.

    Args:
        parts: the pipeline's components.
        networks: those of them that are lent.

    Raises:
        RuntimeError: the attack left other modules, hooks, or words in a tokenizer.
    """
    processors = parts.unet.attn_processors
    words = [len(tokenizer) for tokenizer in parts.tokenizers]
    with preserve_weights(networks) as model:
        try:
            yield model
        finally:
            if parts.unet.attn_processors.keys() == processors.keys():
                parts.unet.set_attn_processor(dict(processors))
    if [len(tokenizer) for tokenizer in parts.tokenizers] != words:
        raise RuntimeError("an attack left words in the tokenizer")
