"""Import logs of other tools, and certify what they show.

No torch is needed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from auditor.api.issuing import DEFAULT_FOLDER, issue, make_folder, open_store, repeating
from auditor.certificate.schema import Certificate
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.core.files import write_whole
from auditor.core.messages import Message
from auditor.core.progress import Progress, SilentProgress
from auditor.core.validation import did_you_mean
from auditor.engine.executors.base import executor_named
from auditor.engine.plan import read_plan
from auditor.engine.plan_checks import check_plan
from auditor.engine.preparation import prepare
from auditor.models.kind import Logs, all_kinds
from auditor.models.plan_sections import MetricSection
from auditor.report import REPORTS, remove_certificates

PLAN = "plan.yaml"
"""File of the plan that stands for imported logs, in their folder."""
_FACTS = "facts"


@dataclass(frozen=True)
class ImportedLogs:
    """Logs as they were imported."""

    folder: Path
    """Folder with the plan and the facts."""
    sets: FactSets
    metrics: MetricSection
    """Metrics that every log holds of every fact."""
    figures: Mapping[str, Mapping[str, float]]
    """Arm to its published figures by name; they decide nothing."""
    lacking: Sequence[Message]
    """Messages on what the logs lack."""
    hazardous: bool = False
    """Whether the facts hold texts that may do harm; certificates on them are redacted."""


def layouts() -> tuple[str, ...]:
    """Return the layouts of logs that can be imported."""
    return tuple(layout for kind in all_kinds() for layout in kind.layouts)


def import_logs(
    layout: str,
    *,
    unlearned: str | Path,
    original: str | Path,
    retrained: str | Path | Sequence[str | Path],
    out: str | Path,
    **options: Any,
) -> ImportedLogs:
    """Read the logs of all models, and write facts and a plan.

    Args:
        layout: Tool that wrote them, one of `layouts`.
        unlearned: Log of the model under audit.
        original: Log of the model before unlearning.
        retrained: Logs of models that never saw the forget set.
        out: Folder of the plan and the facts.
        options: Settings by which logs of the layout are read.

    Raises:
        AuditorError: A log does not open, or they are not about the same facts.
    """
    kind = next((kind for kind in all_kinds() if layout in kind.layouts), None)
    if kind is None:
        hint = did_you_mean(layout, layouts()) or f"give one of {', '.join(layouts())}."
        raise AuditorError(f"there is no layout of logs {layout}; {hint}")
    others = [retrained] if isinstance(retrained, str | Path) else list(retrained)
    arms: dict[str, str | Path] = {Arm.UNLEARNED: unlearned, Arm.ORIGINAL: original}
    arms |= {Arm.retrained(number): path for number, path in enumerate(others)}
    whole = {arm: Path(path).expanduser().absolute() for arm, path in arms.items()}
    found = kind.imported(Logs(layout, whole, options))
    folder = Path(out)
    make_folder(folder / _FACTS)
    data: dict[str, Any] = {}
    for name, facts in (("forget", found.sets.forget), ("retain", found.sets.retain)):
        if facts:
            lines = (json.dumps(f.model_dump(mode="json"), ensure_ascii=False) for f in facts)
            file = f"{_FACTS}/{name}.jsonl"
            data[name] = {"path": file, "redact": True} if found.hazardous else file
            write_whole(folder / file, "".join(f"{line}\n" for line in lines).encode())
    specs = {
        arm: spec.model_dump(mode="json", exclude_defaults=True) | {"kind": spec.kind}
        for arm, spec in found.specs.items()
    }
    plan = {
        "unlearned": specs.pop(Arm.UNLEARNED),
        "original": specs.pop(Arm.ORIGINAL),
        "retrained": list(specs.values()),
        "data": data,
        "metrics": found.metrics.model_dump(mode="json"),
        "profile": None,
    }
    write_whole(folder / PLAN, yaml.safe_dump(plan, sort_keys=False, allow_unicode=True).encode())
    return ImportedLogs(
        folder, found.sets, found.metrics, found.figures, found.lacking, found.hazardous
    )


def certify(
    source: str | Path,
    *,
    policy: str | None = None,
    out: str | Path = DEFAULT_FOLDER,
    store: str | Path | None = None,
    reports: Sequence[str] = ("html",),
    redact: bool = False,
    progress: Progress | None = None,
) -> Certificate:
    """Decide on imported logs, and write the certificate.

    Args:
        source: Folder that `import_logs` filled, or a plan.
        policy: Name or file of the policy, where the plan has none of its own.
        out: Folder of the certificate.
        store: Folder or URL (``s3://…``) of the evidence, by default ``evidence`` in ``out``.
        reports: Names of the reports that are written beside the certificate.
        redact: Put keyed digests in the place of the facts' texts. Hazardous ones (tasks named
            `wmdp`) are never shown, whatever is said here.
        progress: Is told how far it has come.

    Raises:
        AuditorError: There is no plan, the logs changed, or the plan is of models.
    """
    folder, watcher = Path(out), progress or SilentProgress()
    remove_certificates(folder)  # an older one must not outlive a failed run
    file = Path(source) / PLAN if Path(source).is_dir() else Path(source)
    plan = check_plan(
        read_plan(file, {} if policy is None else {"policy": policy}),
        str(file),
        file.parent.resolve(),
    )
    if not plan.kind.layouts:
        raise AuditorError(
            f"{file} is a plan of {plan.kind.described}, which are there to be attacked: run "
            f"`auditor audit {file}`."
        )
    wanted = [REPORTS.get(name) for name in dict.fromkeys(reports)]
    make_folder(folder)
    held = open_store(folder, store)
    redact = redact or plan.data.hazardous
    return issue(
        prepare(plan, held, watcher),
        held,
        executor_named("local"),
        watcher,
        folder=folder,
        command=repeating("certify", store, redact=redact),
        reports=wanted,
        redact=redact,
        controls=None,
    )
