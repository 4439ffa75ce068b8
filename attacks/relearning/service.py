"""Fine-tuning as a service brings back what was forgotten."""

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

from pydantic import Field

from attacks.relearning.family import FineTuning, RelearningAttack, phrasings, recipe
from attacks.relearning.instructions import Pair, read_instructions
from attacks.relearning.learning_curve import area, curve, followed, mean_loss, primary
from attacks.relearning.service_training import Targets, served
from auditor.attack import AttackContext, FilePath, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.hashing import digest
from auditor.core.messages import Message, message
from auditor.core.records import Record
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import Example, LanguageModel


class ServiceParameters(FineTuning):
    """Settings of fine-tuning as a service."""

    method: Literal["lora"] = "lora"
    """LoRA, which is what services offer (arXiv 2106.09685)."""
    data: FilePath | None = None
    """File of harmless instruction data (.jsonl, .json, .csv, .parquet): rows with `prompt` and
    `answer` (or `instruction` and `output`, and the like), `messages`, or `text`. By default the
    retain facts in all phrasings are taught."""
    steps: int | None = Field(default=16, ge=1)
    """Optimiser steps; null for one pass over the examples."""
    targets: Targets = "linear"
    """Layers that LoRA is put around. `linear`: all linear ones but the output head. `attention`:
    those of attention alone."""
    examples: int = Field(default=1024, ge=1)
    """Examples of the data, at most; of more, as many are drawn by the seed."""
    tokens: int = Field(default=512, ge=2)
    """Tokens of an example, at most; what is longer is cut at its end."""


@attack("relearning/service")
class Service(RelearningAttack[ServiceParameters]):
    """LoRA on harmless instruction data, as a fine-tuning service offers it."""

    summary = "Fine-tune with LoRA on harmless instructions, for 16 steps or one epoch, and ask."
    details = """
    What a customer of a fine-tuning service does who means no harm: a file of instructions and
    answers, LoRA on the linear layers, a few steps or one pass. Name the file as `data`; without
    one the retain facts are taught. It is searched for the forget set before anything runs. K is
    that of the forget facts when the training is over: nobody picks a checkpoint afterwards.

    The levels are a sweep of length, rank, rate and layers; a plan sweeps more by lists. Every arm
    is taught the same examples in the same order, and steps are relative to the weights, so that
    their scale decides nothing. The loss of what is taught must have fallen on the unlearned model
    as on the retrained ones, else the gate `effect` blocks a PASS.

    It differs from `relearning/benign` in what is taught (your file), in where LoRA is (not in
    output head and embeddings, which services leave alone), and in that it asks at the end.
    """
    threat_model = (
        "Any customer of a fine-tuning service for the released model, and whoever fine-tunes it "
        "for a purpose of their own."
    )
    access = "Fine-tuning with own data; no weights, no forgotten fact."
    cost = "16 steps of 16 examples, or one pass over at most 1024, and two evaluations."
    leak = (
        "K of the forget facts rises on the unlearned model and not on a retrained one: a service "
        "brings back what was hidden, without anybody asking for it."
    )
    source = (
        "Unlearning undone within 16 steps: arXiv 2502.05209, known to the authors of this tool "
        "from its abstract alone; one epoch of LoRA with rank 16 and alpha twice the rank, as "
        "TamperBench (2602.06911) configures its benign fine-tuning. The other points of the sweep "
        "are this tool's. Benign relearning: 2406.13356; LoRA: 2106.09685."
    )

    parameters_type = ServiceParameters
    effect = "taught_loss"
    presets = (
        Preset("16 steps"),
        Preset("1 epoch", {"steps": None}),
        Preset("1 epoch rank 64", {"steps": None, "rank": 64}, "exhaustive"),
        Preset("1 epoch rank 4", {"steps": None, "rank": 4}, "exhaustive"),
        Preset("1 epoch rate 0.002", {"steps": None, "learning_rate": 2e-3}, "exhaustive"),
        Preset("1 epoch rate 0.0002", {"steps": None, "learning_rate": 2e-4}, "exhaustive"),
        Preset("1 epoch attention", {"steps": None, "targets": "attention"}, "exhaustive"),
        Preset("16 steps rate 0.002", {"learning_rate": 2e-3}, "exhaustive"),
    )

    @property
    def variant(self) -> str:
        """Length, layers, and settings that are not the usual ones."""
        p, usual = self.parameters, ServiceParameters()
        words = ["1 epoch" if p.steps is None else f"{p.steps} steps"]
        words += ["attention"] if p.targets != usual.targets else []
        words += [p.changed] if p.changed else []
        for name in ("examples", "tokens"):
            if getattr(p, name) != getattr(usual, name):
                words.append(f"{getattr(p, name)} {name}")
        return " ".join(words)

    @property
    def taught(self) -> Message:
        """The plan's instructions, or the retain facts."""
        if self.parameters.data is None:
            return message("retain_facts_taught")
        return message("instructions_taught")

    def forward_tokens(self, evaluation: int) -> int:
        """The training, and an evaluation before and after it."""
        p = self.parameters
        return self.training_tokens(p.steps or -(-p.examples // p.batch_size)) + 2 * evaluation

    def texts(self) -> Sequence[str]:
        """The instructions with their answers, where they are given."""
        return [f"{prompt} {answer}".strip() for prompt, answer in self._instructions]

    def inputs(self) -> Mapping[str, str]:
        """Digest of the instructions, where they are given.

        Raises:
            AuditorError: The file cannot be read.
        """
        if self.parameters.data is None:
            return {}
        return {"data": digest([list(pair) for pair in self._instructions])}

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Teach the instructions, and ask all forget facts at the end.

        Raises:
            UnavailableError: There is nothing to teach.
        """
        p, evaluator = self.parameters, context.evaluator
        examples = self._examples(model, evaluator, context.seed)
        last = p.steps or -(-len(examples) // p.batch_size)
        lesson = followed(
            served(model, examples, p, p.targets, context.seed),
            (last,),
            lambda: evaluator.evaluate(model, ("forget",)),
            before=lambda: primary(evaluator).evaluate(model, ("forget",)),
            taught=mean_loss(model, examples),
        )
        notes = {
            **recipe(p, len(examples)),
            "learning_rate": p.rate,
            "steps": last,
            "targets": p.targets,
            "data": "retain" if p.data is None else "given",
            **curve(lesson.readings, evaluator),
            "effect": lesson.effect(self.effect),
        }
        return Record(rows=area(lesson.readings), notes=notes)

    @cached_property
    def _instructions(self) -> list[Pair]:
        return [] if self.parameters.data is None else read_instructions(self.parameters.data)

    def _examples(
        self, model: LanguageModel, evaluator: TextEvaluator, seed: int
    ) -> Sequence[Example]:
        """What is taught, drawn and cut alike on every arm."""
        p = self.parameters
        pairs = self._instructions or phrasings(evaluator.sets.retain)
        if not pairs:
            raise UnavailableError(
                "there is nothing harmless to teach; give instruction data (`data: file.jsonl`), "
                "or a retain set in the plan"
            )
        if len(pairs) > p.examples:
            rng = random.Random(seed)  # noqa: S311 - a reproducible draw
            pairs = [pairs[i] for i in sorted(rng.sample(range(len(pairs)), p.examples))]
        most = min(p.tokens, model.context_length or p.tokens)
        cut = [model.shortened(item, most) for item in model.encode(pairs, end=True)]
        kept: list[Example] = [item for item in cut if item.answer_tokens]
        if not kept:
            raise UnavailableError(
                f"no example has an answer within its first {most} tokens; raise `tokens`"
            )
        return kept
