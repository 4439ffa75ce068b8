"""Training as a fine-tuning service does it: LoRA on some linear layers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import Learner, adapter, matrices
from attacks.relearning.head_frames import attention_heads
from auditor.core.errors import UnavailableError
from auditor.models.language.model import Example, LanguageModel
from auditor.models.language.tensor_groups import placed_tensors
from auditor.unlearning.batches import shuffled_batches

Targets = Literal["linear", "attention"]
"""Layers that LoRA is put around: all linear ones but the output head, or those of attention."""


def target_layers(network: Any, targets: Targets) -> Mapping[str, nn.Module]:
    """Return the layers that LoRA is put around, by name.

    Raises:
        UnavailableError: There is none.
    """
    head = network.get_output_embeddings()
    found = {
        name: layer
        for name, layer in matrices(network).items()
        if not isinstance(layer, nn.Embedding) and layer is not head
    }
    if targets == "attention":
        attention = {
            tensor.name.rpartition(".")[0]
            for tensor in placed_tensors(network)
            if tensor.place == "attention"
        }
        found = {name: layer for name, layer in found.items() if name in attention}
    if not found:
        raise UnavailableError(f"the model has no layers of the kind {targets!r} for LoRA")
    return found


@contextmanager
def served(
    model: LanguageModel,
    examples: Sequence[Example],
    settings: FineTuning,
    targets: Targets,
    seed: int,
) -> Iterator[Learner[Example]]:
    """Train a model in place with LoRA, and restore it.

    Afterwards it is restored bit for bit.

    Steps are in the frame of each layer, as in every relearning attack, so that the scale of the
    weights decides nothing.

    Args:
        model: model that is taught.
        examples: what is taught.
        settings: rank, rate and batch size.
        targets: layers that are trained beside.
        seed: seed of the order of examples and of LoRA's first matrices.

    Raises:
        UnavailableError: PEFT has no LoRA for these layers.
    """
    generator = torch.Generator().manual_seed(seed)
    order = shuffled_batches(len(examples), settings.batch_size, generator)
    with (
        model.unchanged_weights() as network,
        adapter(
            network,
            settings.rank,
            seed,
            target_layers(network, targets),
            heads=attention_heads(network),
        ) as weights,
    ):
        yield Learner(
            weights,
            ([examples[i] for i in rows] for rows in order),
            model.loss,
            settings,
            size=lambda item: item.answer_tokens,
        )
