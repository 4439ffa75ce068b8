"""Published benchmarks of unlearning, on the hub or in a folder."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.facts import SetName
from auditor.data.layouts import Schema

_QUESTION = "Question: {prompt}\nAnswer:"
"""Format in which models that are no chat models are asked."""
_ENDINGS = (".json", ".jsonl", ".parquet", ".csv")
_DEPTH = 4
"""Levels of folders in which files are looked for."""
_MOST_FILES = 20_000
_SHOWN = 8
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True)
class Part:
    """Rows of a set: a configuration on the hub, or a file."""

    config: str
    split: str
    layout: Schema
    files: tuple[str, ...]
    """Paths of the file without its ending, the likeliest first."""
    rows: int | None = None
    """Rows that are published."""
    rows_per_entity: int | None = None
    dataset: str | None = None
    """Data set on the hub, where it is not the benchmark's own."""
    revision: str | None = None
    optional: bool = False
    """Whether a folder may lack it."""
    further: tuple["Part", ...] = ()
    """Parts whose rows belong to the same set."""


@dataclass(frozen=True)
class Benchmark:
    """A published data set with what its models and metrics are."""

    name: str
    described: str
    dataset: str
    """Name on the hub."""
    revision: str | None
    """Commit on the hub; None where it must be looked up."""
    sets: Mapping[SetName, Part]
    metrics: Mapping[str, Any]
    template: str = "{prompt}"
    by_subject: bool = False
    """Whether its rows may be narrowed to one subject."""
    models: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Part of an unlearned model's name to the original and the retrained models, as published."""

    def published_models(self, unlearned: str) -> tuple[str, tuple[str, ...]] | None:
        """Return the published original and retrained models of an unlearned one."""
        name = unlearned.casefold()
        return next((arms for of, arms in self.models.items() if of.casefold() in name), None)


_USUAL: Mapping[str, Any] = {
    "primary": "answer-probability",
    "deciding": ["answer-recall"],
    "reported": ["rouge-l-recall", "exact-memorisation", "extraction-strength"],
}
_CHOICE: Mapping[str, Any] = {
    "primary": "multiple-choice",
    "deciding": [],
    "reported": ["truth-ratio", "answer-probability"],
}
_PERTURBED = "perturbed"
"""Part of the names of TOFU's files with wrong answers."""
_FAMILIES = (
    "Llama-3.2-1B-Instruct",
    "Llama-3.2-3B-Instruct",
    "Llama-3.1-8B-Instruct",
    "Llama-2-7b-chat",
)
"""Models that open-unlearning published for TOFU."""
_AUTHOR = 20
"""TOFU's questions on an author, which stand together."""


def _tofu(percent: str) -> Benchmark:
    left = f"{100 - int(percent)}"
    rows = 40 * int(percent)

    def part(name: str, rows: int, *files: str, optional: bool = False) -> Part:
        return Part(name, "train", "tofu", (name, *files), rows, _AUTHOR, optional=optional)

    models = {
        family: (f"{stem}_full", (f"{stem}_retain{left}",))
        for family in _FAMILIES
        for stem in [f"open-unlearning/tofu_{family}{'-hf' if family.endswith('chat') else ''}"]
    }
    return Benchmark(
        name=f"tofu-forget{percent}",
        described=f"TOFU (arXiv 2401.06121): {rows} questions on {rows // _AUTHOR} made-up authors",
        dataset="locuslab/TOFU",
        revision="324592d84ae4f482ac7249b9285c2ecdb53e3a68",
        sets={
            "forget": part(f"forget{percent}_perturbed", rows, f"forget{percent}"),
            "retain": part("retain_perturbed", 400, f"retain{left}"),
            "holdout": part(f"holdout{percent}", rows, optional=True),
        },
        metrics=_USUAL,
        template=_QUESTION,
        models=models,
    )


def _muse(corpus: str, revision: str, verbatim: bool) -> Benchmark:
    name = corpus.casefold()
    questions = Part(
        "knowmem", "retain_qa", "muse", ("knowmem/retain_qa", "retain_qa"), optional=verbatim
    )
    return Benchmark(
        name=f"muse-{name}{'-verbatim' if verbatim else ''}",
        described=f"MUSE {corpus} (arXiv 2407.06460): "
        + ("passages to be continued" if verbatim else "questions on passages"),
        dataset=f"muse-bench/MUSE-{corpus}",
        revision=revision,
        sets={
            "forget": Part("verbmem", "forget", "muse-verbatim", ("verbmem/forget",))
            if verbatim
            else Part("knowmem", "forget_qa", "muse", ("knowmem/forget_qa", "forget_qa")),
            "retain": questions,
        },
        metrics=_USUAL,
        template="{prompt}" if verbatim else _QUESTION,
        models={
            corpus: (f"muse-bench/MUSE-{corpus}_target", (f"muse-bench/MUSE-{corpus}_retrain",))
        },
    )


