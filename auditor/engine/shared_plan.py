"""Plan as it is passed on: names without places.

Where a folder lies says who worked where, and helps nobody who has another machine. What was
measured is said by digests.
"""

from typing import Any

from pydantic import BaseModel

from auditor.attack import ATTACKS
from auditor.core.paths import NAMES, path_type
from auditor.engine.plan import AttackRequest


def shared_plan(settings: BaseModel) -> dict[str, Any]:
    """Return a plan, or a part of one, without local paths.

    Args:
        settings: the plan; a name on the hub stays, and of a path its last part does.
    """
    return _named(settings, settings.model_dump(mode="json"))


def _named(settings: BaseModel, dumped: dict[str, Any]) -> dict[str, Any]:
    fields = type(settings).model_fields
    named = dict(dumped)
    for name in dumped.keys() & fields.keys():
        kind = path_type(fields[name].annotation, fields[name].metadata)
        if kind is None:
            named[name] = _inside(getattr(settings, name), dumped[name])
        else:
            named[name] = _each(kind, dumped[name])
    if isinstance(settings, AttackRequest):
        named["parameters"] = shared_parameters(settings.attack, dumped["parameters"])
    return named


def _inside(value: Any, dumped: Any) -> Any:
    if isinstance(value, BaseModel) and isinstance(dumped, dict):
        return _named(value, dumped)
    if isinstance(value, list | tuple) and isinstance(dumped, list):
        return [_inside(one, plain) for one, plain in zip(value, dumped, strict=True)]
    return dumped


def _each(kind: Any, dumped: Any) -> Any:
    if isinstance(dumped, list):
        return [_each(kind, one) for one in dumped]
    return NAMES[kind](dumped) if isinstance(dumped, str) else dumped


def shared_parameters(attack: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of an attack without local paths.

    Args:
        attack: registered name of the attack.
        given: its parameters as plain data.
    """
    fields = ATTACKS.parameters_type(attack).model_fields
    kinds = {name: path_type(f.annotation, f.metadata) for name, f in fields.items()}
    return {
        name: value if (kind := kinds.get(name)) is None else _each(kind, value)
        for name, value in given.items()
    }
