"""Spec of a log in a plan."""

from typing import Literal

from auditor.core.paths import FilePath
from auditor.models.spec import ModelSpec

Layout = Literal["tofu", "open-unlearning", "muse", "rwku", "lm-eval"]


class EvaluationLogSpec(ModelSpec):
    """Location of a log, and how it is read."""

    kind: Literal["evaluation-log"] = "evaluation-log"
    """Kind of the model."""
    path: FilePath
    """File of the log, or the folder in which the tool left it."""
    device_map: str | None = "cpu"
    """Nothing is computed on an accelerator."""
    layout: Layout = "tofu"
    """Tool that wrote the log."""
    forget_tasks: tuple[str, ...] | None = None
    """Tasks that make up the forget set, where the layout does not say it."""
    retain_tasks: tuple[str, ...] | None = None
    """Tasks that make up the retain set, where the layout does not say it."""