def _rwku() -> Benchmark:
    def part(name: str, *further: Part, optional: bool = False) -> Part:
        return Part(name, "test", "rwku", (name,), optional=optional, further=further)

    levels = [part(f"forget_level{level}", optional=True) for level in (1, 3)]
    return Benchmark(
        name="rwku",
        described="RWKU (arXiv 2406.10890): what is asked of 200 famous people, and of neighbours",
        dataset="jinzhuoran/RWKU",
        revision=None,
        sets={
            "forget": part("forget_level2", *levels),
            "retain": part("neighbor_level2", part("neighbor_level1", optional=True)),
        },
        metrics=_USUAL,
        template=_QUESTION,
        by_subject=True,
        models={
            "llama": ("meta-llama/Meta-Llama-3-8B-Instruct", ()),
            "phi": ("microsoft/Phi-3-mini-4k-instruct", ()),
        },
    )


def _wmdp(subject: str, rows: int) -> Benchmark:
    own = Part(
        f"wmdp-{subject}",
        "test",
        "wmdp",
        (f"wmdp-{subject}/test", f"wmdp-{subject}", f"{subject}_questions"),
        rows,
    )
    kept = Part(
        "all",
        "validation",
        "wmdp",
        ("mmlu/validation", "all/validation", "mmlu", "retain"),
        dataset="cais/mmlu",
        revision="c30699e8356da336a370243923dbaf21066bb9fe",
        optional=True,
    )
    return Benchmark(
        name=f"wmdp-{subject}",
        described=f"WMDP (arXiv 2403.03218): {rows:,} questions with four choices; MMLU is kept",
        dataset="cais/wmdp",
        revision="7125571f22f032c56415e7980f48d877dd830ff8",
        sets={"forget": own, "retain": kept},
        metrics=_CHOICE,
        template=_QUESTION,
        models={
            "zephyr": ("HuggingFaceH4/zephyr-7b-beta", ()),
            "llama-3": ("meta-llama/Meta-Llama-3-8B-Instruct", ()),
            "deep-ignorance": (
                "EleutherAI/deep-ignorance-unfiltered",
                ("EleutherAI/deep-ignorance-e2e-strong-filter",),
            ),
        },
    )


BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        benchmark.name: benchmark
        for benchmark in (
            *(_tofu(percent) for percent in ("01", "05", "10")),
            *(
                _muse(corpus, revision, verbatim)
                for corpus, revision in (
                    ("News", "506bd5b150b92814d45e4404a82f120ab2d748bf"),
                    ("Books", "051ba90319e920d410d87cfdbd61f25843c1b892"),
                )
                for verbatim in (False, True)
            ),
            _rwku(),
            *(_wmdp(s, n) for s, n in (("bio", 1_273), ("cyber", 1_987), ("chem", 408))),
        )
    }
)
"""Benchmarks by name."""


def benchmark_named(name: object) -> Benchmark:
    """Return a benchmark.

    Raises:
        AuditorError: There is none of that name; close ones are suggested.
    """
    if isinstance(name, str) and name in BENCHMARKS:
        return BENCHMARKS[name]
    close = difflib.get_close_matches(str(name), BENCHMARKS, n=1)
    meant = f"; did you mean {close[0]}?" if close else "."
    raise AuditorError(f"no benchmark {str(name)!r}; known are {', '.join(BENCHMARKS)}{meant}")


