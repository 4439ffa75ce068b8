"""`auditor demo`: audits of an unlearned and a retrained model.

The unlearned model fails and the retrained one passes.
"""

from pathlib import Path

import click

from auditor.cli.completion import among, worlds
from auditor.cli.console import OUT, next_step, print_summary
from auditor.cli.options import quiet_option
from auditor.cli.progress import chosen_progress
from auditor.core.errors import MeasurementError

_PRESET = (
    "  (The demo calibrates on fewer texts than the preset on purpose: it is quicker, and enough "
    "for models of this size. An audit of your own runs the presets.)"
)
"""Why a demo's audit warns that an attack is not run at its preset."""


@click.command("demo")
@click.option(
    "--world",
    "name",
    default="people",
    shell_complete=among(worlds),
    show_default=True,
    help="Testbed world: people are language models, shapes are models that draw.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("audit-demo"),
    show_default=True,
    help="Folder for the two certificates.",
)
@quiet_option
def command(name: str, out: Path, quiet: bool) -> int:
    """Audit two small models: one fails and one passes.

    Both are of a testbed world, which is built first. The first was unlearned by a published
    method and only seems to have forgotten; the second was trained without the forget set, with
    another seed. Exit code 0 says that the demo showed what it should.
    """
    from auditor.api.auditing import audit
    from auditor.testbeds import catalogue as worlds
    from auditor.testbeds.plans import world_plan

    progress = chosen_progress(quiet)
    recipe = worlds.locate(name).recipe
    baselines = recipe.retrained[:2]
    needed = ("original", *baselines, recipe.demo)
    world = worlds.build(name, None, needed, progress)
    OUT.print(f"[bold]World {name}[/]: {recipe.purpose}", highlight=False)
    verdicts = []
    first, second = baselines
    for title, unlearned, retrained, folder in (
        (f"unlearned by {recipe.demo}", recipe.demo, baselines, "unlearned"),
        ("never saw the forget set", second, (first,), "retrained"),
    ):
        OUT.print(f"\n[bold]Audit of {unlearned}[/] ({title})", highlight=False)
        plan = world_plan(world, unlearned, retrained)
        store = out / "evidence"
        certificate = audit(plan, out=out / folder, store=store, progress=progress).certificate
        print_summary(certificate)
        if any(warning.code == "preset_changed" for warning in certificate.warnings):
            OUT.print(_PRESET)
        OUT.print(f"exit code of this audit: {certificate.verdict.exit_code}")
        OUT.print(f"certificate: {out / folder / 'certificate.html'}")
        verdicts.append(certificate.verdict.verdict)
    next_step(f"auditor view {out}; auditor init plan.yaml, for models of your own")
    if verdicts != ["FAIL", "PASS"]:
        raise MeasurementError(
            f"the demo should end in FAIL and PASS, not {' and '.join(verdicts)}"
        )
    return 0
