"""What an attack's docstring says of it, taken apart."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

SECTIONS: Mapping[str, str] = {
    "threat_model": "Threat model",
    "access": "Access",
    "cost": "Cost",
    "leak": "A leak",
    "source": "Source",
}
"""Fields by the words that their paragraphs begin with."""


@dataclass(frozen=True)
class Documentation:
    """An attack in words; a paragraph that the docstring lacks is None."""

    summary: str
    """One line on what it does."""
    text: tuple[str, ...]
    """Paragraphs without a label."""
    threat_model: str | None
    """Who would do this."""
    access: str | None
    """What they need of the model."""
    cost: str | None
    """What it takes."""
    leak: str | None
    """What hidden knowledge looks like under it."""
    source: str | None
    """Where it comes from."""


def documentation(cls: type) -> Documentation:
    """Take a class's docstring apart into its summary, its text and its labelled paragraphs."""
    cleaned = inspect.cleandoc(cls.__doc__ or "").replace("``", "")
    paragraphs = [" ".join(part.split()) for part in cleaned.split("\n\n") if part.strip()]
    labelled: dict[str, str] = {}
    text = []
    for paragraph in paragraphs[1:]:
        for field, label in SECTIONS.items():
            if paragraph.startswith(f"{label}:"):
                labelled[field] = paragraph.removeprefix(f"{label}:").strip()
                break
        else:
            text.append(paragraph)
    return Documentation(
        summary=paragraphs[0] if paragraphs else "",
        text=tuple(text),
        **{field: labelled.get(field) for field in SECTIONS},
    )
