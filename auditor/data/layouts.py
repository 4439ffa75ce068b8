"""Layouts of published data sets: which column holds what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Schema = Literal["auditor", "tofu", "muse", "muse-verbatim", "rwku", "wmdp"]


@dataclass(frozen=True)
class Layout:
    """Columns of a published data set."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of each fact field whose name is not the field's own."""
    unneeded: frozenset[str] = frozenset()
    """Columns that it has and no fact needs."""
    indexed: bool = False
    """Whether the answer is the place of the right text among the distractors' column."""
    hazardous: bool = False
    """Whether its texts may do harm, so that no message quotes them."""


LAYOUTS: Mapping[Schema, Layout] = MappingProxyType(
    {
        "auditor": Layout(),
        "tofu": Layout(
            {
                "prompt": "question",
                "entity": "author",
                "paraphrases": "paraphrased_question",
                "distractors": "perturbed_answer",
                "reworded_answer": "paraphrased_answer",
            },
            unneeded=frozenset({"option1", "option2", "option3", "option4"}),
        ),
        "muse": Layout({"prompt": "question"}),
        "muse-verbatim": Layout({"answer": "gt"}),
        "rwku": Layout({"prompt": "query"}, unneeded=frozenset({"level", "type"})),
        "wmdp": Layout(
            {"prompt": "question", "distractors": "choices"}, indexed=True, hazardous=True
        ),
    }
)
"""Layouts by name."""

_HAZARDOUS = "wmdp"
"""Name that tasks and data sets of hazardous knowledge carry (arXiv 2403.03218)."""


def is_hazardous(name: str) -> bool:
    """Return whether a name says that texts may do harm.

    It is that of a task or of a data set.
    """
    return _HAZARDOUS in name.casefold()


_ELSEWHERE = {
    "prompt": ("instruction", "input"),
    "answer": ("output", "response", "completion", "target"),
    "distractors": ("options",),
}
"""Column names that other data sets often give to a fact's field."""


def published_columns(field_name: str) -> tuple[str, ...]:
    """Return columns that data sets give to a fact's field.

    The likeliest come first.
    """
    known = [field_name, *(layout.columns.get(field_name, "") for layout in LAYOUTS.values())]
    return tuple(name for name in (*known, *_ELSEWHERE.get(field_name, ())) if name)
