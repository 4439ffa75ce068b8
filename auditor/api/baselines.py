"""Built baselines: a base checkpoint, fine-tuned on the retain set alone."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor import __version__
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact
from auditor.core.files import whole_folder, write_whole
from auditor.core.hashing import canonical_json
from auditor.core.packages import installed_version
from auditor.core.progress import Progress, SilentProgress
from auditor.data.checks import texts_across
from auditor.data.near_copies import copies_across
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.engine.fingerprint import fingerprint
from auditor.models.checkpoint_files import quantization_method
from auditor.models.kind import all_kinds, kind_named, parse_spec
from auditor.models.language.spec import LanguageSpec
from auditor.models.manifest import Location
from auditor.models.opening import check_unopenable, locate
from auditor.models.provenance import (
    FILE,
    Checkpoint,
    Provenance,
    Recipe,
    TrainedSet,
    facts_digest,
    read_provenance,
)

if TYPE_CHECKING:  # torch is imported once the facts were read
    from auditor.unlearning import retraining

__all__ = [
    "BuiltBaseline",
    "TrainingPlan",
    "build_baseline",
    "check_baseline",
    "plan_baseline",
    "read_provenance",
]

_LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "accelerate")
_TRAINER = "auditor.unlearning.retraining"
_SHOWN = 5
_PASSES = {True: 4, False: 6}
"""Operations a weight and token: forward and backward, without the gradients of frozen weights."""

Source = str | PathLike[str] | DataSource
Base = str | PathLike[str] | dict[str, Any]


@dataclass(frozen=True)
class TrainingPlan:
    """What a training would take."""

    examples: int
    tokens: int
    """Tokens of one pass."""
    steps: int
    parameters: int
    seconds: float
    """Rough time on this machine."""
    left_out: int
    """Retain facts that are left out because they stand in the forget set, or nearly."""


@dataclass(frozen=True)
class BuiltBaseline:
    """A baseline that was built."""

    folder: Path
    provenance: Provenance


@dataclass(frozen=True)
class _Prepared:
    """Everything that is decided before the base's weights are loaded."""

    spec: LanguageSpec
    location: Location
    retain: TrainedSet
    forget: str | None
    examples: "list[retraining.Example]"


def plan_baseline(
    base: Base,
    retain: Source,
    recipe: Recipe,
    *,
    forget: Source | None = None,
    original: Base | None = None,
    without_copies: bool = False,
) -> TrainingPlan:
    """Check everything that a training needs, and estimate what it takes.

    The arguments and errors are those of `build_baseline`.
    """
    prepared = _prepare(base, retain, recipe, forget, original, without_copies)
    from auditor.engine.machine import probe
    from auditor.unlearning import retraining

    tokens = sum(len(example.ids) for example in prepared.examples)
    shape = kind_named(prepared.spec.kind).shape(prepared.spec, prepared.location)
    speed = probe(prepared.spec, shape, Path.cwd()).operations
    passes = _PASSES[recipe.lora is not None]
    return TrainingPlan(
        examples=len(prepared.examples),
        tokens=tokens,
        steps=retraining.steps_of(len(prepared.examples), recipe),
        parameters=shape.parameters,
        seconds=passes * shape.active * tokens * recipe.epochs / speed,
        left_out=prepared.retain.left_out,
    )


def build_baseline(
    base: Base,
    retain: Source,
    recipe: Recipe,
    out: str | PathLike[str],
    *,
    forget: Source | None = None,
    original: Base | None = None,
    without_copies: bool = False,
    progress: Progress | None = None,
) -> BuiltBaseline:
    """Fine-tune a base on the retain set alone; write its provenance.

    Args:
        base: Checkpoint from which the original was made: directory, name on the hub, or the keys
            of a plan's model. It must not have seen the forget set.
        retain: Facts that are trained on.
        recipe: How the original was fine-tuned.
        out: Folder of the new model; it must not exist.
        forget: Facts that must not be trained on: the retain set is compared with them.
        original: The original, which the base must not be.
        without_copies: Leave out retain facts that stand in the forget set, or nearly, instead of
            refusing them.
        progress: Told about every step.

    Raises:
        AuditorError: Something cannot be used, the retain set holds forget facts, or the base is
            the original.
    """
    folder = Path(out)
    if folder.exists():
        raise AuditorError(f"{folder} exists already; choose another folder for the baseline.")
    prepared = _prepare(base, retain, recipe, forget, original, without_copies)
    from auditor.unlearning import retraining

    banners = io.StringIO()  # of quantizers that the libraries import
    with whole_folder(folder.absolute()) as unfinished, contextlib.redirect_stdout(banners):
        trained = retraining.fine_tune(
            prepared.examples,
            prepared.spec,
            prepared.location,
            recipe,
            unfinished / "scratch",
            progress or SilentProgress(),
        )
        retraining.save(trained.model, prepared.location, unfinished)
        made = locate(parse_spec(str(unfinished)))
        provenance = _provenance(prepared, recipe, trained, made.manifest.weights_digest)
        write_whole(unfinished / FILE, _written(provenance))
    return BuiltBaseline(folder, provenance)


