"""Every attack on every erased model of the world `shapes`: is the concept gone, or hidden?

    python -m benchmarks.concept_matrix [--profile standard] [--only rece] [--write]

Audits the original, both retrained models (each against the other), and the erased ones, and
prints for each attack the share of pictures in which the classifier finds the concept, rho with
its bounds, and what the evidence says. With ``--write`` the tables replace those between the marks
in `benchmarks/RESULTS.md`. Evidence is kept in ``--store``, so that a second run only prints, and
several processes can share the work.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from auditor.attack import PROFILES, Profile
from auditor.certificate.schema import MatrixRow
from auditor.cli.progress import chosen_progress
from auditor.core.quiet import quiet_libraries
from auditor.core.roles import Role
from auditor.engine.plan import AttackRequest, AuditPlan
from auditor.store.folder_store import FolderStore
from auditor.testbeds.shapes import world as shapes
from auditor.testbeds.shapes.attack_settings import SETTINGS
from auditor.testbeds.shapes.plans import shapes_plan
from auditor.testbeds.shapes.recipe import SHAPES
from auditor.testbeds.shapes.world import ShapesWorld
from benchmarks.attack_matrix import MARKS, audit, overview
from reports.number_format import interval, number
from reports.results import result

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN, END = "<!-- concept_matrix begins -->", "<!-- concept_matrix ends -->"

REPORTED = ("generation/null-inversion",)
"""Attacks that no profile but exhaustive runs."""

SHARE = "concept-top-1"
"""The metric whose mean is the share of pictures with the concept."""


def baselines(subject: str) -> list[str]:
    """The retrained models that a subject is compared with: never itself."""
    return [name for name in SHAPES.retrained if name != subject]


def plan(world: ShapesWorld, subject: str, profile: Profile) -> AuditPlan:
    """The plan of a subject's audit, with the attack that is only reported, too."""
    planned = shapes_plan(world, subject, baselines(subject), profile)
    reported = tuple(
        AttackRequest(attack=name, parameters=dict(parameters))
        for name in REPORTED
        for parameters in SETTINGS[name]
    )
    return planned.model_copy(update={"attacks": planned.attacks + reported})


def _cell(row: MatrixRow | None) -> str:
    if row is None or row.status != "measured" or row.strongest.figures is None:
        return "-" if row is None else row.status
    share = _share(row.forget)
    of_chance = _share(row.forget, "retrained-0")
    said = f"**{share}** ({of_chance})" if share else "no pictures"
    bounds = (
        interval(row.strongest.figures.rho_lower, row.strongest.figures.rho_upper) or "no bounds"
    )
    mark = "reported" if row.role is Role.REPORTED else MARKS[result(row).outcome]
    return f"{said}; {number(row.strongest.figures.rho)} {bounds} {mark}"


def _kept(row: MatrixRow | None) -> str:
    return (_share(row.retain) if row else None) or "-"


def _share(by_probe: Mapping[str, Mapping[str, float]], arm: str = "unlearned") -> str | None:
    known = by_probe.get(SHARE, {}).get(arm)
    return None if known is None else f"{known:.2f}"


def main() -> None:
    """Audit, print, and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="standard", choices=PROFILES)
    parser.add_argument("--seeds", type=int, default=1, help="of the attacks that depend on one")
    parser.add_argument("--only", action="append", help="these subjects")
    parser.add_argument("--store", type=Path, default=Path("audit-concept-matrix"))
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md, too")
    arguments = parser.parse_args()
    world = shapes.build(SHAPES, progress=chosen_progress(quiet=False))
    store = FolderStore(arguments.store)
    audits = {
        subject: audit(plan(world, subject, arguments.profile), arguments.seeds, store)
        for subject in arguments.only or SHAPES.models
    }
    text = (
        f"Share of pictures of the {SHAPES.forget} in which the classifier finds one (in brackets: "
        f"of the first retrained model compared with); rho with its bounds. Profile "
        f"{arguments.profile}, {arguments.seeds} seed(s).\n\n{overview(audits, _cell)}\n\n"
        f"Share of the pictures of other shapes that show them:\n\n{overview(audits, _kept)}"
    )
    print(f"\n{text}")
    if arguments.write:
        before, _, rest = RESULTS.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        RESULTS.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    quiet_libraries()
    main()
