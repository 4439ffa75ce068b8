"""What the gate of a pipeline costs: `auditor gate` as a process of its own.

    python -m benchmarks.gate_scale [--facts 5000] [--variants 40] [--repeats 5]

Prints wall seconds of the whole command (start of Python included), and beside them those of
`python -c pass` and of `auditor --version`, measured in turn.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.large_audit import large_audit


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--facts", type=int, default=5000)
    parser.add_argument("--variants", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, leaking in (("PASS", 0), ("FAIL", 2)):
            root = Path(folder) / name
            certificate = large_audit(root, arguments.facts, arguments.variants, leaking)
            auditor = [str(Path(sys.executable).with_name("auditor"))]
            commands = {
                "python -c pass": [sys.executable, "-c", "pass"],
                "auditor --version": [*auditor, "--version"],
                f"auditor gate ({name})": [
                    *auditor,
                    "gate",
                    str(certificate),
                    "--policy",
                    "release-gate",
                    "--unsigned",
                ],
            }
            walls: dict[str, list[float]] = {command: [] for command in commands}
            codes = {}
            for _ in range(arguments.repeats):
                for command, argv in commands.items():
                    began = time.monotonic()
                    done = subprocess.run(argv, capture_output=True, check=False)
                    walls[command].append(time.monotonic() - began)
                    codes[command] = done.returncode
            for command, taken in walls.items():
                print(
                    f"{command}: median {statistics.median(taken):.2f} s, "
                    f"worst {max(taken):.2f} s, exit code {codes[command]}"
                )


if __name__ == "__main__":
    main()
