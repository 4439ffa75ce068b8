"""Options that describe a plan, and the plan made from them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from auditor.cli.completion import among, files, folders, policies
from auditor.cli.console import ERR
from auditor.cli.options import FILE
from auditor.core.baselines import Baseline
from auditor.core.errors import AuditorError
from auditor.models.kind import KINDS, all_kinds

if TYPE_CHECKING:
    from auditor.engine.plan import AuditPlan

IN_PLACE = ("policy", "profile", "controls")
"""Options that stand in place of what a plan file says."""
Command = TypeVar("Command", bound=Callable[..., Any])

_OF_ALL_MODELS = ("kind", "dtype", "tokenizer", "device_map", "allow_pickle", "trust_remote_code")
"""Options that say something of every model."""


def plan_options(command: Command) -> Command:
    """A plan file, or flags that say the same."""
    for decorate in reversed(
        [
            click.argument("plan_file", metavar="[PLAN.yaml]", required=False, type=FILE),
            click.option(
                "--unlearned",
                metavar="MODEL",
                shell_complete=folders,
                help="The model that should forget.",
            ),
            click.option(
                "--original",
                metavar="MODEL",
                shell_complete=folders,
                help="The model before unlearning.",
            ),
            click.option(
                "--retrained",
                metavar="MODEL",
                shell_complete=folders,
                multiple=True,
                help="A model trained without the forget set; give it again for each further seed.",
            ),
            click.option(
                "--reference",
                metavar="MODEL",
                shell_complete=folders,
                multiple=True,
                help="A model that never saw the forget set and was trained otherwise, where none "
                "was retrained.",
            ),
            click.option(
                "--forget", metavar="FILE", shell_complete=files, help="Facts that must be gone."
            ),
            click.option(
                "--retain", metavar="FILE", shell_complete=files, help="Facts that must stay."
            ),
            click.option(
                "--holdout",
                metavar="FILE",
                shell_complete=files,
                help="Facts like forget that no model saw.",
            ),
            click.option(
                "--baseline",
                type=click.Choice([each.value for each in Baseline]),
                help="What stands for a model that forgot.  [default: the strongest that is given]",
            ),
            click.option(
                "--kind",
                type=click.Choice(KINDS.names()),
                help="What kind of models they are.  [default: as their files say]",
            ),
            *_kind_flags(),
            click.option(
                "--profile",
                type=click.Choice(["quick", "standard", "exhaustive"]),
                help="Ready-made set of attacks; stands in place of what a plan file says.  "
                "[default: quick]",
            ),
            click.option(
                "--dtype",
                type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
                help="Type of the weights in memory.  [default: auto]",
            ),
            click.option(
                "--controls/--no-controls",
                default=None,
                help="Make positive controls that the mandatory attacks must find; stands in "
                "place of what a plan file says.  [default: in the profile exhaustive]",
            ),
            click.option(
                "--policy",
                metavar="POLICY",
                shell_complete=among(policies, or_file=True),
                help="What decides: a file, or one of `auditor policy list`; stands in place of "
                "what a plan file says.",
            ),
            click.option(
                "--tokenizer",
                metavar="MODEL",
                shell_complete=folders,
                help="Tokenizer of all models, a directory or a name on the hub.  [default: what "
                "lies beside the weights]",
            ),
            click.option("--device-map", metavar="MAP", help="Where accelerate puts the weights."),
            click.option("--allow-pickle", is_flag=True, help="Load pickled weights."),
            click.option("--trust-remote-code", is_flag=True, help="Run code of the models."),
        ]
    ):
        command = decorate(command)
    return command


def _kind_flags() -> list[Callable[[Command], Command]]:
    """Return the flags that only some kinds of model have."""
    return [
        click.option(
            flag.name,
            metavar=flag.metavar,
            shell_complete=files,
            help=f"Of {kind.described}: {flag.help}",
        )
        for kind in all_kinds()
        for flag in kind.flags
    ]


def plan_from(options: dict[str, Any]) -> "AuditPlan":
    """Build and check the plan that the shared options describe.

    It is checked as far as no model is needed.

    Policy, profile, and whether controls are run may be said beside a plan file, too, and stand in
    place of what it says: the plan that an audit leaves in its folder has all three.

    Raises:
        AuditorError: A file and flags are given at once, something is missing, or something in the
            plan cannot be used.
    """
    from auditor.engine.plan import read_plan
    from auditor.engine.plan_checks import check_plan

    plan_file = options.pop("plan_file")
    said = {name: options.pop(name, None) for name in IN_PLACE}
    said = {name: value for name, value in said.items() if value is not None}
    given = {name: value for name, value in options.items() if value}
    if plan_file is not None:
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise AuditorError(
                f"{flags} cannot be combined with a plan file; change {plan_file} instead, so that "
                "the plan stays the record of what was run."
            )
        content = read_plan(plan_file)
        for name in said.keys() & content.keys():
            ERR.print(f"--{name} stands in place of `{name}` in the plan.", highlight=False)
        content = read_plan(plan_file, said)
        return check_plan(content, str(plan_file), plan_file.parent.resolve())
    needed = ("unlearned", "original", "forget")
    missing = [f"--{name}" for name in needed if name not in given]
    if missing:
        raise AuditorError(
            "give a plan file (`auditor init` writes one) or the flags; missing: "
            f"{', '.join(missing)}."
        )
    shared = {name: given[name] for name in _OF_ALL_MODELS if name in given}
    content = {
        "unlearned": {"path": given["unlearned"], **shared},
        "original": {"path": given["original"], **shared},
        **{
            name: [{"path": path, **shared} for path in given[name]]
            for name in ("retrained", "reference")
            if name in given
        },
        "data": {name: given[name] for name in ("forget", "retain", "holdout") if name in given},
    }
    for flag in (flag for kind in all_kinds() for flag in kind.flags):
        value = given.get(flag.name.removeprefix("--").replace("-", "_"))
        if value is not None:
            content.setdefault(flag.section, {})[flag.key] = value
    content |= {"baseline": given["baseline"]} if "baseline" in given else {}
    content |= said
    return check_plan(content, "the command line", Path.cwd())
