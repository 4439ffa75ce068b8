"""What must hold between the sets before anything runs."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from auditor.data.fact import Fact, FactSets
from auditor.errors import AuditorError

MINIMUM_OVERLAP = 20
"""Characters of an answer or passage from which finding it in another text means something."""


def refuse_contradictions(sets: FactSets) -> None:
    """Refuse sets that cannot be audited.

    Raises:
        AuditorError: ids occur twice, or a fact stands in two sets; all of them are named.
    """
    problems = [*_repeated_ids(sets), *_shared_facts(sets)]
    if problems:
        raise AuditorError(
            f"{len(problems)} contradiction(s) in the data:\n  " + "\n  ".join(problems)
        )


def warnings(sets: FactSets) -> list[str]:
    """What may weaken an audit and is printed in its certificate."""
    found = []
    same = Counter((_normal(f.prompt), _normal(f.answer)) for f in sets.forget)
    if repeated := sum(n - 1 for n in same.values()):
        found.append(
            f"{repeated} forget fact(s) repeat the question and answer of another; each should "
            "count once (use `paraphrases` for other phrasings)"
        )
    if not sets.retain:
        found.append("there is no retain set, so utility is not measured and nothing can PASS")
    if sets.holdout and {f.subject for f in sets.holdout} & {f.subject for f in sets.forget}:
        found.append("forget and holdout share subjects; the holdout should be people never seen")
    return found


def forget_text_within(sets: FactSets, texts: Iterable[str]) -> list[str]:
    """Ids of forget facts whose text stands inside ``texts`` (a quantizer's calibration set).

    A quantizer that is calibrated on what should be forgotten measures something else.
    """
    haystack = "\n".join(_normal(text) for text in texts)
    return [fact.id for fact in sets.forget if any(n in haystack for n in _needles(fact))]


def _needles(fact: Fact) -> Iterator[str]:
    yield f"{_normal(fact.prompt)} {_normal(fact.answer)}"
    for text in (fact.answer, fact.text or ""):
        if len(_normal(text)) >= MINIMUM_OVERLAP:
            yield _normal(text)


def _repeated_ids(sets: FactSets) -> Iterator[str]:
    places = defaultdict(list)
    for name in FactSets.model_fields:
        for fact in getattr(sets, name):
            places[fact.id].append(name)
    for fact_id, names in places.items():
        if len(names) > 1:
            yield f"the id {fact_id!r} occurs {len(names)} times ({', '.join(names)})"


def _shared_facts(sets: FactSets) -> Iterator[str]:
    forget = {(_normal(f.prompt), _normal(f.answer)): f.id for f in sets.forget}
    for name, facts in (("retain", sets.retain), ("holdout", sets.holdout)):
        for fact in facts:
            twin = forget.get((_normal(fact.prompt), _normal(fact.answer)))
            if twin is not None:
                yield f"forget fact {twin!r} stands in the {name} set too, as {fact.id!r}"


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()
