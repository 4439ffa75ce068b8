"""Markdown pages of the attacks, made from their class attributes and parameters."""

import json
from collections.abc import Iterator
from typing import Any

from auditor.attack import ATTACKS, SECTIONS, AttackMetadata, Parameters


def pages() -> dict[str, str]:
    """Pages of all installed attacks and an index, by file name."""
    found = {page_name(name): page(name) for name in ATTACKS.names()}
    return {"index.md": _index(), **found}


def page_name(attack: str) -> str:
    """File name of an attack's page."""
    return f"{attack.replace('/', '-')}.md"


def page(name: str) -> str:
    """Return an attack's page.

    It says what the attack does, against whom and at what cost, and lists its presets and
    parameters.
    """
    described = ATTACKS.metadata(name)
    lines = [f"# {name}", "", described.summary, ""]
    for paragraph in described.paragraphs:
        lines += [paragraph, ""]
    for field, label in SECTIONS.items():
        if text := getattr(described, field):
            lines += [f"**{label}.** {text}", ""]
    lines += ["## How it runs", "", *_running(described), ""]
    lines += ["## Presets", "", *_presets(described), ""]
    lines += ["## Parameters", "", *_parameters(ATTACKS.parameters_type(name)), ""]
    return "\n".join(lines).rstrip() + "\n"


def described_parameters(settings: type[Parameters]) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each parameter."""
    schema = settings.model_json_schema()
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


def _running(described: AttackMetadata) -> list[str]:
    needs = described.requires
    facts = [
        "Searches on every arm first; what all arms found is pooled and every arm is measured "
        "with the pool."
        if described.searches
        else "One measurement on every arm.",
        "Runs once for each of the plan's seeds; K is averaged over them."
        if described.seeded
        else "Nothing in it is random.",
        "K is knowledge by the audit's own metrics."
        if described.metric is None
        else f"K is a measure of its own, `{described.metric}`.",
    ]
    if needs.packages:
        facts.append(f"Needs {', '.join(f'`{package}`' for package in needs.packages)}.")
    if needs.gpu:
        facts.append("Needs a GPU.")
    if needs.full_precision:
        facts.append("Does not apply to a checkpoint that is quantized already.")
    return [f"* {fact}" for fact in facts]


def _presets(described: AttackMetadata) -> list[str]:
    if not described.presets:
        return ["In no profile; a plan asks for it by name."]
    rows = ["| preset | from profile | role in the verdict |", "| --- | --- | --- |"]
    rows += [
        f"| `{described.name} {preset.name}` | {preset.profile} | "
        f"{described.role(preset.mandatory)} |"
        for preset in described.presets
    ]
    return rows


def _parameters(settings: type[Parameters]) -> list[str]:
    rows = [
        f"| `{name}` | {kind} | {default} | {_cell(meaning)} |"
        for name, kind, default, meaning in described_parameters(settings)
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
