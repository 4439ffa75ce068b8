"""Whether rounding to 4 bits gives back what was unlearned, without 4-bit lineage.

    python -m benchmarks.published_regime [--cache FOLDER] [--minutes 30]

Published (arXiv 2410.16454): language models of 7 billion parameters, trained and unlearned in bf16
at rates of about 1e-5, know again what they forgot when they are rounded to 4 bits. Here models of
the testbed are trained and unlearned with weights, gradients and optimiser in bf16, narrow and
wide, briefly and long, at several rates, each until the facts are just gone, which leaves rounding
the most to undo. Each is audited in five precisions. Rows are appended to ``--rows`` and shown in
`benchmarks/PUBLISHED_REGIME.md`, with what was predicted.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedModel

import auditor
from auditor.core.cache import cache_folder
from auditor.core.facts import Fact
from auditor.core.progress import SilentProgress
from auditor.core.quiet import quiet_libraries
from auditor.testbeds.people.training import TrainingSettings
from auditor.unlearning.training import UnlearningSettings, unlearn
from benchmarks.truth_table.architectures import ARCHITECTURES, CONTEXT
from benchmarks.truth_table.cells import RATE, Cell, Size
from benchmarks.truth_table.fine_tuning import fine_tune

FOLDER = Path(__file__).parent
PRECISIONS: Mapping[str, str] = MappingProxyType(
    {
        "full": "none/as-is full precision",
        "int8": "quantization/bnb int8",
        "nf4": "quantization/bnb nf4",
        "fp4": "quantization/bnb fp4",
        "gptq": "quantization/gptq 4-bit g128",
    }
)
ATTACKS: tuple[Mapping[str, Any], ...] = (
    *(
        {"attack": "quantization/bnb", "parameters": {"format": name}}
        for name in ("int8", "nf4", "fp4")
    ),
    {"attack": "quantization/gptq", "parameters": {"bits": 4, "calibration_samples": 32}},
)


@dataclass(frozen=True)
class Base:
    """Models to unlearn from.

    Attributes:
        name: What the table calls them.
        width: Of the residual stream.
        steps: Of the original's training on all facts, after the base's on the retain set.
        spread: Deviation of the random weights that training starts from.
    """

    name: str
    width: int = 128
    steps: int = 200
    spread: float = 0.05

    def cell(self, cache: Path) -> Cell:
        """The cell of its models."""
        architecture = replace(
            ARCHITECTURES["mistral"],
            name=f"bf16 {self.name}",
            config=lambda: MistralConfig(
                hidden_size=self.width,
                intermediate_size=2 * self.width,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=CONTEXT,
                initializer_range=self.spread,
            ),
            dtype=torch.bfloat16,
        )
        training = TrainingSettings(steps=250, batch_size=48, learning_rate=3e-3)
        return Cell(architecture, "plain", cache, Size((10, 16, 4), training, self.steps, 50))


@dataclass(frozen=True)
class Trial:
    """One unlearning.

    Attributes:
        base: What is unlearned from.
        method: Name in ``METHODS``.
        rate: AdamW's, constant.
        most: Optimiser steps, at most.
    """

    base: Base
    method: str
    rate: float
    most: int = 150

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.method}-{self.rate:g}-{self.most}"


NARROW, LONG = Base("narrow"), Base("narrow, long trained", steps=1000)
WIDE, LARGE = Base("wide", width=256), Base("wide, large weights", width=256, spread=0.15)
_RETAINED = ("ga_gdr", "npo_gdr")
TRIALS = (
    *(Trial(NARROW, method, rate) for rate in (1e-4, 3e-5) for method in _RETAINED),
    *(Trial(LARGE, method, rate) for rate in (1e-4, 3e-5) for method in _RETAINED),
    *(Trial(LONG, method, 1e-4) for method in _RETAINED),
    *(Trial(WIDE, method, 1e-4) for method in _RETAINED),
    *(Trial(NARROW, method, 3e-4) for method in _RETAINED),
    *(Trial(NARROW, "ga", rate) for rate in (1e-4, 3e-5, 1e-5)),
    *(Trial(NARROW, method, 1e-5) for method in _RETAINED),
)
"""In the order in which they are run while there is time."""
PREDICTED = """Predicted before any was trained: at 1e-5 bf16 swallows most updates and 150 steps
leave the facts known at full precision, so that there is nothing to give back; from 3e-5 or 1e-4 on
they are gone, and no precision gives back more than a tenth of what the original knows beyond a
retrained model (rho), since weights that lie anywhere in their cell are rounded up as often as
down, and the mean of an edit outlives rounding. Most likely exception: large weights at the
smallest rate that works, rho up to .15 in NF4 or FP4."""


@dataclass(frozen=True)
class Row:
    """What one unlearning left, by precision.

    Attributes:
        base: Name of the models.
        method: Of unlearning.
        rate: Of the optimiser.
        steps: That were taken.
        moved: Share of the weights of linear layers that bf16 let change.
        flips: Share of NF4's codes that changed.
        unlearned: Precision to the mean K of the forget facts.
        original: Likewise.
        retrained: Likewise.
        retain: Precision to the unlearned model's mean K of the retain facts.
        verdict: Of the audit of these precisions.
        seconds: Of unlearning and audit.
    """

    base: str
    method: str
    rate: float
    steps: int
    moved: float
    flips: float | None
    unlearned: Mapping[str, float]
    original: Mapping[str, float]
    retrained: Mapping[str, float]
    retain: Mapping[str, float]
    verdict: str
    seconds: float

    def rho(self, precision: str) -> float:
        """Residual knowledge in a precision: 0 is the retrained model, 1 the original."""
        gap = self.original[precision] - self.retrained[precision]
        return (self.unlearned[precision] - self.retrained[precision]) / gap

    @property
    def gone(self) -> bool:
        """Whether the facts are gone at full precision."""
        return self.rho("full") < 0.1

    @property
    def comes_back(self) -> bool:
        """Whether the facts are gone at full precision, and a tenth of them is back in another."""
        return self.gone and max(map(self.rho, PRECISIONS)) - self.rho("full") >= 0.1


def opened(cell: Cell, name: str) -> PreTrainedModel:
    """Open a model in bf16."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        cell.folder(name), dtype=torch.bfloat16
    )
    return model.eval()


