"""Redaction of a certificate: texts of facts become keyed digests.

It is for forget sets that may not travel.

Every text of a fact, and every answer of a model, is replaced by a keyed digest: the first 16 hex
digits of its HMAC-SHA256. Equal texts stay equal, so that a reader still sees that two facts have
one entity, and who holds the key can tell which is which. A plain hash would not hide them: names
and answers are few and known, so that anybody can hash a list of candidates and look for matches.

Texts are in more places than their own. What is done in each:

* ``worst_facts``, ``worst_entities`` and ``image_examples``: fact, entity, prompt, answer and
  answers of the models are replaced;
* ``about``, and the same in the plan: what was to be forgotten is replaced;
* ``identity.set_digests``: replaced, for a set may have few facts, whose plain digest can be
  guessed;
* ``reproduction.prompts``: facts and prompts are replaced;
* messages and self-checks: the parameters that they name as quoted (what an exception said) are
  replaced whole;
* notes of attacks: every text, and every name of an entry, is replaced that is not from the
  vocabulary of this module, of the certificate (arms, metrics, parameters) or itself a digest;
* other parameters of messages, side figures, curves and attacks, the reasons of waivers, and what
  else ``about`` says: the texts known from the first places are replaced where they occur.

Pictures show what texts say, so of each at most four by four cells of its mean colours are left.
That hides a face or a style; a plain shape on a plain ground may still be guessed from its cells.

What stays: numbers, codes, paths and names of models and files, labels of attacks, the policy, the
plan but for parameters. ``facts_digest`` and ``reproduction.prompts.read`` stay too: they are plain
digests, but of all texts of all three sets at once, so a guess must have all of them right.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from typing import Any

from auditor.certificate.media import content_of, text_of
from auditor.certificate.schema import Certificate, MatrixRow
from auditor.core.errors import AuditorError
from auditor.core.messages import is_message
from auditor.core.picture import pixelated

KEY_BYTES = 32
"""Least length of a key in bytes."""

SHORTEST = 3
"""Least length of a text that is looked for in sentences: a shorter one would be in every sentence.
"""
WORD = 6
"""Length below which a text is looked for as words of its own, not inside of others."""

MARK = "redacted:"
"""Beginning of what stands in place of a text."""
_MARK = re.compile(MARK + r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"-?[0-9.]{1,6}")
_NAME = re.compile(r"[a-z]+(_[a-z0-9]+)*")
_TECHNICAL = frozenset(
    {"blind", "calibration", "calibration_digest", "class", "dtype", "format", "kernel", "method"}
    | {"on", "metric", "quantized_in", "recipe", "score", "split", "tensor", "text"}
)
"""Names of notes whose short values say how something was done."""
_STATISTICS = frozenset(
    {"after", "before", "count", "facts", "forget", "fpr", "holdout", "k", "level", "lower", "mean"}
    | {"mean_k", "n", "retain", "share", "step", "strongest", "tpr", "upper", "value", "variance"}
)
"""Names inside of a note that say what a number is."""
_OF_A_FACT = ("fact", "entity", "prompt", "answer")
_WAYS = "wordings"
"""Name of the note whose entries are phrasings that the code of an attack names."""

Change = Callable[[str], str]


def redact(certificate: Certificate, key: bytes) -> Certificate:
    """Return the certificate with keyed digests in place of texts.

    It gets an id of its own.

    A certificate that was redacted before comes back with its digests as they are, whatever the
    key; texts in it that are no digests are replaced, since its word for it is not enough.

    Raises:
        AuditorError: the key is too short to keep anybody from trying all of them.
    """
    check_key(key)
    mark = marker(key)
    content = certificate.model_dump(mode="json")
    sweep = _sweep([*_texts(certificate), *_quoted(content)], mark)
    words = _vocabulary(certificate)
    content["redaction"] = "keyed digests"
    digests = content["identity"].get("set_digests", {})
    digests.update({name: mark(digest) for name, digest in digests.items()})
    content["worst_facts"] = [_fact(fact, mark) for fact in content["worst_facts"]]
    for entity in content["worst_entities"]:
        entity["entity"] = mark(entity["entity"])
    for example in content.get("image_examples", {}).get("facts", ()):
        _redact_image_example(example, mark)
    content["matrix"] = [
        _row(row, certificate.matrix[index], words, mark, sweep)
        for index, row in enumerate(content["matrix"])
    ]
    for part in ("verdict", "self_checks", "positive_controls", "positive_controls_missing"):
        content[part] = _parameters(content[part], mark, sweep)
    content["warnings"] = _parameters(content["warnings"], mark, sweep)
    for waiver in content["policy"]["waivers"]:
        waiver["reason"] = sweep(waiver["reason"])
    for prompt in content["reproduction"].get("prompts", {}).get("shown", ()):
        prompt.update({name: mark(prompt[name]) for name in ("fact", "text")})
    plan = content["reproduction"]["plan"]
    _redact_about(content, mark, sweep)
    _redact_about(plan, mark, sweep)
    if "attacks" in plan:
        plan["attacks"] = _each_text(plan["attacks"], sweep)
    unnamed = Certificate.model_validate(content)
    return unnamed.model_copy(update={"certificate_id": unnamed.content_digest})


def check_key(key: bytes) -> None:
    """Refuse a key that somebody could find by trying all of them.

    Raises:
        AuditorError: it is too short.
    """
    if len(key) < KEY_BYTES:
        raise AuditorError(
            f"the redaction key has {len(key)} bytes and needs at least {KEY_BYTES}; make one with "
            f"`openssl rand -out redaction.key {KEY_BYTES}` and keep it where the facts are kept."
        )


def marker(key: bytes) -> Change:
    """Return a function that replaces a text with its keyed digest.

    A digest stays as it is.
    """

    def mark(text: str) -> str:
        if _MARK.fullmatch(text):
            return text
        code = hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{MARK}{code.hexdigest()[:16]}"

    return mark


def _texts(certificate: Certificate) -> Iterator[str]:
    """The texts of facts and answers that the certificate shows as such."""
    for fact in certificate.worst_facts:
        yield from (fact.fact, fact.entity, fact.prompt, fact.answer, *fact.said.values())
        yield fact.said_as_released or ""
    examples = certificate.image_examples
    for shown in examples.facts if examples else ():
        yield from (shown.fact, shown.entity, shown.prompt, shown.answer)
    for entity in certificate.worst_entities:
        yield entity.entity
    prompts = certificate.reproduction.prompts
    for prompt in prompts.shown if prompts else ():
        yield from (prompt.fact, prompt.text)


def _quoted(content: Any) -> Iterator[str]:
    """Yield foreign texts that messages and self-checks quote."""
    if isinstance(content, list):
        for item in content:
            yield from _quoted(item)
    elif isinstance(content, dict):
        for name in content["quoted"] if _has_parameters(content) else ():
            if isinstance(said := content["params"].get(name), str):
                yield said
        for item in content.values():
            yield from _quoted(item)


def _has_parameters(value: dict[str, Any]) -> bool:
    """Whether plain data is a message, or a self-check, that quotes somebody."""
    return isinstance(value.get("params"), dict) and isinstance(value.get("quoted"), list)


def _parameters(value: Any, mark: Change, sweep: Change) -> Any:
    """Plain data with what messages quote replaced, and their other parameters swept."""
    if isinstance(value, list):
        return [_parameters(item, mark, sweep) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _parameters(item, mark, sweep) for name, item in value.items()}
    if isinstance(value.get("params"), dict):
        quoted = value.get("quoted") or ()
        changed["params"] = {
            name: item if is_message(item) else _each_text(item, mark if name in quoted else sweep)
            for name, item in changed["params"].items()
        }
    return changed


def _sweep(texts: list[str], mark: Change) -> Change:
    """Replaces texts inside of sentences, the longest first."""
    known = {
        form
        for text in texts
        if len(text.strip()) >= SHORTEST and not _MARK.fullmatch(text)
        for form in (text, repr(text)[1:-1])
    }
    forms = sorted(known, key=lambda form: (-len(form), form))

    def sweep(sentence: str) -> str:
        found = [
            re.escape(form) if len(form) >= WORD else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in forms
            if form in sentence
        ]
        if not found:
            return sentence
        return re.sub("|".join(found), lambda match: mark(match[0]), sentence)

    return sweep


def _each_text(value: Any, change: Change) -> Any:
    """Return a value with every text in it changed.

    The names of entries stay.
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        return {name: _each_text(item, change) for name, item in value.items()}
    return value


