"""A text-to-image pipeline's components: opened from the chosen files alone, lent, written.

Each is opened by its own class of diffusers or transformers, for the report of keys that these
give and ``DiffusionPipeline.from_pretrained`` does not: it leaves a weight that is missing as a
random number, or on the device ``meta``.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    ModelMixin,
    SchedulerMixin,
)
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from auditor.core.errors import AuditorError
from auditor.models.checkpoint_files import read_json
from auditor.models.text_to_image.layouts import LAYOUTS, Denoiser, Layout, layout_of
from auditor.models.text_to_image.pipeline_files import DENOISERS, Component, Pipeline
from auditor.models.text_to_image.spec import INDEX, TextToImageSpec
from auditor.models.text_to_image.state_dicts import listed, read_tensors

FAULTS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    ImportError,
    AttributeError,
    ZeroDivisionError,
    StrictDataclassError,
)
"""Errors that the libraries raise on a configuration or a checkpoint that they cannot take."""


@dataclass
class Parts:
    """A pipeline's components, opened."""

    denoiser: Denoiser
    text_encoders: list[PreTrainedModel]
    tokenizers: list[PreTrainedTokenizerBase]
    scheduler: SchedulerMixin
    vae: AutoencoderKL | None
    lengths: list[int]
    """Tokens of a prompt that each text encoder is given."""

    @property
    def layout(self) -> Layout:
        """How the denoiser is used."""
        return layout_of(self.denoiser)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Networks that an erasure changes, by name."""
        return {self.layout.component: self.denoiser} | dict(
            _numbered("text_encoder", self.text_encoders)
        )

    @property
    def all(self) -> dict[str, Any]:
        """Every component by its name in the pipeline."""
        named = self.networks | dict(_numbered("tokenizer", self.tokenizers))
        return named | {"scheduler": self.scheduler} | ({"vae": self.vae} if self.vae else {})


def _numbered(name: str, parts: list[Any]) -> Iterator[tuple[str, Any]]:
    for number, part in enumerate(parts, start=1):
        yield (name if number == 1 else f"{name}_{number}"), part


def load_parts(pipeline: Pipeline, spec: TextToImageSpec, device: torch.device) -> Parts:
    """Load all components, networks in evaluation mode on ``device``.

    No weight asks for a gradient: a search for inputs would keep what only those need. Whoever
    trains weights says which.

    An autoencoder whose configuration asks for it (``force_upcast``) is held in float32.

    Raises:
        AuditorError: a component does not load; names it, and the tensors that are missing.
    """
    found = pipeline.components
    encoders = [c for name, c in sorted(found.items()) if name.startswith("text_encoder")]
    vae = None
    if "vae" in found:
        upcast = read_json(found["vae"].folder / "config.json").get("force_upcast", True)
        dtype = torch.float32 if upcast else _dtype(spec, found["vae"])
        vae = _network(AutoencoderKL, found["vae"], dtype).to(device)
    main = denoiser_of(pipeline)
    denoiser = _network(denoiser_class(main), main, _dtype(spec, main)).to(device)
    tokenizers = load_tokenizers(pipeline)
    text_encoders = [
        _network(getattr(transformers, c.class_name), c, _dtype(spec, c)).to(device)
        for c in encoders
    ]
    wanted = spec.drawing.text_length or layout_of(denoiser).text_length
    return Parts(
        denoiser=denoiser,
        text_encoders=text_encoders,
        tokenizers=tokenizers,
        scheduler=load_scheduler(pipeline),
        vae=vae,
        lengths=[
            _length(tokenizer, encoder, wanted)
            for tokenizer, encoder in zip(tokenizers, text_encoders, strict=True)
        ],
    )


def denoiser_of(pipeline: Pipeline) -> Component:
    """Return the component that predicts noise or a flow."""
    return next(c for name, c in pipeline.components.items() if name in DENOISERS)


def denoiser_class(component: Component) -> type[nn.Module]:
    """Return the class of a pipeline's denoiser."""
    return next(known for known in LAYOUTS if known.__name__ == component.class_name)


def _length(tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel, wanted: int) -> int:
    """Return the tokens of a prompt that an encoder is given.

    CLIP has room for the tokenizer's length, or its own if that is smaller; T5 has no limit, and
    gets as many as its pipeline wants.
    """
    room = getattr(encoder.config, "max_position_embeddings", None)
    return wanted if room is None else min(int(tokenizer.model_max_length), int(room))


def load_tokenizers(pipeline: Pipeline) -> list[PreTrainedTokenizerBase]:
    """Open the tokenizer, and the second one where there is one.

    Raises:
        AuditorError: one does not load.
    """
    return [
        _from_library(transformers, component, PreTrainedTokenizerBase)
        for name, component in sorted(pipeline.components.items())
        if name.startswith("tokenizer")
    ]


def load_scheduler(pipeline: Pipeline) -> SchedulerMixin:
    """Open the scheduler.

    Raises:
        AuditorError: it does not load, or is no schedule of what the denoiser predicts.
    """
    component = pipeline.components["scheduler"]
    scheduler = _from_library(diffusers, component, SchedulerMixin)
    if LAYOUTS[denoiser_class(denoiser_of(pipeline))].flow:
        known = type(scheduler) is FlowMatchEulerDiscreteScheduler
        if not known or scheduler.config.stochastic_sampling:
            raise AuditorError(
                f"{component.folder}: {component.class_name} is not the schedule of a flow that an "
                "audit draws with; Stable Diffusion 3 and Flux come with a "
                "FlowMatchEulerDiscreteScheduler without `stochastic_sampling`."
            )
        return scheduler
    kind = scheduler.config.get("prediction_type", "epsilon")
    if not hasattr(scheduler, "alphas_cumprod") or kind not in (
        "epsilon",
        "v_prediction",
        "sample",
    ):
        raise AuditorError(
            f"{component.folder}: {component.class_name} (prediction_type {kind}) is not a "
            "schedule of a diffusion model that predicts noise, v or the image."
        )
    return scheduler


