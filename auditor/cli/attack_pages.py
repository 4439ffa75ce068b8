"""Markdown pages of the attacks, made from their class attributes and parameters."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

from auditor.attack import ATTACKS, SECTIONS, AnyAttack


def pages() -> dict[str, str]:
    """Pages of all installed attacks and an index, by file name."""
    found = {page_name(name): page(name, cls) for name, cls in ATTACKS}
    return {"index.md": _index(), **found}


def page_name(attack: str) -> str:
    """File name of an attack's page."""
    return f"{attack.replace('/', '-')}.md"


def page(name: str, cls: type[AnyAttack]) -> str:
    """An attack's page: what it does, against whom, what it costs, its presets and parameters."""
    lines = [f"# {name}", "", cls.summary, ""]
    for paragraph in inspect.cleandoc(cls.details).split("\n\n"):
        lines += [" ".join(paragraph.split()), ""] if paragraph else []
    for field, label in SECTIONS.items():
        if text := getattr(cls, field):
            lines += [f"**{label}.** {text}", ""]
    lines += ["## How it runs", "", *_running(cls), ""]
    lines += ["## Presets", "", *_presets(name, cls), ""]
    lines += ["## Parameters", "", *_parameters(cls), ""]
    return "\n".join(lines).rstrip() + "\n"


def described_parameters(cls: type[AnyAttack]) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each parameter."""
    schema = cls.parameters_type.model_json_schema()
    for name, entry in schema.get("properties", {}).items():
        default = entry.get("default", "required")
        yield name, _kind(entry), _value(default), " ".join(entry.get("description", "").split())


def _kind(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return " or ".join(map(_value, entry["enum"]))
    if "const" in entry:
        return _value(entry["const"])
    if "anyOf" in entry:
        return " or ".join(_kind(part) for part in entry["anyOf"])
    if entry.get("type") == "array":
        held = entry.get("items") or (entry.get("prefixItems") or [{}])[0]
        return f"list of {_kind(held)}"
    return str(entry.get("type", "any"))


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def _running(cls: type[AnyAttack]) -> list[str]:
    needs = cls.requires
    facts = [
        "Searches on every arm first; what all arms found is pooled and every arm is measured "
        "with the pool."
        if cls.searches
        else "One measurement on every arm.",
        "Runs once for each of the plan's seeds; K is averaged over them."
        if cls.seeded
        else "Nothing in it is random.",
        "K is knowledge by the audit's own metrics."
        if cls.metric is None
        else f"K is a measure of its own, `{cls.metric}`.",
    ]
    if needs.packages:
        facts.append(f"Needs {', '.join(f'`{package}`' for package in needs.packages)}.")
    if needs.gpu:
        facts.append("Needs a GPU.")
    if needs.full_precision:
        facts.append("Does not apply to a checkpoint that is quantized already.")
    return [f"* {fact}" for fact in facts]


def _presets(name: str, cls: type[AnyAttack]) -> list[str]:
    if not cls.presets:
        return ["In no profile; a plan asks for it by name."]
    rows = ["| preset | from profile | role in the verdict |", "| --- | --- | --- |"]
    rows += [
        f"| `{name} {preset.name}` | {preset.profile} | {cls.role(preset.mandatory)} |"
        for preset in cls.presets
    ]
    return rows


def _parameters(cls: type[AnyAttack]) -> list[str]:
    rows = [
        f"| `{name}` | {kind} | {default} | {_cell(meaning)} |"
        for name, kind, default, meaning in described_parameters(cls)
    ]
    if not rows:
        return ["It has none."]
    return ["| parameter | type | default | meaning |", "| --- | --- | --- | --- |", *rows]


def _index() -> str:
    lines = [
        "# Attacks",
        "",
        "A page each, made by `auditor attacks document`. Which of them catch what is measured in "
        "[what catches what](../what-catches-what.md).",
        "",
        "| attack | what it does |",
        "| --- | --- |",
    ]
    lines += [
        f"| [{name}]({page_name(name)}) | {_cell(ATTACKS.metadata(name).summary)} |"
        for name in ATTACKS.names()
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