def _fact(fact: dict[str, Any], mark: Change) -> dict[str, Any]:
    named = {name: mark(fact[name]) for name in _OF_A_FACT}
    if "said_as_released" in fact:
        named["said_as_released"] = mark(fact["said_as_released"])
    return fact | named | {"said": {arm: mark(said) for arm, said in fact["said"].items()}}


def _redact_about(part: dict[str, Any], mark: Change, sweep: Change) -> None:
    stated = part.get("about")
    if isinstance(stated, dict):
        part["about"] = {
            name: (mark if name == "forget" else sweep)(said) for name, said in stated.items()
        }


def _redact_image_example(example: dict[str, Any], mark: Change) -> None:
    example.update({name: mark(example[name]) for name in _OF_A_FACT})
    for view in example["views"]:
        view["pictures"] = {
            arm: text_of(pixelated(content_of(picture)))
            for arm, picture in view["pictures"].items()
        }


def _row(
    content: dict[str, Any], row: MatrixRow, words: frozenset[str], mark: Change, sweep: Change
) -> dict[str, Any]:
    words |= {row.attack, row.variant, row.label, *_strings(row.parameters)}
    words |= {reading.metric for reading in row.readings}
    words |= set(row.parameters)
    changed: dict[str, Any] = {"parameters": _each_text(content["parameters"], sweep)}
    for part in ("reason", "readings", "shared_gates", "side_figures", "curves"):
        changed[part] = _parameters(content[part], mark, sweep)
    changed["notes"] = {
        arm: {
            _name(name, words, mark, sweep): _note(note, name, words, mark, sweep)
            for name, note in noted.items()
        }
        for arm, noted in content["notes"].items()
    }
    return content | changed