def skeletons(pipeline: Pipeline) -> dict[str, nn.Module]:
    """Build the denoiser and the text encoders without weights.

    They are on the device ``meta``, built from their configurations.

    Raises:
        AuditorError: a configuration does not load.
    """
    built: dict[str, nn.Module] = {}
    for name, component in sorted(pipeline.components.items()):
        if name not in DENOISERS and not name.startswith("text_encoder"):
            continue
        file = component.folder / "config.json"
        try:
            with torch.device("meta"):
                content = read_json(file)
                if name in DENOISERS:
                    known: Any = denoiser_class(component)
                    built[name] = known.from_config(content)
                else:
                    network = getattr(transformers, component.class_name)
                    built[name] = network(network.config_class.from_dict(content))
        except FAULTS as error:
            raise AuditorError(
                f"{file} does not load ({type(error).__name__}: {error})."
            ) from error
    main = denoiser_of(pipeline).name
    return {main: built.pop(main)} | built


def load_vae_config(pipeline: Pipeline) -> Mapping[str, Any] | None:
    """The autoencoder's configuration, or None in pixel space."""
    if "vae" not in pipeline.components:
        return None
    with torch.device("meta"):
        file = pipeline.components["vae"].folder / "config.json"
        try:
            config: Mapping[str, Any] = AutoencoderKL.from_config(read_json(file)).config
        except FAULTS as error:
            raise AuditorError(
                f"{file} does not load ({type(error).__name__}: {error})."
            ) from error
    return config


@contextmanager
def preserve_parts(parts: Parts, lent: AbstractContextManager[nn.Module]) -> Iterator[nn.Module]:
    """Yield lent networks, and put back what is no part of them.

    The denoiser's attention processors are no modules.

    Args:
        parts: the pipeline's components.
        lent: those of them that are lent, and how.

    Raises:
        RuntimeError: the attack left other modules, hooks, or words in a tokenizer.
    """
    processors = parts.denoiser.attn_processors
    words = [len(tokenizer) for tokenizer in parts.tokenizers]
    with lent as model:
        try:
            yield model
        finally:
            if parts.denoiser.attn_processors.keys() == processors.keys():
                parts.denoiser.set_attn_processor(dict(processors))
    if [len(tokenizer) for tokenizer in parts.tokenizers] != words:
        raise RuntimeError("an attack left words in the tokenizer")


def write_pipeline(parts: Parts, source: Path, folder: Path) -> None:
    """Write a pipeline that diffusers opens, without what was set aside.

    Args:
        parts: the components to save.
        source: the directory that they come from; its index is kept.
        folder: where to; its index is written last, so that a whole directory is known by it.
    """
    for name, part in parts.all.items():
        part.save_pretrained(folder / name)
    index = {
        name: said if name in parts.all or not isinstance(said, list) else [None, None]
        for name, said in read_json(source / INDEX).items()
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _from_library(library: Any, component: Component, base: type) -> Any:
    cls: Any = getattr(library, component.class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise AuditorError(
            f"{component.folder}: {component.library} has no {component.class_name} that is a "
            f"{component.name.rstrip('_23')}."
        )
    load: Any = cls.from_pretrained  # type: ignore[attr-defined]
    with _staged(component) as folder:
        try:
            return load(folder, local_files_only=True)
        except FAULTS as error:
            raise AuditorError(
                f"{component.folder} has no {component.name} that loads ({error})."
            ) from error


def _dtype(spec: TextToImageSpec, component: Component) -> torch.dtype:
    """Return the wanted type of a component's weights.

    By default it is the one in which most of its tensors are stored.
    """
    if spec.dtype != "auto":
        named: torch.dtype = getattr(torch, spec.dtype)
        return named
    stored: list[torch.dtype] = []
    for name, file in component.files.items():
        if name.endswith((".safetensors", ".bin")):
            stored += [
                t.dtype for t in read_tensors(file, "meta").values() if t.is_floating_point()
            ]
    return max(set(stored), key=stored.count, default=torch.float32)


def _network(cls: Any, component: Component, dtype: torch.dtype) -> Any:
    named = {"torch_dtype" if issubclass(cls, ModelMixin) else "dtype": dtype}
    pickled = any(name.endswith(".bin") for name in component.files)
    with _staged(component) as folder:
        try:
            model, report = cls.from_pretrained(
                folder,
                use_safetensors=not pickled,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below, by name
                **named,
            )
        except FAULTS as error:
            raise AuditorError(
                f"{component.folder} does not load as {component.class_name} ({error})."
            ) from error
    if missing := sorted(report["missing_keys"]):
        raise AuditorError(
            f"{component.folder} lacks weights that its architecture needs ({listed(missing)}); "
            "they would be random numbers. Check that the checkpoint is whole."
        )
    if other := sorted(name for name, *_ in report["mismatched_keys"]):
        raise AuditorError(
            f"{component.folder} does not load: weights have another shape than config.json says "
            f"({listed(other)}). Check that both belong to the same model."
        )
    if unknown := sorted(report["unexpected_keys"]):
        raise AuditorError(
            f"{component.folder} holds weights that its architecture has no place for "
            f"({listed(unknown)}). Check that both belong to the same model."
        )
    return model.eval().requires_grad_(False)


@contextmanager
def _staged(component: Component) -> Iterator[Path]:
    """Yield a folder with links to a component's files only.

    The links have the names that the library looks for.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, file in component.files.items():
            (folder / name).symlink_to(file.resolve())
        yield folder
