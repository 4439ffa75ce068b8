"""Facts turned into token ids before any weight is loaded."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets, SetName
from auditor.models.asked import AskedFacts, ShownPrompt, ShownTraces
from auditor.models.language.model import Example, LanguageModel
from auditor.models.language.prompting import (
    begun_again,
    names,
    reads_clock,
    special_tokens,
    template_of,
    templated,
    token_ids,
)
from auditor.models.language.traces import state
from auditor.models.language.transcript import LEAST_SPARE_TOKENS
from auditor.models.spec import TraceFormat

_SETS: tuple[SetName, ...] = ("forget", "retain", "holdout")
_WRITTEN: tuple[SetName, ...] = ("forget", "retain")
"""Sets of which answers are written, all as long as the longest."""
_SHOWN = 5
"""Most facts that a message names."""

Encoded = Mapping[str, Sequence[Any]]
"""Id of each fact to the examples of its prompts and answers; the first is what it asks."""


def asked_facts(model: LanguageModel, sets: FactSets, *, generates: bool) -> AskedFacts:
    """Turn all facts into token ids as scoring does, and measure them.

    Args:
        model: The model; its weights are not loaded.
        sets: The facts.
        generates: Whether answers are written, which need room after the longest prompt.

    Raises:
        AuditorError: Some facts cannot be asked, or all prompts are the same; all are named.
    """
    facts = [fact for name in _SETS for fact in sets.named(name)]
    prompts = {fact.id: _prompt(model, fact) for fact in facts}
    encoded = {fact.id: model.encode(_pairs(fact)) for fact in facts}
    faults = [
        *_asked_nothing(facts, prompts),
        *_without_tokens(encoded),
        *_beyond_vocabulary(encoded, model.vocabulary),
        *_beyond_context(encoded, model.context_length),
    ]
    if generates and not faults:
        written = [fact.id for name in _WRITTEN for fact in sets.named(name)]
        faults += _without_room({n: encoded[n] for n in written}, model.context_length)
    if faults:
        raise AuditorError(" ".join(faults))
    tokenizer, form = model.tokenizer, model.prompt_format
    special = special_tokens(tokenizer)
    return AskedFacts(
        facts={name: _digest(items) for name, items in encoded.items()},
        shown={
            name: _shown(model, first, prompts[first.id])
            for name in _SETS
            for first in sets.named(name)[:1]
        },
        date=form.date.isoformat() if reads_clock(tokenizer, form) else None,
        begun_again=sum(begun_again(tokenizer, ids) > 0 for ids in prompts.values()),
        begun_within=sum(_begun_within(tokenizer, ids) for ids in prompts.values()),
        special=tuple(
            fact.id for fact in facts if special and any(map(special.search, _texts(fact)))
        ),
        unread=tuple(
            name
            for name in form.template_arguments
            if name != "chat_template" and not names(name, template_of(tokenizer, form))
        ),
        traces=_traces(model, facts[0].prompt),
    )


def prompts_as_read(model: LanguageModel, sets: FactSets) -> dict[str, str]:
    """Return the text of each prompt's tokens by id of the fact.

    Special tokens are included.

    Args:
        model: The model; its weights are not loaded.
        sets: The facts.
    """
    facts = [fact for name in _SETS for fact in sets.named(name)]
    return {fact.id: _read(model, _prompt(model, fact))[0] for fact in facts}


def _prompt(model: LanguageModel, fact: Fact) -> list[int]:
    """Return the ids of a prompt with those put around it."""
    form = model.prompt_format
    text = templated(model.tokenizer, fact.prompt, form)
    return token_ids(model.tokenizer, text, special=not form.chat)


def _pairs(fact: Fact) -> list[tuple[str, str]]:
    """Return everything that a model is asked, the fact itself first."""
    answers = (fact.answer, *fact.accepted, *fact.distractors, *_reworded(fact))
    return [
        *((fact.prompt, answer) for answer in answers),
        *((prompt, fact.answer) for prompt in fact.paraphrases),
    ]


def _texts(fact: Fact) -> tuple[str, ...]:
    others = (*fact.paraphrases, *fact.distractors, *fact.accepted, *_reworded(fact))
    return (fact.prompt, fact.answer, *others)


def _reworded(fact: Fact) -> tuple[str, ...]:
    return () if fact.reworded_answer is None else (fact.reworded_answer,)


def _digest(items: Sequence[Any]) -> str:
    written = json.dumps([vars(item) for item in items], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()


def _shown(model: LanguageModel, fact: Fact, ids: list[int]) -> ShownPrompt:
    return ShownPrompt(fact.id, *_read(model, ids))


def _read(model: LanguageModel, ids: list[int]) -> tuple[str, int]:
    """Return text and number of a prompt's tokens that are read."""
    ids = ids[begun_again(model.tokenizer, ids) :]
    return str(model.tokenizer.decode(ids)), len(ids)


