"""Classifiers of images in the Hugging Face layout.

They have labels of their own, or are CLIP's.

Images go through the processor that lies beside the model, always with its PIL backend: that of
torchvision resizes differently, and an answer must not depend on what else is installed. Weights
are opened in float32.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from auditor.core.errors import AuditorError, UnavailableError
from auditor.models.batching import run_batched
from auditor.models.text_to_image.concept_classifier import (
    BATCH,
    ConceptClassifier,
    check_not_finite,
)

if TYPE_CHECKING:
    from transformers import BaseImageProcessor, PreTrainedModel

TEMPLATE = "a photo of a {concept}"
"""CLIP's prompt for a class (arXiv 2103.00020)."""

NEUTRAL = "a photo"
"""Prompt and label of an image that shows none of the concepts."""

_FAILURES = (OSError, ValueError, KeyError, ImportError, RuntimeError)
"""Errors that transformers raises where a folder does not hold what it should."""


class LabelClassifier(ConceptClassifier):
    """Any image classification model of the ``transformers`` library, with its own labels.

    A model that gives each label a probability of its own (``problem_type`` is
    ``multi_label_classification``) is read so; any other by the softmax over its labels.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import AutoModelForImageClassification

        self._model = _load(AutoModelForImageClassification, folder, device)
        self._processor = _load_processor(folder)
        labels = self._model.config.id2label
        if sorted(labels) != list(range(len(labels))):
            raise AuditorError(f"{folder / 'config.json'}: id2label does not count up from 0.")
        super().__init__(folder, [str(labels[i]) for i in range(len(labels))])
        self._several = self._model.config.problem_type == "multi_label_classification"

    def _judged(self, images: Tensor) -> Tensor:
        logits: Tensor = self._model(**self._prepared(images)).logits
        return logits.sigmoid() if self._several else logits.softmax(-1)

    def _described(self, images: Tensor) -> Tensor:
        """Return the input of the last linear layer.

        Of several positions it is the mean.
        """
        taken: list[Tensor] = []
        handle = self._head.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
        try:
            self._model(**self._prepared(images))
        finally:
            handle.remove()
        return taken[-1].reshape(len(images), -1, taken[-1].shape[-1]).mean(1)

    @property
    def _head(self) -> nn.Linear:
        heads = [
            module
            for module in self._model.modules()
            if isinstance(module, nn.Linear) and module.out_features == len(self.labels)
        ]
        if not heads:
            raise UnavailableError(
                f"{type(self._model).__name__} has no linear layer before its labels"
            )
        return heads[-1]

    def _prepared(self, images: Tensor) -> dict[str, Tensor]:
        return _prepared(self._processor, images, self._model.device)


class Clip:
    """CLIP (arXiv 2103.00020), which embeds images and texts.

    Both embeddings are in one space.

    Raises:
        AuditorError: the folder does not hold a whole one.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import CLIPModel

        self._model = _load(CLIPModel, folder, device)
        self._processor = _load_processor(folder)
        self._tokenizer = _load_tokenizer(folder)

    @property
    def scale(self) -> Tensor:
        """Factor of cosines before a softmax."""
        scale: Tensor = self._model.logit_scale.exp()
        return scale

    @torch.no_grad()
    def images(self, images: Tensor) -> Tensor:
        """Return embeddings of one batch of images, [n, width].

        The images are [n, 3, height, width]; embeddings have any length.
        """
        given = _prepared(self._processor, images, self._model.device)
        pooled = self._model.vision_model(**given).pooler_output
        embedded: Tensor = self._model.visual_projection(pooled)
        return embedded

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings of texts, [n, width], of any length.

        A text that is too long is cut.
        """
        given = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self._model.device)
        pooled = self._model.text_model(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"]
        ).pooler_output
        embedded: Tensor = self._model.text_projection(pooled)
        return embedded

    def similarity(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the cosine of each image and its own text.

        It is [n] on the CPU.

        Raises:
            MeasurementError: an image or a cosine is not finite.
        """
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} images, but {len(texts)} texts")
        check_not_finite(images, "an image")

        def run(batch: list[int]) -> list[Tensor]:
            described = self.images(images[batch])
            asked = self.texts([texts[i] for i in batch])
            return list(functional.cosine_similarity(described, asked).to("cpu", torch.float32))

        found = torch.stack([torch.zeros(()), *run_batched([1] * len(images), BATCH, run)])[1:]
        check_not_finite(found, "a cosine")
        return found


