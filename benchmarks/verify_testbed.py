"""Every certificate of the testbed, signed and verified: does the verdict follow from evidence?

    python -m benchmarks.verify_testbed [--world people] [--profile quick] [--out DIR]

Audits every subject of a world, signs the certificate, and has `auditor verify` work it out again
from the stored evidence, with the key pinned and the model on disk. Prints a Markdown table.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from auditor.api.auditing import audit
from auditor.attack import PROFILES
from auditor.certificate.files import read_certificate
from auditor.cli.progress import chosen_progress
from auditor.core.quiet import quiet_libraries
from auditor.testbeds.people import world as worlds
from auditor.testbeds.plans import world_plan


def auditor(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    program = Path(sys.executable).with_name("auditor")
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def main() -> None:
    """Audit, sign, verify and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", default="people", choices=[r.name for r in worlds.list_worlds()])
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    parser.add_argument("--out", type=Path, default=Path("audit-verified"))
    arguments = parser.parse_args()
    progress = chosen_progress(quiet=False)
    world = worlds.build(arguments.world, progress=progress)
    out: Path = arguments.out
    key = out / "key"
    if not key.with_name("key.pem").exists():
        auditor("keygen", key).check_returncode()
    print("| subject | stated | verify | seconds | what it said |\n| --- | --- | --- | --- | --- |")
    for subject in world.recipe.models:
        baseline = tuple(arm for arm in world.recipe.retrained if arm != subject)
        plan = world_plan(world, subject, baseline, arguments.profile)
        audit(plan, out=out / subject, store=out / "evidence", progress=progress)
        file = out / subject / "certificate.json"
        auditor("sign", file, "--key", key.with_name("key.pem")).check_returncode()
        began = time.monotonic()
        verified = auditor(
            "verify",
            file.with_suffix(".dsse.json"),
            *("--key", key.with_name("key.pub.pem")),
            *("--evidence", out / "evidence"),
            *("--model", world.model_path(subject), "--quiet"),
        )
        seconds = time.monotonic() - began
        said = "all holds" if verified.returncode == 0 else verified.stderr.strip()
        verdict = read_certificate(file).verdict.verdict
        print(f"| {subject} | {verdict} | {verified.returncode} | {seconds:.1f} | {said} |")


if __name__ == "__main__":
    quiet_libraries()
    main()
