"""Speed against peers: MIMIR, nanoGCG, open-unlearning, and bare loops.

    python -m benchmarks.peers --peers-python PYTHON --mimir DIR --open-unlearning DIR

PYTHON is the interpreter of an environment with torch 2.13.0, transformers 4.47.1, nanogcg 0.3.0
and what the two clones import (README beside this file). Both sides get the same files: models of
the testbed `people`, and a wide Llama of random weights. Every side runs in a process and an
environment of its own, one thread each, ours and the peer's in turns; ratios are of medians of
processor time, with wall-clock time beside them. Where both sides compute one figure, the figures
are compared too, so that neither is fast for having done something else.

Prints Markdown tables: goals with what was measured, and the agreement of the figures.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from attacks.prompting.suffix_text import allowed_tokens, starting_suffix, suffix_text
from auditor.core.facts import Fact
from auditor.core.quiet import quiet_libraries
from auditor.data.folds import folds
from auditor.models.language.transcript import answer_room
from benchmarks.peers.clock import Answer, Request, Times
from benchmarks.peers.material import ARMS, RETRAINED, Material, lives, prepare
from benchmarks.peers.our_side import opened
from benchmarks.peers.turns import Ran, Side, median, run, total

SCORES = {"score": ["loss", "zlib", "min-k", "min-k++", "recall", "reference"]} | {
    "text": "passage",
    "shots": 1,
}


@dataclass(frozen=True)
class Search:
    """Size of a suffix search."""

    name: str
    length: int
    steps: int
    candidates: int
    top_k: int


def as_ours(steps: int) -> Search:
    """This project's default size."""
    return Search("8 tokens, 16 candidates", 8, steps, candidates=16, top_k=64)


