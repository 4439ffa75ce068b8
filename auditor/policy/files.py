"""Policies as files, and those that come with this package."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from auditor.core.errors import AuditorError
from auditor.core.reading import SETTINGS, read_regular
from auditor.core.reading_yaml import parse_yaml
from auditor.core.validation import did_you_mean, problems
from auditor.policy.policy import Policy

_FOLDER = "ready_made"


def ready_made() -> dict[str, str]:
    """Name to text of the policies of this package."""
    folder = files("auditor.policy").joinpath(_FOLDER)
    texts = {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }
    return dict(sorted(texts.items()))


def load_policy(name: str) -> Policy:
    """Load the policy of a name or a file.

    A bare name always means the ready-made policy, whatever lies in the working folder.

    Args:
        name: A ready-made policy, or the path of a YAML file; a path has a separator or an ending.

    Raises:
        AuditorError: There is none, it is not a policy (every problem is named with its place), or
            it goes by the name of a ready-made policy and is another.
    """
    texts = ready_made()
    path = Path(name)
    if name in texts:
        return _parse(texts[name], name)
    if not names_file(name):
        hint = did_you_mean(name, texts) or f"give one of {', '.join(texts)}."
        if path.exists():
            hint += f" To name the file in this folder, write ./{name}."
        raise AuditorError(f"there is no ready-made policy {name}; {hint}")
    try:
        policy = _parse(read_regular(path, SETTINGS), str(path))
    except OSError as error:
        hint = did_you_mean(path.name, texts) or f"give a file, or one of {', '.join(texts)}."
        raise AuditorError(f"the policy {name} cannot be read: {error.strerror}; {hint}") from error
    check_borrowed_name(policy)
    return policy


def names_file(text: str) -> bool:
    """Whether a text is the path of a policy file."""
    path = Path(text)
    return bool(path.suffix) or path.name != text


def is_ready_made(policy: Policy) -> bool:
    """Whether a policy is one of this package's, to the letter."""
    text = ready_made().get(policy.name)
    return text is not None and _parse(text, policy.name).digest == policy.digest


def check_borrowed_name(policy: Policy) -> None:
    """Refuse another policy that goes by the name of a ready-made one.

    Raises:
        AuditorError: It does.
    """
    if policy.name in ready_made() and not is_ready_made(policy):
        raise AuditorError(
            f"a policy that is not this release's {policy.name} goes by that name; give it a "
            "`name` of its own."
        )


def parse_policy(content: Any, name: str) -> Policy:
    """Validate a policy given as plain data.

    Raises:
        AuditorError: it does not describe a policy; every problem is named with its place.
    """
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        lines = "\n  ".join(problems(error, "policy", Policy))
        raise AuditorError(f"{name} is not a valid policy:\n  {lines}") from error


def _parse(content: bytes | str, name: str) -> Policy:
    try:
        settings = parse_yaml(content)
    except ValueError as error:
        raise AuditorError(f"the policy {name} is not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise AuditorError(f"the policy {name} holds no settings by name.")
    return parse_policy({"name": Path(name).stem} | settings, f"the policy {name}")
