"""Opening of models from their specs, through their kinds."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.models.asked import AskedFacts
from auditor.models.kind import Tick, kind_named, recognised
from auditor.models.manifest import Location, files_beside
from auditor.models.spec import TOKEN_BUDGET, ModelSpec, PromptFormat

if TYPE_CHECKING:
    from auditor.models.model import AuditedModel

_SHOWN = 300
"""Most characters of a library's own message that are quoted."""
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EIO)
"""Errors of the system that say nothing about a model's files."""


def locate(spec: ModelSpec) -> Location:
    """Find (or fetch) a model's files, check and hash them.

    They must be safe and whole.

    Raises:
        AuditorError: Nothing is there, weights are pickled, truncated or missing, or the model
            brings its own code; each with the way out.
    """
    with _faults_of(spec.path):
        location = kind_named(spec.kind).locate(spec)
        return location.model_copy(update={"beside": files_beside(location)})


def check_unopenable(
    spec: ModelSpec, location: Location, prompt_format: PromptFormat | None = None
) -> None:
    """Refuse, before any attack, what could not be opened later.

    Raises:
        AuditorError: The files are those of another kind of model, or something does not load, or
            the prompt format is none for this kind.
    """
    with _faults_of(str(location.model)):
        found = recognised(location.model)
        if found is not None and found.name != spec.kind:
            raise AuditorError(
                f"{location.model} holds a model of the kind {found.name}, and the plan says "
                f"{spec.kind}; set `kind: {found.name}` or leave `kind` out."
            )
        kind_named(spec.kind).check(spec, location, prompt_format)


def asked_facts(
    spec: ModelSpec,
    location: Location,
    sets: FactSets,
    prompt_format: PromptFormat,
    *,
    generates: bool,
) -> AskedFacts:
    """Turn facts into the ids that a located model is asked in.

    Raises:
        AuditorError: Some cannot be asked; all are named.
    """
    with _faults_of(str(location.model)):
        return kind_named(spec.kind).asked_facts(
            spec, location, sets, prompt_format, generates=generates
        )


@contextmanager
def _faults_of(model: str) -> Iterator[None]:
    """Name the model in whatever its files lead a library to.

    Files of a wrong form make libraries raise anything; extension modules panic.

    Raises:
        AuditorError: Its files are of a wrong form.
    """
    try:
        yield
    except (AuditorError, KeyboardInterrupt, SystemExit, MemoryError, ImportError):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            raise
        raise AuditorError(
            f"the files of {model[:_SHOWN]} do not open "
            f"({type(error).__name__}: {_on_one_line(error)}). Check that its configuration, its "
            "index and its tokenizer are whole and belong to it."
        ) from error


def _on_one_line(error: BaseException) -> str:
    """What an error says, shortened, without line breaks."""
    return " ".join(str(error).split())[:_SHOWN]


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
