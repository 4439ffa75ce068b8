"""Plan of an audit on a published benchmark, with comments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from auditor.core.errors import AuditorError
from auditor.core.network import hub_in_reach, no_network
from auditor.core.paths import holds_model
from auditor.data.benchmarks import Benchmark, benchmark_named, plan_sections

_CHAT = ("instruct", "chat", "zephyr")
"""Parts of the names of models that are asked in a chat template."""


class _Plain(yaml.SafeDumper):
    """Writes texts of several lines in quotes, with escapes."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Plain.add_representer(str, _text)


def benchmark_plan(
    name: str,
    beside: Path,
    *,
    unlearned: str | None,
    original: str | None,
    retrained: Sequence[str],
    folder: Path | None,
    subject: str | None,
) -> tuple[str, list[str]]:
    """Return the text of a plan on a benchmark.

    Args:
        name: Name of the benchmark.
        beside: Folder in which the plan will stand.
        unlearned: The model under audit.
        original: The model before unlearning; None for the published one.
        retrained: Models that never saw the forget set; empty for the published ones.
        folder: Folder of the benchmark's files; None for the hub.
        subject: The one subject whose rows are read.

    Returns:
        The plan, and the models that are left to be filled in.

    Raises:
        AuditorError: There is no such benchmark, its files are missing, or the hub is out of
            reach where its commit must be looked up.
    """
    benchmark = benchmark_named(name)
    if unlearned is None:
        raise AuditorError("give the model under audit with the benchmark: --unlearned MODEL.")
    revision = _newest(benchmark) if folder is None and benchmark.revision is None else None
    whole = None if folder is None else folder.expanduser().absolute()
    sections = plan_sections(benchmark, whole, subject, revision)
    published = benchmark.published_models(unlearned)
    before = original or (published[0] if published else None)
    without = list(retrained) or list(published[1] if published else ())
    lacking = [arm for arm, there in (("original", before), ("retrained", without)) if not there]
    content = {
        "unlearned": _located(unlearned, beside),
        "original": _located(before or "models/original", beside),
        "retrained": [_located(model, beside) for model in without or ["models/retrained-0"]],
        "data": _beside(sections["data"], beside),
        "format": {"chat": True} if _is_chat(unlearned) else sections["format"],
        "metrics": sections["metrics"],
        "profile": "quick",
        "policy": "quick",
    }
    return "".join(_lines(benchmark, content, lacking)), lacking


def _lines(benchmark: Benchmark, content: dict[str, Any], lacking: list[str]) -> list[str]:
    head = [
        f"# {benchmark.described}.\n",
        "# `auditor plan` checks this plan and says what it costs; `auditor audit` runs it.\n",
    ]
    if lacking:
        head.append(f"# Fill in: {', '.join(lacking)}.\n")
    models = dict.fromkeys(arms for arms in benchmark.models.values())
    if models:
        head.append("# Published models (original; retrained without the forget set):\n")
        head += [f"#   {o}; {', '.join(r) or 'none is published'}\n" for o, r in models]
    notes = {
        "data": "# What the benchmark publishes, at one commit.\n",
        "format": "# How a prompt becomes text; models of chats need `chat: true` instead.\n",
        "retrained": "# Trained without the forget set; more seeds say more. Without one: "
        "`auditor baseline build`, or docs/no-retrained-model.md.\n",
        "metrics": "# The primary metric and the deciding ones decide.\n",
        "policy": "# `auditor policy list`: release-gate asks for two retrained models.\n",
    }
    body = [
        f"\n{notes.get(name, '')}{yaml.dump({name: part}, Dumper=_Plain, sort_keys=False)}"
        for name, part in content.items()
    ]
    return [*head, *body]


def _is_chat(unlearned: str) -> bool:
    return any(part in unlearned.casefold() for part in _CHAT)


def _located(model: str, beside: Path) -> str:
    """A model as the plan names it."""
    path = Path(model).expanduser()
    elsewhere = holds_model(path) and beside.resolve() != Path.cwd()
    return str(path.absolute()) if elsewhere else model


def _beside(part: Any, beside: Path) -> Any:
    """Sections with paths below the plan's folder as seen from there."""
    if isinstance(part, dict):
        return {name: _beside(value, beside) for name, value in part.items()}
    if isinstance(part, list):
        return [_beside(value, beside) for value in part]
    base = beside.absolute()
    if isinstance(part, str) and Path(part).is_absolute() and Path(part).is_relative_to(base):
        return str(Path(part).relative_to(base))
    return part


def _newest(benchmark: Benchmark) -> str:
    """The commit of the benchmark's data set that the hub has now.

    Raises:
        AuditorError: The hub is out of reach, or says no commit.
    """
    if not hub_in_reach():
        raise AuditorError(
            f"{benchmark.name} is read from the hub at a commit, which is looked up there: "
            f"{no_network()} (--data FOLDER)"
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = HfApi().dataset_info(benchmark.dataset).sha
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise AuditorError(
            f"the commit of {benchmark.dataset} cannot be had from the hub ({error})."
        ) from error
    if commit is None:
        raise AuditorError(f"the hub names no commit of {benchmark.dataset}; give --data FOLDER.")
    return commit
