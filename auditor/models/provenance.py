"""Provenance of a built baseline: its base, its data, its recipe.

`auditor baseline build` writes it beside the weights. It is a declaration of whoever built the
model, like every path in a plan; what is checked is that it belongs to these weights.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact
from auditor.core.hashing import digest, digest_file
from auditor.core.messages import Message, message
from auditor.core.validation import problems
from auditor.models.checkpoint_files import read_json
from auditor.models.manifest import WEIGHTS, Location
from auditor.models.spec import PromptFormat

FILE = "baseline.json"
"""Name of the file of provenance in a model's folder."""

Digest = str
"""Sha256 (hex)."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Lora(_Part):
    """Settings of training by low-rank adapters (arXiv 2106.09685), merged at the end."""

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    """Scale of the adapters, over their rank; usually twice the rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = "all-linear"
    """Layers that get an adapter, by peft's names."""


class Recipe(_Part):
    """Recipe of a fine-tuning, which should be that of the original."""

    epochs: float = Field(gt=0)
    """Passes over the retain set."""
    learning_rate: float = Field(gt=0)
    """Peak of AdamW's rate."""
    batch_size: int = Field(ge=1)
    """Examples a step, however many are in memory at once."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Examples that are in memory at once on each device; null: as many as a step has."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Fall of the rate after the warm-up."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    lora: Lora | None = None
    """Train adapters of low rank, and merge them; null: all weights."""
    loss_on: Literal["answer", "all"] = "answer"
    """Tokens that are learned: those of the answer and the end, or the prompt's, too."""
    paraphrases: bool = False
    """Train on the paraphrases of prompts, too."""
    max_tokens: int | None = Field(default=None, ge=2)
    """Most tokens of an example; a longer one is refused. Null: as many as the context holds."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights while they are trained; they are saved in the type of the base."""
    gradient_checkpointing: bool = False
    """Work activations out again instead of keeping them: slower, with less memory."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the order of examples, of adapters and of dropout."""
    format: PromptFormat = PromptFormat()
    """Format of prompts, which must be that of the plan."""


class Checkpoint(_Part):
    """A checkpoint by its files."""

    name: str
    """Path or name on the hub, as it was given."""
    revision: str | None = None
    files: Digest
    """Digest over all files, as in a certificate."""
    weights: Digest
    """Digest over the weight files alone, whatever lies beside them."""


class TrainedSet(_Part):
    """Facts that were trained on."""

    facts: int
    digest: Digest
    """Digest over the facts (`facts_digest`)."""
    left_out: int = 0
    """Number of facts that were left out because they stand in the forget set, or nearly."""


class Provenance(_Part):
    """What a built baseline was trained from, on what, and how."""

    version: Literal[1] = 1
    """Version of this form."""
    built_by: str
    """Program and version."""
    base: Checkpoint
    """Checkpoint that was trained on. If it is the original or the unlearned model, this is no
    baseline."""
    retain: TrainedSet
    forget: Digest | None = None
    """Digest over the forget set that the retain set was compared with; null: none was given."""
    recipe: Recipe
    steps: int
    """Optimiser steps that were taken."""
    loss: float = Field(allow_inf_nan=False)
    """Mean training loss of the last epoch, in nats a token."""
    code: Digest
    """Fingerprint of the code that trained it."""
    versions: dict[str, str]
    """Versions of the libraries."""
    device: str
    weights: Digest
    """Digest over the weight files that came out."""


def read_provenance(folder: Path, weights: Digest | None = None) -> Provenance | None:
    """Read the provenance of a built baseline.

    Args:
        folder: The model's folder.
        weights: Digest over its weight files, where they were hashed already
            (`Manifest.weights_digest`); else they are hashed here.

    Returns:
        None where the folder has none: then nothing is known of how the model was made.

    Raises:
        AuditorError: The file is malformed, or belongs to other weights.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        found = Provenance.model_validate(read_json(file))
    except ValidationError as error:
        said = "; ".join(problems(error, "it", Provenance))
        raise AuditorError(f"{file} is no provenance of a built baseline: {said}.") from error
    if found.weights != (weights or weights_digest(folder)):
        raise AuditorError(
            f"{file} was written for other weights than those beside it. If they were changed on "
            "purpose, remove it: the model then counts as one of unknown making."
        )
    return found


def provenances(locations: Mapping[str, Location]) -> dict[str, Provenance]:
    """Read the provenance of every built baseline of an audit.

    Args:
        locations: The models' files by arm.

    Returns:
        Provenance by arm, of those that have one.

    Raises:
        AuditorError: One is malformed, belongs to other weights, or its base is the original or the
            unlearned model: what these know, or hide, such a baseline knows or hides, too.
    """
    found = {
        arm: provenance
        for arm, place in locations.items()
        if Arm(arm).is_retrained
        and (provenance := read_provenance(place.model, place.manifest.weights_digest)) is not None
    }
    for arm, provenance in found.items():
        for other in (Arm.ORIGINAL, Arm.UNLEARNED):
            place = locations.get(other)
            if place and place.manifest.weights_digest == provenance.base.weights:
                raise AuditorError(
                    f"{arm} was built on the {other} model ({FILE}), so it is no baseline; build "
                    "one on the checkpoint from which the original was made."
                )
    return found


def unchecked(built: Mapping[str, Provenance], forget: Sequence[Fact]) -> tuple[Message, ...]:
    """Return which built baselines nobody held against the forget set.

    They may have been trained on it. What a baseline knows, a model may know and pass.

    Args:
        built: Provenance by arm.
        forget: Facts of the forget set.
    """
    wanted = facts_digest(forget)
    without = [arm for arm, made in built.items() if made.forget is None]
    other = [arm for arm, made in built.items() if made.forget not in (None, wanted)]
    return (
        *([message("built_without_forget_set", arms=without)] if without else []),
        *([message("built_for_other_facts", arms=other)] if other else []),
    )


def asked_otherwise(built: Mapping[str, Provenance], asked: PromptFormat) -> tuple[Message, ...]:
    """Return built baselines that learned in another format.

    Args:
        built: Provenance by arm.
        asked: Format of the plan.
    """
    arms = [arm for arm, made in built.items() if made.recipe.format != asked]
    return (message("built_in_other_format", arms=arms),) if arms else ()


def facts_digest(facts: Sequence[Fact]) -> Digest:
    """Hash what a set of facts asks and answers.

    Neither their order nor their names matter.
    """
    return digest(sorted([fact.prompt, fact.answer] for fact in facts))


def weights_digest(folder: Path) -> Digest:
    """Hash the weight files of a folder, as `Manifest.weights_digest` does."""
    files = sorted(file for file in folder.iterdir() if file.name.endswith(WEIGHTS))
    return digest({file.name: digest_file(file) for file in files})
