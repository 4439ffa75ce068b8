"""How far the planner is off: seconds and memory of six plans of the testbed.

    python -m benchmarks.planner_error FOLDER

Each plan is run on 24 facts of every set, then planned on 48 others with the same store, and run.
The seconds are those of the jobs, the memory that of the audit's process at its most. Prints a
table as Markdown.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from auditor.store.folder_store import FolderStore
from auditor.testbeds.people import world as worlds

PLANS: dict[str, list[dict[str, Any]]] = {
    "as is": [],
    "prompts": [{"attack": "prompting/prefill"}, {"attack": "prompting/few-shot"}],
    "quantization": [
        {"attack": "quantization/bnb", "parameters": {"format": ["int8", "nf4"]}},
        {"attack": "quantization/rtn", "parameters": {"bits": [4, 3]}},
    ],
    "tampering": [
        {"attack": "tampering/noise", "parameters": {"relative_std": [0.1, 0.2]}},
        {"attack": "tampering/pruning"},
    ],
    "relearning": [{"attack": "relearning/benign"}],
    "search": [{"attack": "prompting/soft"}, {"attack": "membership/likelihood"}],
}
_COMMAND = (sys.executable, "-c", "from auditor.cli.entry import main; main()")
_PARTS = {"first": slice(0, 24), "second": slice(24, 72)}


class Run(NamedTuple):
    """What an audit took."""

    seconds: float
    memory: int


def run(arguments: list[str]) -> tuple[str, int]:
    """Run a command; what it printed, and the most memory that it took."""
    process = subprocess.Popen([*_COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    said = process.stdout.read() if process.stdout else ""
    _, _, used = os.wait4(process.pid, 0)
    return said, used.ru_maxrss * 1024


def audited(plan: Path, out: Path, store: Path) -> Run:
    """Run an audit; the seconds of its jobs and its memory."""
    before = set(FolderStore(store).keys())
    _, memory = run(["audit", str(plan), "--out", str(out), "--store", str(store), "--quiet"])
    held = FolderStore(store)
    return Run(sum(held.cost(key).seconds for key in set(held.keys()) - before), memory)


def written(folder: Path, name: str, attacks: list[dict[str, Any]]) -> Path:
    """Write a plan on one part of the testbed's facts."""
    world = worlds.build("people", only=("original", "retrained-0", "npo_gdr"))
    data = {}
    for set_name in ("forget", "retain", "holdout"):
        lines = world.facts(set_name).read_text(encoding="utf-8").splitlines(keepends=True)
        file = folder / f"{set_name}.{name}.jsonl"
        file.write_text("".join(lines[_PARTS[name]]), encoding="utf-8")
        data[set_name] = str(file)
    content = {
        "unlearned": str(world.model_path("npo_gdr")),
        "original": str(world.model_path("original")),
        "retrained": [str(world.model_path("retrained-0"))],
        "data": data,
        "profile": None,
        "attacks": attacks,
        "policy": {"mandatory": ["none/as-is"]},
        "seeds": [0],
    }
    plan = folder / f"{name}.json"
    plan.write_text(json.dumps(content), encoding="utf-8")
    return plan


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How far the planner is off.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=sorted(PLANS), action="append", default=[])
    options = parser.parse_args()
    print(
        "| plan | s planned before | s planned | s taken | ratio | GB planned | GB taken | ratio |"
    )
    print("| --- | --: | --: | --: | --: | --: | --: | --: |", flush=True)
    for name, attacks in PLANS.items():
        if options.only and name not in options.only:
            continue
        folder = options.folder / name.replace(" ", "-")
        folder.mkdir(parents=True)
        store = folder / "evidence"
        first, second = (written(folder, part, attacks) for part in _PARTS)
        asked = ["plan", str(second), "--out", str(folder / "second"), "--store", str(store)]
        asked += ["--no-pilot", "--quiet", "--json"]
        alone = json.loads(run(asked)[0])
        audited(first, folder / "first", store)
        planned = json.loads(run(asked)[0])
        took = audited(second, folder / "second", store)
        before, after = (sum(v["seconds"] for v in p["variants"]) for p in (alone, planned))
        memory = planned["machine"]["libraries"] + max(
            v["memory_bytes"] + v["host_bytes"] for v in planned["variants"]
        )
        print(
            f"| {name} | {before:.1f} | {after:.1f} | {took.seconds:.1f} | "
            f"{after / took.seconds:.2f} | {memory / 1e9:.2f} | {took.memory / 1e9:.2f} | "
            f"{memory / took.memory:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