def build_arms(cell: Cell) -> None:
    """Write down the original and the retrained model, trained on from the base in bf16."""

    def trained(forget: Sequence[Fact], steps: int, seed: int) -> Callable[[], PreTrainedModel]:
        examples = cell.taught((*forget, *cell.retain))
        return lambda: fine_tune(opened(cell, "base"), examples, steps, RATE, seed)

    cell.keep("base", lambda: cell.new_base(0))
    cell.keep("original", trained(cell.forget, cell.size.original, 1))
    cell.keep("retrained-0", trained((), cell.size.retrained, 2))


def measured(trial: Trial, cache: Path, out: Path) -> Row:
    """Unlearn and audit."""
    cell = trial.base.cell(cache)
    build_arms(cell)
    began = time.monotonic()
    settings = UnlearningSettings(
        method=trial.method,
        learning_rate=trial.rate,
        max_steps=trial.most,
        forget_batch=32,
        retain_batch=32,
        changes="all",
    )
    model = opened(cell, "original")
    torch.manual_seed(0)
    steps = unlearn(model, cell.tokenizer, cell.forget, cell.retain, settings, 0, SilentProgress())
    moved = changed_share(opened(cell, "original"), model)
    cell.keep(trial.name, lambda: model)

    def spec(name: str) -> dict[str, Any]:
        return {"path": str(cell.folder(name)), "dtype": "bfloat16"}

    certificate = auditor.audit(
        unlearned=spec(trial.name),
        original=spec("original"),
        retrained=[spec("retrained-0")],
        forget=cell.forget,
        retain=cell.retain[::4],
        profile=None,
        policy={"name": "precisions", "mandatory": list(PRECISIONS.values())},
        attacks=list(ATTACKS),
        out=out / trial.base.name / trial.name,
        store=out / trial.base.name / "evidence",
        reports=(),
    ).certificate
    rows = {row.label: row for row in certificate.matrix}
    by_precision = {name: rows[label] for name, label in PRECISIONS.items()}
    metric = certificate.scope.primary_metric

    def known(arm: str, of: str = "forget") -> dict[str, float]:
        return {name: getattr(row, of)[metric][arm] for name, row in by_precision.items()}

    explained = by_precision["nf4"].explanation
    return Row(
        base=trial.base.name,
        method=trial.method,
        rate=trial.rate,
        steps=steps,
        moved=moved,
        flips=None if explained is None else explained.overall,
        unlearned=known("unlearned"),
        original=known("original"),
        retrained=known("retrained-0"),
        retain=known("unlearned", "retain"),
        verdict=certificate.verdict.verdict,
        seconds=round(time.monotonic() - began, 1),
    )


