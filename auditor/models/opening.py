"""Opening of models from their specs, through their kinds."""

from typing import TYPE_CHECKING

from auditor.core.errors import AuditorError
from auditor.models.kind import Tick, kind_named, recognised
from auditor.models.manifest import Location
from auditor.models.spec import TOKEN_BUDGET, ModelSpec, PromptFormat

if TYPE_CHECKING:
    from auditor.models.model import AuditedModel


def locate(spec: ModelSpec) -> Location:
    """Find (or fetch) a model's files, check and hash them.

    They must be safe and whole.

    Raises:
        AuditorError: Nothing is there, weights are pickled, truncated or missing, or the model
            brings its own code; each with the way out.
    """
    return kind_named(spec.kind).locate(spec)


def check_unopenable(
    spec: ModelSpec, location: Location, prompt_format: PromptFormat | None = None
) -> None:
    """Refuse, before any attack, what could not be opened later.

    Raises:
        AuditorError: The files are those of another kind of model, or something does not load, or
            the prompt format is none for this kind.
    """
    found = recognised(location.model)
    if found is not None and found.name != spec.kind:
        raise AuditorError(
            f"{location.model} holds a model of the kind {found.name}, and the plan says "
            f"{spec.kind}; set `kind: {found.name}` or leave `kind` out."
        )
    kind_named(spec.kind).check(spec, location, prompt_format)


def open_model(
    spec: ModelSpec,
    location: Location,
    prompt_format: PromptFormat,
    token_budget: int = TOKEN_BUDGET,
    tick: Tick = lambda n: None,
) -> "AuditedModel":
    """Open a located model.

    Its weights are loaded when they are first needed.
    """
    return kind_named(spec.kind).open(spec, location, prompt_format, token_budget, tick)
