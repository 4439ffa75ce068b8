"""From a spec to a subject, by kind."""

from collections.abc import Callable

from auditor.subjects.causal_lm import TOKEN_BUDGET, CausalLM
from auditor.subjects.loading import load_tokenizer, read_config
from auditor.subjects.manifest import Location
from auditor.subjects.spec import PromptFormat, SubjectSpec
from auditor.subjects.subject import Subject


def refuse_unopenable(spec: SubjectSpec, location: Location) -> None:
    """Refuse, before any attack, what could not be opened later: configuration and tokenizer.

    Raises:
        AuditorError: either does not load, or belongs to another kind of model.
    """
    read_config(spec, location.model)
    load_tokenizer(spec, location)


def open_subject(
    spec: SubjectSpec,
    location: Location,
    prompt_format: PromptFormat,
    token_budget: int = TOKEN_BUDGET,
    tick: Callable[[int], None] = lambda n: None,
) -> Subject:
    """Open a located subject. Its weights are loaded when they are first needed."""
    openers = {"causal-lm": CausalLM}
    return openers[spec.kind](spec, location, prompt_format, token_budget, tick)