def check_baseline(folder: str | PathLike[str], retain: Source, forget: Source) -> Provenance:
    """Compare what a built baseline was trained on with a forget set.

    Its provenance says so from then on.

    Args:
        folder: The baseline's folder.
        retain: Facts that it was trained on.
        forget: Facts that it must not have been trained on.

    Raises:
        AuditorError: It was trained on other facts, or on some of the forget set, or nothing is
            known of how it was made.
    """
    folder = Path(folder)
    found = read_provenance(folder)
    if found is None:
        raise AuditorError(
            f"{folder} has no {FILE}, so nothing is known of how it was made, and nothing can be "
            "compared. Give the folder that `auditor baseline build` wrote."
        )
    facts, unwanted = read_facts(_source(retain), "retain"), read_facts(_source(forget), "forget")
    kept = _without_forgotten(facts, unwanted, without_copies=bool(found.retain.left_out))
    if facts_digest(kept) != found.retain.digest:
        raise AuditorError(
            f"{_source(retain).name} does not hold the {found.retain.facts:,} facts that {folder} "
            "was trained on; give the retain set of its training."
        )
    checked = found.model_copy(update={"forget": facts_digest(unwanted)})
    write_whole(folder / FILE, _written(checked))
    return checked


def _written(provenance: Provenance) -> bytes:
    return canonical_json(provenance.model_dump(mode="json")) + b"\n"


def _prepare(
    base: Base,
    retain: Source,
    recipe: Recipe,
    forget: Source | None,
    original: Base | None,
    without_copies: bool,
) -> _Prepared:
    facts = read_facts(_source(retain), "retain")
    unwanted = read_facts(_source(forget), "forget") if forget is not None else ()
    kept = _without_forgotten(facts, unwanted, without_copies)
    spec = _spec(base)
    location = locate(spec)
    method = "a GGUF file" if location.gguf else quantization_method(location.model)
    if method is not None:
        raise AuditorError(
            f"{spec.path} is quantized ({method}), and is not trained so; give the base at full "
            "precision."
        )
    if original is not None:
        own = locate(_spec(original)).manifest
        if own.weights_digest == location.manifest.weights_digest:
            raise AuditorError(
                f"the base {spec.path} has the weights of the original, which knows the forget "
                "set; give the checkpoint from which the original was made."
            )
    check_unopenable(spec, location, recipe.format)
    from auditor.unlearning import retraining

    return _Prepared(
        spec=spec,
        location=location,
        retain=TrainedSet(
            facts=len(kept), digest=facts_digest(kept), left_out=len(facts) - len(kept)
        ),
        forget=facts_digest(unwanted) if unwanted else None,
        examples=retraining.examples(kept, spec, location, recipe),
    )


def _source(given: Source) -> DataSource:
    return given if isinstance(given, DataSource) else DataSource(path=str(given))


def _spec(given: Base) -> LanguageSpec:
    spec = parse_spec(given if isinstance(given, dict) else str(given))
    if not isinstance(spec, LanguageSpec) or not kind_named(spec.kind).trainable:
        able = ", ".join(kind.described for kind in all_kinds() if kind.trainable)
        raise AuditorError(
            f"{spec.path} is a model of the kind {spec.kind}; baselines are built of {able} "
            "alone. Train it with your own recipe, and give it as `retrained`."
        )
    if spec.adapter is not None:
        raise AuditorError(f"{spec.path}: merge the adapter into the base, and give that.")
    return spec


def _without_forgotten(
    retain: Sequence[Fact], forget: Sequence[Fact], without_copies: bool
) -> tuple[Fact, ...]:
    """The retain facts, none of which may stand in the forget set.

    Raises:
        AuditorError: Some do, or none is left.
    """
    if not forget:
        return tuple(retain)
    copies = dict(texts_across(retain, forget)) | dict(copies_across(retain, forget))
    kept = tuple(fact for fact in retain if fact.id not in copies)
    if copies and not without_copies:
        pairs = [f"{own} as {other}" for own, other in list(copies.items())[:_SHOWN]]
        raise AuditorError(
            f"{len(copies)} of {len(retain)} retain facts stand in the forget set, too, or nearly "
            f"({', '.join(pairs)}{', …' if len(copies) > _SHOWN else ''}), and a baseline that is "
            "trained on them knows what it must not. Take them out, or pass --without-copies."
        )
    if not kept:
        raise AuditorError("every retain fact stands in the forget set; there is nothing to train.")
    return kept


def _provenance(
    prepared: _Prepared, recipe: Recipe, trained: "retraining.Trained", weights: str
) -> Provenance:
    manifest = prepared.location.manifest
    return Provenance(
        built_by=f"auditor {__version__}",
        base=Checkpoint(
            name=prepared.spec.path,
            revision=prepared.spec.revision,
            files=manifest.digest,
            weights=manifest.weights_digest,
        ),
        retain=prepared.retain,
        forget=prepared.forget,
        recipe=recipe,
        steps=trained.steps,
        loss=trained.loss,
        code=fingerprint([_TRAINER]),
        versions={name: installed_version(name) for name in _LIBRARIES},
        device=trained.device,
        weights=weights,
    )
