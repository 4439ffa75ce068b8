"""Opening of a classifier of images.

There are three kinds, told apart by ``config.json``.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from auditor.core.errors import AuditorError
from auditor.models.checkpoint_files import read_json
from auditor.models.devices import first_device
from auditor.models.language.files import locate_checkpoint
from auditor.models.manifest import Location
from auditor.models.text_to_image.concept_classifier import ConceptClassifier
from auditor.models.text_to_image.convolutional_classifier import load_classifier
from auditor.models.text_to_image.hugging_face_classifiers import (
    Clip,
    LabelClassifier,
    ZeroShotClassifier,
    is_zero_shot,
)

__all__ = [
    "Clip",
    "ConceptClassifier",
    "locate_classifier",
    "open_classifier",
    "open_clip",
    "open_judge",
]

NAMELESS = "picture"
"""Label of a CLIP that is asked for features alone."""

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class PlainClassifier(ConceptClassifier):
    """This project's own small network (``convolutional_classifier``)."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._model = load_classifier(folder).requires_grad_(False).to(device)
        self._device = device
        super().__init__(folder, self._model.config.labels)

    def _judged(self, images: Tensor) -> Tensor:
        logits: Tensor = self._model(images.to(self._device, torch.float32))
        return logits.softmax(-1)

    def _described(self, images: Tensor) -> Tensor:
        """The last feature map, averaged over the image."""
        return self._model.feature_map(images.to(self._device, torch.float32)).mean((2, 3))


def locate_classifier(name: str, revision: str | None = None) -> Location:
    """Find (or fetch) a classifier's files, check and hash them.

    They must be safe and whole.

    The location's ``model`` is the folder to open, its ``manifest`` names what is in it.

    Args:
        name: local directory, or the name of a model on the Hugging Face hub.
        revision: commit, tag or branch on the hub.

    Raises:
        AuditorError: nothing is there, weights are pickled, truncated or missing, or the model
            brings its own code; each with the way out.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_unsafe(folder)
    # whether it asks for code of its own is told below, without the offer to run that code
    location = locate_checkpoint(name, revision=revision, trust_remote_code=True)
    _check_unsafe(location.model)
    return location


def open_classifier(folder: Path, concepts: Sequence[str]) -> ConceptClassifier:
    """Open a classifier that knows the concepts of an audit.

    Its kind is told by ``config.json``: this project's own (``labels`` and ``channels``), a CLIP
    (asked for the concepts by name), or any image classification model of ``transformers``.

    Args:
        folder: folder of a classifier; see ``locate_classifier`` for names on the hub.
        concepts: what it must know. A CLIP's labels are these; a label that lists a concept among
            other names (``tench, Tinca tinca``) is called by the concept's name.

    Raises:
        AuditorError: the folder holds no classifier, one that is not safe to open, or one that
            has no label for a concept; says what would do.
    """
    opened = _open(folder, concepts)
    opened.rename(concepts)
    return opened


def open_judge(folder: Path) -> Callable[[Tensor], Tensor]:
    """Open a network and return its features of images, [n, width].

    It is of any kind that ``open_classifier`` knows; its labels do not matter.

    Raises:
        AuditorError: the folder holds none, or one that is not safe to open.
    """
    return _open(folder, (NAMELESS,)).features


def _open(folder: Path, concepts: Sequence[str]) -> ConceptClassifier:
    _check_unsafe(folder)
    config, device = read_json(folder / "config.json"), first_device()
    if {"labels", "channels"} <= config.keys():
        return PlainClassifier(folder, device)
    if is_zero_shot(config):
        return ZeroShotClassifier(folder, concepts, device)
    return LabelClassifier(folder, device)


def open_clip(folder: Path) -> Clip:
    """Open a CLIP, to ask how well images fit texts.

    Raises:
        AuditorError: the folder holds something else, or is not safe to open.
    """
    _check_unsafe(folder)
    if not is_zero_shot(read_json(folder / "config.json")):
        raise AuditorError(
            f"{folder} holds no CLIP (`model_type: clip` in config.json). Give the folder of one, "
            "with model.safetensors, tokenizer and preprocessor_config.json."
        )
    return Clip(folder, first_device())


def _check_unsafe(folder: Path) -> None:
    config = folder / "config.json"
    if not config.is_file():
        raise AuditorError(
            f"{folder} has no config.json, so it is no classifier. Give a folder with config.json "
            "and model.safetensors: a Hugging Face image classification model or CLIP, or labels "
            "and channels of this project's own network."
        )
    pickled = sorted(file.name for pattern in _PICKLED for file in folder.glob(pattern))
    if pickled and not any(folder.glob("*.safetensors")):
        raise AuditorError(
            f"{folder} holds only pickled weights ({pickled[0]}), and a pickle can run any code "
            "when it is loaded. Convert them to safetensors (`save_pretrained` writes them), or "
            "name a revision that has them."
        )
    for name in ("config.json", "preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file() and "auto_map" in read_json(folder / name):
            raise AuditorError(
                f"{folder / name} asks for Python code that comes with the model (auto_map), and a "
                "classifier's own code is never run. Give one that `transformers` knows by itself."
            )
