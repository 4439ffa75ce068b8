"""Every attack against every testbed subject: what is found where it is, and where nothing is.

    python -m benchmarks.attack_matrix [--world people] [--profile standard] [--only npo_gdr]
        [--attack steering/suppression]

Audits each subject of a world as the unlearned model, with the first two retrained models as the
baseline; the third is held back and put on trial as an honest one. Prints Markdown:
`benchmarks/RESULTS.md` holds the overview, `benchmarks/ATTACK_MATRIX.md` all figures. Evidence is
kept in ``--store``, so that a second run only prints, and several processes can share the work.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from auditor.attack import PROFILES
from auditor.certificate.build import build_certificate
from auditor.certificate.schema import Certificate, MatrixRow
from auditor.cli.progress import chosen_progress
from auditor.core.quiet import quiet_libraries
from auditor.core.roles import Role
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.plan import AuditPlan
from auditor.engine.preparation import prepare
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore
from auditor.store.folder_store import FolderStore
from auditor.testbeds.people import world as worlds
from auditor.testbeds.plans import world_plan
from reports.number_format import interval, number
from reports.results import result

BASELINES = 2
"""Retrained models that every subject is compared with; the next one is on trial."""

MARKS = {"leak": "**leak**", "within": "within", "undecided": "?"}


def subjects(recipe: worlds.WorldRecipe) -> list[str]:
    """Who is put on trial: original, held-back retrained models, unlearned models."""
    return ["original", *recipe.retrained[BASELINES:], *recipe.methods]


def audit(
    plan: AuditPlan, seeds: int, store: EvidenceStore, attacks: Sequence[str] | None = None
) -> Certificate:
    """Audit with so many seeds of the attacks that depend on one.

    Args:
        plan: The plan.
        seeds: Number of seeds.
        store: Where evidence is kept.
        attacks: Names of attacks to run, by default all of the plan.
    """
    progress = chosen_progress(quiet=False)
    plan = plan.model_copy(update={"seeds": tuple(range(seeds))})
    prepared = prepare(plan, store, progress)
    if attacks is not None:
        run = {AS_IS, *attacks}
        prepared = prepared.only([v for v in prepared.variants if v.attack.name in run])
    return build_certificate(run_audit(prepared, store, LocalExecutor(), progress), "")


def overview(
    audits: Mapping[str, Certificate], cell: Callable[[MatrixRow | None], str] | None = None
) -> str:
    """Attacks by subjects.

    Args:
        audits: subject to its certificate.
        cell: what is said of an attack on a subject; by default the point estimate of rho, and
            what its evidence says.
    """
    cell = cell or _short
    lines = [
        "| attack | " + " | ".join(audits) + " |",
        "| --- " * (len(audits) + 1) + "|",
        "| *verdict* | " + " | ".join(map(_verdict, audits.values())) + " |",
    ]
    for label in labels(audits.values()):
        cells = [cell(rows(certificate).get(label)) for certificate in audits.values()]
        lines.append(f"| `{label}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def details(audits: Mapping[str, Certificate]) -> str:
    """A row for every attack on every subject, with bounds, e-values and seconds."""
    lines = [
        "| attack | subject | part | rho | bounds | leaked | ln E fail | ln E pass | result | s |",
        "| --- | --- | --- | --: | --- | --- | --: | --: | --- | --: |",
    ]
    for label in labels(audits.values()):
        for subject, certificate in audits.items():
            row = rows(certificate).get(label)
            if row is None:
                continue
            seconds = certificate.timing.attack_seconds.get(label)
            lines.append(
                f"| `{label}` | {subject} | {row.role} | {_figures(row)} | {result(row).words} | "
                f"{number(seconds)} |"
            )
    return "\n".join(lines)


def labels(audits: Iterable[Certificate]) -> list[str]:
    """The attacks by family, the mandatory ones first."""
    order = {
        row.label: row.role is Role.MANDATORY
        for certificate in audits
        for row in certificate.matrix
    }
    return sorted(order, key=lambda label: (label.partition("/")[0], not order[label], label))


def rows(certificate: Certificate) -> dict[str, MatrixRow]:
    """Rows of the matrix by label."""
    return {row.label: row for row in certificate.matrix}


def _verdict(certificate: Certificate) -> str:
    """The verdict with its flags."""
    return ", ".join((certificate.verdict.verdict, *certificate.verdict.flags))


def _short(row: MatrixRow | None) -> str:
    if row is None or row.status != "measured" or row.strongest.figures is None:
        return "-" if row is None else row.status
    if row.strongest.figures.rho is None:
        return "reported"
    return f"{number(row.strongest.figures.rho)} {MARKS[result(row).outcome]}"


def _figures(row: MatrixRow) -> str:
    figures = row.strongest.figures
    if figures is None:
        return " | ".join([row.status, "", "", "", ""])
    return " | ".join(
        [
            number(figures.rho),
            interval(figures.rho_lower, figures.rho_upper) or "",
            f"{figures.leak.leaked} of {figures.leak.eligible}",
            number(figures.log_e_fail),
            number(figures.log_e_pass),
        ]
    )


def main() -> None:
    """Audit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", default="people", choices=[r.name for r in worlds.list_worlds()])
    parser.add_argument("--profile", default="standard", choices=PROFILES)
    parser.add_argument("--seeds", type=int, default=1, help="of the attacks that depend on one")
    parser.add_argument("--only", action="append", help="these subjects")
    parser.add_argument(
        "--attack", action="append", help="these attacks alone, at the profile's levels"
    )
    parser.add_argument("--store", type=Path, default=Path("audit-attack-matrix"))
    parser.add_argument("--details", action="store_true", help="all figures, not the overview")
    arguments = parser.parse_args()
    world = worlds.build(arguments.world, progress=chosen_progress(quiet=False))
    store = FolderStore(arguments.store)
    chosen = arguments.only or subjects(world.recipe)
    profile, seeds = arguments.profile, arguments.seeds
    baselines = world.recipe.retrained[:BASELINES]
    audits = {
        subject: audit(
            world_plan(world, subject, baselines, profile), seeds, store, arguments.attack
        )
        for subject in chosen
    }
    print(f"\n### {world.recipe.name}, profile {profile}, {seeds} seed(s)\n")
    print(f"{world.recipe.purpose}\n")
    print(details(audits) if arguments.details else overview(audits))


if __name__ == "__main__":
    quiet_libraries()
    main()
