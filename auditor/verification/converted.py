"""Comparison of certificates converted from an earlier schema.

Its sentences follow from no evidence, so values are compared and messages are not. Figures that
attacks report beside K were named by sentences then: each of their values must be among those that
follow from the evidence today.
"""

from collections.abc import Callable
from typing import Any

from auditor.core.messages import is_message
from auditor.verification.differences import differences

Change = Callable[[str], str]


def comparable(
    stated: dict[str, Any], again: dict[str, Any], mark: Change | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two certificates as plain data, without what cannot be compared.

    Args:
        stated: the converted certificate.
        again: what follows from its evidence.
        mark: puts keyed digests in the place of texts, if the certificate is redacted.
    """
    stated, again = _without_messages(stated), _without_messages(again)
    for certificate in (stated, again):
        certificate["self_checks"] = [check["passed"] for check in certificate["self_checks"]]
    # some self-checks of earlier releases are gates today
    if _among(again["self_checks"], stated["self_checks"]):
        stated["self_checks"] = again["self_checks"]
    _drop(again["worst_facts"], "said_as_released")
    for row, worked_out in zip(stated["matrix"], again["matrix"], strict=True):
        for one in (row, worked_out):
            for reading in one["readings"]:
                if reading["figures"]:
                    del reading["figures"]["spread"], reading["figures"]["self_test"]
            if one["explanation"]:
                del one["explanation"]["measure"]
            one["notes"].pop("comparison", None)  # said in a sentence why there is no explanation
            if mark is not None:
                one["notes"] = _each_text(one["notes"], mark)
        for name, values in (("side_figures", _of_figure), ("curves", _of_curve)):
            row[name] = [values(each) for each in row[name]]
            found = [values(each) for each in worked_out[name]]
            worked_out[name] = row[name] if _among(row[name], found) else found
    return stated, again


def _drop(parts: list[dict[str, Any]], name: str) -> None:
    """Leave out a field that earlier schemas did not have."""
    for part in parts:
        part.pop(name, None)


def _among(stated: list[Any], found: list[Any]) -> bool:
    """Whether every value is among those that were found, each for one."""
    left = list(found)
    for value in stated:
        same = next((each for each in left if not any(differences(value, each, "it"))), None)
        if same is None:
            return False
        left.remove(same)
    return True


def _without_messages(value: Any) -> Any:
    """Plain data that says where a message is, and not which."""
    if is_message(value):
        return "a message"
    if isinstance(value, dict):
        return {name: _without_messages(item) for name, item in value.items()}
    if isinstance(value, list):
        if value and all(map(is_message, value)):
            return "messages"
        return [_without_messages(item) for item in value]
    return value


def _of_figure(figure: dict[str, Any]) -> list[Any]:
    return [figure[name] for name in ("of", "against", "value", "lower", "upper")]


def _of_curve(curve: dict[str, Any]) -> list[Any]:
    return [curve["of"], curve["points"]]


def _each_text(value: Any, change: Change) -> Any:
    """Plain data with every text in it changed, names of entries included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        return {change(name): _each_text(item, change) for name, item in value.items()}
    return value
