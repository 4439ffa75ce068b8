"""Small image classifier in a folder.

The folder holds ``config.json`` with the labels, and safetensors.
"""

import json
from itertools import pairwise
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from auditor.core.errors import AuditorError

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"

_GRID = 4
"""Number of rows and of columns to which the last feature map is pooled."""


class ClassifierConfig(BaseModel):
    """Shape of a classifier, and the meaning of its outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=2)
    """Labels in the order of the outputs."""
    channels: tuple[int, ...] = Field(default=(24, 48, 48), min_length=1)
    """Channels of each convolution; all but the first halve the resolution."""

    @field_validator("labels")
    @classmethod
    def _once(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            raise ValueError("holds a label twice")
        return labels


class ConvolutionalClassifier(nn.Module):
    """3x3 convolutions, pooling and one linear layer, for images of any size."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        widths = (3, *config.channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, stride=1 if index == 0 else 2, padding=1)
            for index, (before, after) in enumerate(pairwise(widths))
        )
        self.output = nn.Linear(config.channels[-1] * _GRID**2, len(config.labels))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, labels] of images [n, 3, height, width] in [0, 1]."""
        hidden = functional.adaptive_avg_pool2d(self.feature_map(images), _GRID)
        logits: Tensor = self.output(hidden.flatten(1))
        return logits

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last convolution's output, [n, channels, rows, columns]."""
        hidden = images * 2 - 1
        for convolution in self.convolutions:
            hidden = functional.relu(convolution(hidden))
        return hidden

    @torch.no_grad()
    def probability(self, images: Tensor, concept: str) -> Tensor:
        """Probability that an image shows a concept, [n].

        Args:
            images: [n, 3, height, width] in [0, 1].
            concept: One of the labels.

        Raises:
            AuditorError: The classifier has no such label.
        """
        labels = self.config.labels
        if concept not in labels:
            raise AuditorError(
                f"the classifier has no label {concept!r}; its labels are: {', '.join(labels)}. "
                "Name the concept as the classifier does, or give one that knows it."
            )
        probability: Tensor = self(images).softmax(-1)[:, labels.index(concept)]
        return probability

    def save(self, folder: Path) -> None:
        """Write configuration and weights into an existing folder."""
        text = json.dumps(self.config.model_dump(mode="json"), indent=2) + "\n"
        (folder / _CONFIG).write_text(text, encoding="utf-8")
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, folder / _WEIGHTS)


def load_classifier(folder: Path) -> ConvolutionalClassifier:
    """Open a classifier in evaluation mode.

    Args:
        folder: With ``config.json`` and ``model.safetensors``.

    Raises:
        AuditorError: A file is missing or damaged, or the weights are another network's.
    """
    try:
        config = ClassifierConfig.model_validate_json((folder / _CONFIG).read_bytes())
        model = ConvolutionalClassifier(config)
        model.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, SafetensorError, ValidationError, RuntimeError) as error:
        raise AuditorError(
            f"{folder} holds no classifier that opens ({error}); expected {_CONFIG} with labels "
            f"and channels, and the weights of that network in {_WEIGHTS}."
        ) from error
    return model.eval()
