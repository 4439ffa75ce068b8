"""What it costs to let Ray run the jobs, and what a second worker is worth.

    python -m benchmarks.ray_overhead [--jobs 10000] [--seeds 3]

Three questions, each answered in one run, one thread a worker:

* placed: jobs whose evidence a worker finds in the store at once, so that all that is timed is
  choosing, sending and answering;
* empty: jobs of an attack that measures nothing, each claimed, executed and sealed on disk, by
  `local` and by Ray with one worker; the difference is Ray's;
* measured: a plan of real attacks on the models of the testbed `people`, by `local` and by Ray with
  one and with two workers; the seals of all three must be the same.

The time of the first worker's start is told apart: it is paid once an audit, not once a job.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from auditor.core.progress import SilentProgress
from auditor.engine.audit import run_audit
from auditor.engine.executors.base import Executor, LabelledJob
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.executors.ray import RayExecutor
from auditor.engine.job import Job
from auditor.engine.plan_checks import check_plan
from auditor.engine.preparation import Prepared, prepare
from auditor.store.base import EvidenceStore
from auditor.store.folder_store import FolderStore
from auditor.testbeds import catalogue
from benchmarks.empty_jobs import Finished, Loaded

SAMPLES = 8


def plan(store: EvidenceStore, attacks: list[dict[str, Any]], seeds: int) -> Prepared:
    """An audit of the testbed's models under some attacks."""
    world = catalogue.build("people", only=("original", "retrained-0", "retrained-1", "npo_gdr"))

    def spec(name: str) -> dict[str, str]:
        return {"path": str(world.model_path(name)), "dtype": "float32", "device_map": "cpu"}

    content = {
        "unlearned": spec("npo_gdr"),
        "original": spec("original"),
        "retrained": [spec("retrained-0"), spec("retrained-1")],
        "data": {name: str(world.facts(name)) for name in ("forget", "retain", "holdout")},
        "profile": None,
        "attacks": attacks,
        "policy": {"mandatory": ["none/as-is"]},
        "seeds": list(range(seeds)),
    }
    return prepare(check_plan(content, "the plan", Path.cwd()), store, SilentProgress())


def copies(prepared: Prepared, count: int) -> list[LabelledJob]:
    """As many empty jobs on one model, which differ in their seed."""
    [variant] = [v for v in prepared.variants if v.attack.name == "benchmark/empty"]
    job = prepared.measurements(variant)["unlearned"][0]
    asked = job.model_dump()
    return [
        LabelledJob("empty", Job.model_validate({**asked, "seed": seed})) for seed in range(count)
    ]


def timed(
    executor: Executor, jobs: list[LabelledJob], prepared: Prepared, store: EvidenceStore
) -> float:
    """Wall seconds of a run."""
    began = time.monotonic()
    failures = executor.run(jobs, prepared.models, store, SilentProgress())
    if failures:
        raise RuntimeError(next(iter(failures.values())).reason)
    return time.monotonic() - began


def overhead(folder: Path, count: int) -> None:
    """Time jobs that measure nothing."""
    prepared = plan(FolderStore(folder / "plan"), [{"attack": "benchmark/empty"}], 1)
    jobs = copies(prepared, count)
    few = jobs[: min(1000, count)]

    def store(name: str, kind: type[FolderStore] = Loaded) -> FolderStore:
        made = kind(folder / name)
        made.put_facts(prepared.sets)
        return made

    start = timed(RayExecutor(workers=1), jobs[:1], prepared, store("first"))
    began = timed(RayExecutor(workers=1), jobs[:1], prepared, store("one"))
    placed = timed(RayExecutor(workers=1), jobs, prepared, store("placed", Finished))
    local = timed(LocalExecutor(), few, prepared, store("local"))
    remote = timed(RayExecutor(workers=1), few, prepared, store("ray"))
    print(f"Ray and its first worker start in {start:.1f} s, a further worker in {began:.1f} s")
    print(f"placed: {count:,} jobs, {(placed - began) / count * 1e3:.2f} ms a job")
    print(
        f"empty: {len(few):,} jobs, local {local / len(few) * 1e3:.2f} ms a job, Ray "
        f"{(remote - began) / len(few) * 1e3:.2f} ms a job"
    )


def speed(folder: Path, seeds: int) -> None:
    """Time a plan of real attacks."""
    attacks = [
        {"attack": "prompting/sampling", "parameters": {"samples": SAMPLES, "k": 1}},
        {"attack": "relearning/same-facts"},
    ]
    executors: dict[str, Executor] = {
        "local": LocalExecutor(),
        "ray, 1 worker": RayExecutor(workers=1),
        "ray, 2 workers": RayExecutor(workers=2),
    }
    seals: dict[str, dict[str, str]] = {}
    seconds: dict[str, float] = {}
    for name, executor in executors.items():
        store = FolderStore(folder / name)
        prepared = plan(store, attacks, seeds)
        outcome = run_audit(prepared, store, executor, SilentProgress())
        seals[name], seconds[name] = outcome.seals, outcome.wall_seconds
        print(f"{name}: {len(outcome.seals)} jobs in {outcome.wall_seconds:.1f} s")
    one, two = seconds["ray, 1 worker"], seconds["ray, 2 workers"]
    same = all(found == seals["local"] for found in seals.values())
    print(f"two workers against one: {one / two:.2f} times; seals are the same: {same}")


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        overhead(Path(folder), given.jobs)
        speed(Path(folder), given.seeds)


if __name__ == "__main__":
    main()