class ZeroShotClassifier(ConceptClassifier):
    """CLIP, asked for each concept by name (arXiv 2103.00020).

    The probabilities are a softmax over the prompts of all concepts of the audit and one neutral
    prompt. The neutral one is where an image goes that shows none of them; over the names alone,
    as MACE has it (arXiv 2403.06135), an image of nothing would be shared among them, and a single
    concept would be certain in any image. So K depends on which concepts an audit names, and is at
    most what the softmax over the names alone would give.
    """

    def __init__(self, folder: Path, concepts: Sequence[str], device: torch.device) -> None:
        names = tuple(dict.fromkeys(concepts))
        if not names:
            raise AuditorError(
                f"{folder} holds a CLIP, which has no labels of its own: name the concepts."
            )
        if NEUTRAL in names:
            raise AuditorError(f"{NEUTRAL!r} stands for an image without any concept; rename it.")
        super().__init__(folder, (*names, NEUTRAL))
        self.clip = Clip(folder, device)
        prompts = [*(TEMPLATE.format(concept=name) for name in names), NEUTRAL]
        self._texts = functional.normalize(self.clip.texts(prompts), dim=-1)

    def _judged(self, images: Tensor) -> Tensor:
        described = functional.normalize(self._described(images), dim=-1)
        return (self.clip.scale * described @ self._texts.T).softmax(-1)

    def _described(self, images: Tensor) -> Tensor:
        """Embeddings of images, not normalised."""
        return self.clip.images(images)


def is_zero_shot(config: dict[str, Any]) -> bool:
    """Return whether a configuration is that of an unlabelled CLIP.

    Such a CLIP has no labels of its own.
    """
    classifies = "CLIPForImageClassification" in (config.get("architectures") or ())
    return config.get("model_type") == "clip" and not classifies


def _load(kind: Any, folder: Path, device: torch.device) -> "PreTrainedModel":
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # reported below, by name
            output_loading_info=True,
        )
    except _FAILURES as error:
        raise AuditorError(
            f"{folder} does not load as a classifier of images ({error})."
        ) from error
    mismatched = {name for name, *_ in report["mismatched_keys"]}
    if wrong := sorted({*report["missing_keys"], *mismatched}):
        raise AuditorError(
            f"{folder} lacks weights that its architecture needs, or has them in another shape "
            f"({', '.join(wrong[:5])}); they would be random numbers. Give a model that was "
            "trained to classify images, with all of its weights."
        )
    opened: PreTrainedModel = model.eval().requires_grad_(False).to(device)
    return opened


def _load_processor(folder: Path) -> "BaseImageProcessor":
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except _FAILURES as error:
        raise AuditorError(
            f"{folder} has no image processor that loads ({error}). It needs the "
            "preprocessor_config.json that the model was published with."
        ) from error


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except _FAILURES as error:
        raise AuditorError(f"{folder} has no tokenizer that loads ({error}).") from error


def _prepared(
    processor: "BaseImageProcessor", images: Tensor, device: torch.device
) -> dict[str, Tensor]:
    """Return images as a model's own processor prepares them.

    They have 8 bits, as from a file.
    """
    pixels = (images * 255).round().clamp(0, 255).to("cpu", torch.uint8)
    given = processor(
        images=[image.numpy() for image in pixels],
        input_data_format="channels_first",
        return_tensors="pt",
    )
    return {"pixel_values": given["pixel_values"].to(device)}