def plan_sections(
    benchmark: Benchmark,
    folder: Path | None = None,
    subject: str | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Return the sections of a plan that a benchmark decides.

    They are data, metrics and format.

    Args:
        benchmark: The benchmark.
        folder: Folder of its files; None for the hub.
        subject: The one subject whose rows are read.
        revision: Commit on the hub, in place of the benchmark's.

    Raises:
        AuditorError: The folder lacks a file, has several that could be meant, or there is no
            subject to choose or no commit to pin.
    """
    if subject is not None and not benchmark.by_subject:
        raise AuditorError(f"{benchmark.name} has no subjects to choose from; leave it out.")
    if folder is None:
        pinned = revision or benchmark.revision
        if pinned is None:
            raise AuditorError(
                f"{benchmark.name} is read from the hub at a commit: give `revision` (the commit "
                f"of {benchmark.dataset}), or the folder of its files."
            )
        sources = {
            name: _on_hub(replace(benchmark, revision=pinned), part)
            for name, part in benchmark.sets.items()
        }
    else:
        sources = _in_folder(benchmark, folder, subject)
    if subject is not None:
        forget = sources["forget"]
        for one in (forget, *forget.get("further", ())):
            if _plain(subject) not in _plain(one.get("path", "")):  # else the file is the subject's
                one["only"] = {"subject": subject}
    metrics = dict(benchmark.metrics)
    forget = sources["forget"]
    if _PERTURBED in str(forget.get("path") or forget.get("config")):
        metrics["reported"] = [*metrics["reported"], "truth-ratio"]
    return {"data": sources, "metrics": metrics, "format": {"template": benchmark.template}}


def _source(part: Part, place: Mapping[str, Any]) -> dict[str, Any]:
    said = {
        **place,
        "layout": part.layout,
        "rows_per_entity": part.rows_per_entity,
        "published_rows": part.rows,
        "repeats": "dropped",
    }
    return {name: value for name, value in said.items() if value is not None}


def _on_hub(benchmark: Benchmark, part: Part) -> dict[str, Any]:
    place = {
        "dataset": part.dataset or benchmark.dataset,
        "config": part.config,
        "split": part.split,
        "revision": part.revision or benchmark.revision,
    }
    further = [_on_hub(benchmark, other) for other in part.further]
    return _source(part, place) | ({"further": further} if further else {})


def _in_folder(
    benchmark: Benchmark, folder: Path, subject: str | None
) -> dict[SetName, dict[str, Any]]:
    if not folder.is_dir():
        raise AuditorError(
            f"{folder}: no such folder; give the one with the files of the benchmark."
        )
    files = list(_files(folder))
    found: dict[SetName, dict[str, Any]] = {}
    lacking: list[str] = []
    for name, part in benchmark.sets.items():
        places = [(one, _file(one, files, folder, subject)) for one in (part, *part.further)]
        lacking += [
            " or ".join(one.files) for one, path in places if path is None and not one.optional
        ]
        there = [_source(_of_file(one, path), {"path": str(path)}) for one, path in places if path]
        if there:
            found[name] = there[0] | ({"further": there[1:]} if there[1:] else {})
    if lacking:
        names = ", ".join(sorted({path.name for path in files})[:_SHOWN]) or "no file of facts"
        raise AuditorError(
            f"{folder} lacks files of {benchmark.name}: {', '.join(lacking)} (.json, .jsonl, "
            f".parquet or .csv); there is {names}. Files of other names go into a plan by "
            f"themselves (`data: {{forget: {{path: …, layout: "
            f"{benchmark.sets['forget'].layout}}}}}`)."
        )
    return found


def _of_file(part: Part, path: Path) -> Part:
    """The part as it is in a file.

    TOFU's whole retain sets have other numbers of rows.
    """
    other = re.fullmatch(r"retain(\d\d)", path.stem)
    return replace(part, rows=40 * int(other[1])) if other else part


def _files(folder: Path) -> Iterator[Path]:
    """Yield files of facts in a folder, a few levels deep."""
    level = [folder]
    seen = 0
    for _ in range(_DEPTH):
        deeper = []
        for parent in level:
            for path in sorted(parent.iterdir()):
                seen += 1
                if seen > _MOST_FILES:
                    raise AuditorError(f"{folder} holds too many files to look through.")
                if path.is_dir():
                    deeper.append(path)
                elif path.suffix.lower() in _ENDINGS:
                    yield path
        level = deeper


def _file(part: Part, files: list[Path], folder: Path, subject: str | None) -> Path | None:
    """The file of a part, or None.

    Raises:
        AuditorError: Several could be meant.
    """
    for wanted in (*part.files, f"{part.config}/{part.split}", f"{part.config}-{part.split}"):
        fitting = [path for path in files if _is_called(path.relative_to(folder), wanted)]
        if subject is not None and len(fitting) > 1:
            plain = _plain(subject)
            fitting = [p for p in fitting if plain in _plain(str(p.relative_to(folder)))] or fitting
        if len(fitting) > 1:
            listed = ", ".join(str(p.relative_to(folder)) for p in fitting[:_SHOWN])
            raise AuditorError(
                f"{folder} has several files for {wanted}: {listed}; give the folder of one."
            )
        if fitting:
            return fitting[0]
    return None


def _is_called(path: Path, wanted: str) -> bool:
    stem = _SHARD.sub("", str(path.with_suffix("")))
    return f"/{stem}".endswith(f"/{wanted}")


def _plain(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