def as_nanogcg(steps: int) -> Search:
    """Default size of nanoGCG, in a few of its 250 steps: about as many candidates in all."""
    few = max(1, steps // _STEPS_TO_ONE)
    return Search("20 tokens, 512 candidates", 20, few, candidates=512, top_k=256)


_STEPS_TO_ONE = 15
"""Steps of 16 candidates that one of 512 stands for."""
_FEWER = 4
"""Share of the prompts, as a divisor, that suffixes are searched for on the wide model."""


@dataclass(frozen=True)
class Compared:
    """A line of the table: seconds of both sides, and what was asked for."""

    what: str
    ours: Times
    theirs: Times
    goal: float | None = None
    """Least ratio of their time to ours; None where nothing was asked for."""
    units: tuple[float, float] = (1.0, 1.0)
    """What each side did in that time, where it is not the same."""

    def ratio(self, kind: str) -> float:
        """How many times faster ours is."""
        return (self.theirs[kind] / self.units[1]) / (self.ours[kind] / self.units[0])

    def line(self) -> str:
        """The row of the table."""
        ratio = self.ratio("processor")
        goal = "" if self.goal is None else f"≥ {self.goal:g}"
        held = "" if self.goal is None else ("yes" if ratio >= self.goal else "**no**")
        return (
            f"| {self.what} | {self.ours['processor']:.2f} | {self.theirs['processor']:.2f} "
            f"| {ratio:.2f} | {self.ratio('wall'):.2f} | {goal} | {held} |"
        )


class Peers:
    """The sides, and the folder in which they are asked."""

    def __init__(self, arguments: argparse.Namespace, material: Material) -> None:
        self.material = material
        self.repetitions: int = arguments.repetitions
        self._folder = material.folder / "runs"
        cache = {"HF_DATASETS_CACHE": str(material.folder / "cache")}
        mimir = {name: str(material.folder) for name in ("MIMIR_CACHE_PATH", "MIMIR_DATA_SOURCE")}
        python = arguments.peers_python
        self._sides = {
            "ours": Side("our_side", sys.executable),
            "mimir": Side("mimir_side", python, (arguments.mimir,), mimir),
            "nanogcg": Side("nanogcg_side", python),
            "open-unlearning": Side(
                "open_unlearning_side", python, (arguments.open_unlearning / "src",), cache
            ),
            "quantize": Side("quantize_side", sys.executable),
        }

    def ask(self, side: str, request: Request) -> Ran:
        """Ask one side once."""
        return run(self._sides[side], request, self._folder / side)

    def in_turns(self, ours: Request, peer: str, theirs: Request) -> tuple[list[Ran], list[Ran]]:
        """Ask ours and the peer, one after the other, as often as was wanted."""
        found: tuple[list[Ran], list[Ran]] = ([], [])
        for _ in range(self.repetitions):
            found[0].append(self.ask("ours", ours))
            found[1].append(self.ask(peer, theirs))
        return found


def scoring(peers: Peers, arguments: argparse.Namespace) -> list[str]:
    """What scoring costs above a bare forward pass."""
    request = {
        "task": "scoring",
        "vocabularies": arguments.vocabulary or [8_000, 32_000],
        "items": arguments.items,
        "repetitions": 2 * peers.repetitions + 1,
        "out": str(peers.material.folder / "scoring"),
    }
    lines = [
        "| asked | vocabulary | bare (s) | scored (s) | ratio | wall-clock ratio | goal | held |",
        "| --- | --: | --: | --: | --: | --: | --- | --- |",
    ]
    for row in peers.ask("ours", request).answer["rows"]:
        (bare_wall, bare, _), (wall, scored, _) = row["bare"], row["scored"]
        held = "yes" if scored / bare <= 1.10 else "**no**"
        lines.append(
            f"| {row['kind']} | {row['vocabulary']:,} | {bare:.2f} | {scored:.2f} "
            f"| {scored / bare:.3f} | {wall / bare_wall:.3f} | ≤ 1.10 | {held} |"
        )
    return lines


def membership(peers: Peers) -> tuple[list[Compared], list[str]]:
    """Membership scores against MIMIR's loop: short facts, and long texts on a wide model."""
    forget, holdout = (peers.material.facts[name] for name in ("forget", "holdout"))
    cases = {
        "facts of 10 tokens, people": ("unlearned", RETRAINED[0], _passages),
        "lives of 100 tokens, wide": ("wide", "wide-reference", lives),
    }
    compared, agreement = [], []
    for name, (model, reference, texts) in cases.items():
        request = _membership_request(
            peers.material, model, reference, texts(forget), texts(holdout)
        )
        ours, theirs = peers.in_turns(
            {"task": "membership", **request}, "mimir", {"metrics": False, **request}
        )
        for what, key in (("six black-box attacks", "black_box"), ("and gradient norm", "scoring")):
            times = _median(ours, key), _median(theirs, key)
            compared.append(Compared(f"membership: {name}, {what}", *times, 4))
        agreement += _agreement(name, ours[0].answer["scores"], theirs[0].answer["scores"])
    return compared, agreement


def _passages(facts: Sequence[Fact]) -> list[str]:
    return [str(fact.text) for fact in facts]


def _membership_request(
    material: Material, model: str, reference: str, members: list[str], nonmembers: list[str]
) -> Request:
    return {
        "model": material.model(model),
        "reference": material.model(reference),
        "members": members,
        "nonmembers": nonmembers,
        "prefix": f"{nonmembers[-1]}\n",
    }


def _agreement(
    name: str, ours: dict[str, list[float]], theirs: dict[str, list[float]]
) -> list[str]:
    """How near the scores of both sides are; all of MIMIR's but one are higher for nonmembers."""
    lines = []
    for score, found in ours.items():
        sign = 1 if score == "gradnorm" else -1
        own, other = np.array(found), sign * np.array(theirs[score])
        largest = float(np.abs(own - other).max())
        rank = float(spearmanr(own, other).statistic)
        lines.append(f"| {name} | {score} | {largest:.2g} | {rank:.4f} |")
    return lines


def searches(
    peers: Peers, prompts: int, sizes: Sequence[Search]
) -> tuple[list[Compared], list[str]]:
    """Suffixes against nanoGCG: speed, and the loss of what was found as text."""
    facts = folds(peers.material.facts["forget"], "attribute")[0].given[:prompts]
    compared, losses = [], []
    for model in ("unlearned", "wide"):
        subject = opened(peers.material.model(model))
        some = facts if model == "unlearned" else facts[: max(1, prompts // _FEWER)]
        for size in sizes:
            asked = [_started(subject, f, size.length, seed) for seed, f in enumerate(some)]
            request = {
                "task": "search",
                "together": False,
                "model": peers.material.model(model),
                "prompts": asked,
                "length": size.length,
                "steps": size.steps,
                "candidates": size.candidates,
                "top_k": size.top_k,
            }
            ours, theirs = peers.in_turns(request, "nanogcg", request)
            both = peers.ask("ours", {**request, "together": True})
            name = f"{'people' if model == 'unlearned' else model}, {size.name}"
            nanogcg = _median(theirs, "searching")
            units = float(theirs[0].answer["evaluated"])
            for what, found, goal in (
                ("one prompt a search", ours, 2.5),
                ("all prompts in one search", [both], None),
            ):
                compared.append(
                    Compared(
                        f"GCG, candidates/s: {name}, {what}",
                        _median(found, "searching"),
                        nanogcg,
                        goal,
                        (float(found[0].answer["evaluated"]), units),
                    )
                )
            losses.append(_losses(subject, name, asked, ours[0].answer, theirs[0].answer))
    return compared, losses


def _started(subject: Any, fact: Fact, length: int, seed: int) -> dict[str, Any]:
    """A prompt with the first suffix of both searches: what ours draws with this seed."""
    rows = subject.network.get_input_embeddings().weight.shape[0]
    allowed = allowed_tokens(subject.tokenizer, False, rows)
    pair = (fact.prompt, fact.answer)
    ids, _ = starting_suffix(subject, [pair], length, allowed, random.Random(seed))
    text = suffix_text(subject.tokenizer, ids)
    return {"prompt": fact.prompt, "answer": fact.answer, "start": text, "seed": seed}


def _losses(
    subject: Any, name: str, asked: list[dict[str, Any]], ours: Answer, theirs: Answer
) -> str:
    """Mean losses: before, as each side says, and of the suffixes as text by one model."""

    def as_text(texts: list[str]) -> float:
        pairs = [(a["prompt"] + text, a["answer"]) for a, text in zip(asked, texts, strict=True)]
        return -fmean(score.mean_log_probability for score in subject.score(pairs))

    first = as_text([a["start"] for a in asked])
    said, found = [], []
    for side in (ours, theirs):
        said.append(fmean(s["loss"] for s in side["searches"]))
        found.append(as_text([s["text"] for s in side["searches"]]))
    held = "yes" if found[0] <= found[1] else "**no**"
    return (
        f"| {name} | {len(asked)} | {first:.3f} | {said[0]:.3f} | {said[1]:.3f} "
        f"| {found[0]:.3f} | {found[1]:.3f} | {held} |"
    )


def whole(peers: Peers, size: Search, batch: int) -> tuple[list[Compared], list[str]]:
    """An audit of four arms against the peers' tools on the same four, one after the other.

    The audit's search of suffixes evaluates each candidate on `batch` prompts in each of two
    folds; nanoGCG is given as many prompts, so that candidates pass through the model as often.
    """
    material = peers.material
    subject = opened(material.model("unlearned"))
    room = answer_room(subject, [f for name in ("forget", "retain") for f in material.facts[name]])
    started = [
        _started(subject, fact, size.length, seed)
        for seed, fact in enumerate(material.facts["forget"][: 2 * batch])
    ]
    audits, tools = [], []
    for repetition in range(peers.repetitions):
        out = material.folder / f"audit-{repetition}"
        plan = _plan(material, size, batch)
        audits.append(peers.ask("ours", {"task": "audit", "plan": plan, "out": str(out)}))
        tools.append([_tools(peers, arm, room, size, started) for arm in ARMS])
    table = [
        Compared(
            "whole set: processes, imports among them",
            median([ran.whole for ran in audits]),
            median([total([r.whole for arm in arms for r in arm.values()]) for arms in tools]),
            3,
        )
    ]
    parts: dict[str, Callable[[dict[str, Ran]], list[Times]]] = {
        "whole set: work alone, without imports": lambda arm: [
            t for ran in arm.values() for t in _work(ran.answer)
        ],
        "whole set: work alone, without MIMIR's bootstrap": lambda arm: [
            t for ran in arm.values() for key, t in _named_work(ran.answer) if key != "metrics"
        ],
    }
    ours = _median(audits, "auditing")
    for name, of_arm in parts.items():
        theirs = median([total([t for arm in arms for t in of_arm(arm)]) for arms in tools])
        table.append(Compared(name, ours, theirs, 3))
    for tool in tools[0][0]:
        theirs = median(
            [total([t for arm in arms for t in _work(arm[tool].answer)]) for arms in tools]
        )
        table.append(Compared(f"of it, {tool}", ours, theirs))
    return table, _same_figures(audits[0].answer, tools[0][0])


def _tools(
    peers: Peers, arm: str, room: int, size: Search, started: list[dict[str, Any]]
) -> dict[str, Ran]:
    """The peers' tools on one model."""
    material = peers.material
    reference = RETRAINED[1] if arm == RETRAINED[0] else RETRAINED[0]
    model = material.model(arm)
    asked = [
        {"question": fact.prompt, "answer": fact.answer}
        for name in ("forget", "retain")
        for fact in material.facts[name]
    ]
    texts = (_passages(material.facts[name]) for name in ("forget", "holdout"))
    requests: dict[str, Request] = {
        "open-unlearning": {
            "model": model,
            "questions": {name: material.questions(name) for name in ("forget", "retain")},
            "answer_tokens": room,
            "out": str(material.folder / "open-unlearning"),
        },
        "mimir": {"metrics": True, **_membership_request(material, arm, reference, *texts)},
        "nanogcg": {
            "model": model,
            "prompts": started,
            "steps": size.steps,
            "candidates": size.candidates,
            "top_k": size.top_k,
        },
        "quantize": {"model": model, "questions": asked, "answer_tokens": room},
    }
    return {name: peers.ask(name, request) for name, request in requests.items()}


def _plan(material: Material, size: Search, batch: int) -> dict[str, Any]:
    """The audit that does what the tools do."""
    gcg = {
        "suffix_length": size.length,
        "num_steps": size.steps,
        "search_width": size.candidates,
        "topk": size.top_k,
        "batch_size": batch,
        "patience": size.steps,
        "stop_loss": 0.0,
    }
    spec = {arm: {"path": material.model(arm), "dtype": "float32"} for arm in ARMS}
    return {
        "unlearned": spec["unlearned"],
        "original": spec["original"],
        "retrained": [spec[arm] for arm in RETRAINED],
        "data": {name: material.source(name) for name in material.facts},
        "profile": None,
        "seeds": [0],
        "metrics": {
            "primary": "answer-probability",
            "deciding": [],
            "reported": ["rouge-l-recall", "exact-memorisation", "extraction-strength"],
        },
        "attacks": [
            {"attack": "quantization/bnb", "parameters": {"format": ["int8", "nf4"]}},
            {"attack": "membership/likelihood", "parameters": SCORES},
            {"attack": "membership/gradient-norm", "parameters": {"text": "passage"}},
            {"attack": "prompting/gcg", "parameters": gcg},
        ],
    }


def _same_figures(ours: Answer, theirs: dict[str, Ran]) -> list[str]:
    """The audit's figures of the unlearned model beside open-unlearning's."""
    named = {
        "exact-memorisation": "forget_exact_memorization",
        "extraction-strength": "forget_extraction_strength",
        "rouge-l-recall": "forget_rouge",
        "answer-probability": "forget_probability",
    }
    figures = theirs["open-unlearning"].answer["figures"]
    lines = [
        f"| {metric} | {ours['figures'][metric]:.3f} | {figures[name]:.3f} |"
        for metric, name in named.items()
    ]
    unmeasured = [label for label, status in ours["status"].items() if status != "measured"]
    lines.append(f"| attacks not measured | {', '.join(unmeasured) or 'none'} | |")
    return lines


def _median(runs: Sequence[Ran], key: str) -> Times:
    return median([ran.answer[key] for ran in runs])


def _named_work(found: Answer) -> list[tuple[str, Times]]:
    return [(k, v) for k, v in found.items() if isinstance(v, dict) and v.keys() == _TIMES]


def _work(found: Answer) -> list[Times]:
    return [times for _, times in _named_work(found)]


_TIMES = {"wall", "processor"}
PARTS = ("scoring", "membership", "gcg", "whole")


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--peers-python", required=True, help="interpreter of the peers' packages")
    found.add_argument("--mimir", type=Path, required=True, help="clone of MIMIR")
    found.add_argument("--open-unlearning", type=Path, required=True, help="clone of it")
    found.add_argument("--part", action="append", choices=PARTS, help="all, if none is given")
    found.add_argument("--subject", default="npo_gdr", help="unlearned model of the testbed")
    found.add_argument("--people", type=int, default=12, help="people of each set, at least 11")
    found.add_argument("--prompts", type=int, default=8, help="prompts of the suffix searches")
    found.add_argument("--steps", type=int, default=60, help="steps of a suffix search")
    found.add_argument("--repetitions", type=int, default=3)
    found.add_argument("--vocabulary", action="append", type=int)
    found.add_argument("--items", type=int, default=12, help="items of the bare forward pass")
    return found


def main() -> None:
    """Measure and print."""
    arguments = parser().parse_args()
    parts, steps = arguments.part or PARTS, arguments.steps
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        peers = Peers(arguments, prepare(Path(folder), arguments.subject, arguments.people))
        if "scoring" in parts:
            _print("Scoring and a bare forward pass", scoring(peers, arguments))
        if "membership" in parts:
            compared, agreement = membership(peers)
            _print_compared(compared)
            head = ["| texts | score | largest difference | rank correlation |"]
            _print("Scores of both sides", [*head, "| --- | --- | --: | --: |", *agreement])
        if "gcg" in parts:
            compared, losses = searches(
                peers, arguments.prompts, (as_ours(steps), as_nanogcg(steps))
            )
            _print_compared(compared)
            head = [
                "| search | prompts | loss before | ours says | nanoGCG says | ours as text "
                "| nanoGCG as text | no worse |",
                "| --- | --: | --: | --: | --: | --: | --: | --- |",
            ]
            _print("Losses, nats a token of the answer", [*head, *losses])
        if "whole" in parts:
            compared, figures = whole(peers, as_ours(steps), arguments.prompts)
            _print_compared(compared)
            head = ["| figure, unlearned model | ours | theirs |", "| --- | --: | --: |"]
            _print("The same figures", [*head, *figures])


def _print_compared(compared: Sequence[Compared]) -> None:
    head = [
        "| compared | ours (s) | theirs (s) | ratio | wall-clock ratio | goal | held |",
        "| --- | --: | --: | --: | --: | --- | --- |",
    ]
    _print("Processor time", [*head, *(one.line() for one in compared)])


def _print(title: str, lines: Sequence[str]) -> None:
    print(f"\n**{title}**\n\n" + "\n".join(lines), flush=True)


if __name__ == "__main__":
    quiet_libraries()
    main()