def _note(value: Any, name: str, words: frozenset[str], mark: Change, sweep: Change) -> Any:
    if isinstance(value, str):
        technical = name in _TECHNICAL and len(value) <= 64
        known = value in words or technical or _DIGEST.fullmatch(value)
        return sweep(value) if known else mark(value)
    if isinstance(value, list):
        return [_note(item, name, words, mark, sweep) for item in value]
    if isinstance(value, dict):
        inner = words | _STATISTICS
        change = sweep if name == _WAYS else mark
        return {
            (sweep if entry in inner or _NUMBER.fullmatch(entry) else change)(entry): _note(
                item, entry, words, mark, sweep
            )
            for entry, item in value.items()
        }
    return value


def _name(name: str, words: frozenset[str], mark: Change, sweep: Change) -> str:
    """The name of a note, which the code of an attack chose."""
    return sweep(name) if name in words or _NAME.fullmatch(name) else mark(name)


def _vocabulary(certificate: Certificate) -> frozenset[str]:
    """Words of the certificate that name no fact: arms, sets, metrics."""
    scope = certificate.scope
    arms = {arm.arm for arm in certificate.identity.arms}
    return frozenset(
        {"forget", "retain", "holdout", "no recall", *arms, scope.primary_metric}
        | set(scope.deciding_metrics)
        | set(scope.reported_metrics)
    )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