def _traces(model: LanguageModel, prompt: str) -> ShownTraces | None:
    """Return what is known of the model's traces of thought."""
    markers, form = model.trace_markers, model.prompt_format
    if markers is None:
        return None
    found = state(templated(model.tokenizer, prompt, form), markers)
    place: Literal["split", "emptied", "known"] = "known"
    if found == "closed":
        place = "emptied"
    elif model.expects_trace:
        place = "split"
    tokens = (form.trace or TraceFormat()).tokens
    return ShownTraces(markers.open, markers.close, tokens, place)


def _begun_within(tokenizer: Any, ids: list[int]) -> bool:
    """Whether a begin token stands in the midst of a prompt."""
    begin = tokenizer.bos_token_id
    if begin is None or begin == tokenizer.eos_token_id:
        return False
    return begin in ids[1 + begun_again(tokenizer, ids) :]


def _asked_nothing(facts: Sequence[Fact], prompts: Mapping[str, list[int]]) -> Iterator[str]:
    """Yield that a template or a tokenizer leaves all prompts out."""
    if len({fact.prompt for fact in facts}) > 1 and len(set(map(tuple, prompts.values()))) == 1:
        yield (
            "all facts are asked in the same tokens: the chat template or the tokenizer leaves "
            "their prompts out. Give one that reads texts (`format.template_arguments: "
            "{chat_template: …}`, or `tokenizer:`), or set `chat: false`."
        )


def _without_tokens(encoded: Encoded) -> Iterator[str]:
    lacking = [n for n, items in encoded.items() if any(not e.answer_tokens for e in items)]
    if lacking:
        yield (
            f"the tokenizer makes no token of an answer of {_named(lacking)}. Write these answers "
            "in other characters, or leave the facts out."
        )


def _beyond_vocabulary(encoded: Encoded, rows: int | None) -> Iterator[str]:
    last = {n: max(max(e.token_ids, default=0) for e in items) for n, items in encoded.items()}
    beyond = {n: token for n, token in last.items() if rows is not None and token >= rows}
    if beyond:
        yield (
            f"the tokenizer writes tokens up to {max(beyond.values())} in {_named(list(beyond))}, "
            f"and the model has embeddings of {rows} tokens. Give the tokenizer that belongs to "
            "it (`tokenizer:`), or save the model with its embeddings resized."
        )


def _beyond_context(encoded: Encoded, limit: int | None) -> Iterator[str]:
    lengths = {n: max(int(e.positions) for e in items) for n, items in encoded.items()}
    longer = {n: length for n, length in lengths.items() if limit is not None and length > limit}
    if longer:
        named = [f"{name} ({length} tokens)" for name, length in longer.items()]
        yield (
            f"the context of the model holds {limit} tokens, and prompt and answer are longer in "
            f"{_named(named)}. Shorten these facts, cut them into several, or leave them out."
        )


def _without_room(encoded: Encoded, limit: int | None) -> Iterator[str]:
    """Yield that the longest answer does not fit behind the longest prompt."""
    first: dict[str, Example] = {name: items[0] for name, items in encoded.items()}
    asks = max(first, key=lambda name: first[name].before)
    answers = max(first, key=lambda name: first[name].answer_tokens)
    needed = first[asks].before + first[answers].answer_tokens + LEAST_SPARE_TOKENS
    if limit is not None and needed > limit:
        yield (
            f"the context of the model holds {limit} tokens, and {needed} are needed to write an "
            f"answer as long as the longest ({answers}, {first[answers].answer_tokens} tokens, and "
            f"{LEAST_SPARE_TOKENS} to spare) after the longest prompt ({asks}, "
            f"{first[asks].before} tokens). Shorten one of the two, or take metrics that write no "
            "answers."
        )


def _named(facts: Sequence[str]) -> str:
    """Return how many facts there are, with the first few by name."""
    more = ", …" if len(facts) > _SHOWN else ""
    return f"{len(facts)} fact(s): {', '.join(facts[:_SHOWN])}{more}"