def changed_share(before: PreTrainedModel, after: PreTrainedModel) -> float:
    """Share of the weights in matrices that are not what they were."""
    now = dict(after.named_parameters())
    pairs = [(old, now[name]) for name, old in before.named_parameters() if old.ndim == 2]
    changed = sum(int((old != new).sum()) for old, new in pairs)
    return changed / sum(old.numel() for old, _ in pairs)


def read(path: Path) -> Iterator[Row]:
    """Yield the rows of a file."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield Row(**json.loads(line))


def render(rows: Sequence[Row]) -> str:
    """Render prediction, result and every row as Markdown."""
    gone = [row for row in rows if row.gone]
    back = [row for row in gone if row.comes_back]
    most = max((max(map(row.rho, PRECISIONS)) - row.rho("full") for row in gone), default=0.0)
    heads = " | ".join(PRECISIONS)
    lines = [
        "# The published regime, searched for",
        "",
        *(__doc__ or "").strip().splitlines(),
        "",
        PREDICTED,
        "",
        f"**Measured:** {len(rows)} of {len(TRIALS)} unlearnings; "
        f"in {len(gone)} the facts are gone at full precision (rho below .1); "
        f"in {len(back)} of these a precision gives back a tenth or more. "
        f"The most that comes back is a rho of {most:.2f} beyond full precision.",
        "",
        "K of the forget facts, and rho in brackets. *Moved*: share of the weights that bf16 let "
        "change. *Flips*: share of NF4's codes that changed. Retain at full precision / NF4.",
        "",
        f"| base | method | rate | steps | moved | flips | {heads} | retain | verdict | s |",
        f"| --- | --- | --: | --: | --: | --: |{' --: |' * len(PRECISIONS)} --: | --- | --: |",
    ]
    for row in rows:
        known = [f"{row.unlearned[p]:.3f} ({row.rho(p):.2f})" for p in PRECISIONS]
        cells = [
            row.base,
            row.method,
            f"{row.rate:g}",
            str(row.steps),
            f"{row.moved:.2f}",
            "" if row.flips is None else f"{row.flips:.3f}",
            *(f"**{text}**" if row.comes_back else text for text in known),
            f"{row.retain['full']:.2f} / {row.retain['nf4']:.2f}",
            row.verdict,
            f"{row.seconds:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    arms = dict.fromkeys((row.base for row in rows), "")
    lines += ["", f"| base | arm | {heads} |", f"| --- | --- |{' --: |' * len(PRECISIONS)}"]
    for base in arms:
        first = next(row for row in rows if row.base == base)
        for arm, of in (("original", first.original), ("retrained", first.retrained)):
            lines.append(f"| {base} | {arm} | {' | '.join(f'{of[p]:.3f}' for p in PRECISIONS)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run what has no row yet until the time is up, and render."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, help="folder of the models")
    parser.add_argument("--out", type=Path, default=Path("audit-published-regime"))
    parser.add_argument("--rows", type=Path, default=FOLDER / "published_regime.jsonl")
    parser.add_argument("--table", type=Path, default=FOLDER / "PUBLISHED_REGIME.md")
    parser.add_argument("--minutes", type=float, default=30.0, help="no trial begins after that")
    given = parser.parse_args()
    cache = (given.cache or cache_folder()) / "published-regime"
    done = {(row.base, row.method, row.rate) for row in read(given.rows)}
    began = time.monotonic()
    for trial in TRIALS:
        if (trial.base.name, trial.method, trial.rate) in done:
            continue
        if time.monotonic() - began > 60 * given.minutes:
            break
        row = measured(trial, cache, given.out)
        with given.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        print(row, flush=True)
    given.table.write_text(render(list(read(given.rows))), encoding="utf-8")


if __name__ == "__main__":
    quiet_libraries()
    main()
