"""Trained vectors in the place of words."""

import math
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator

from attacks.prompting.cross_fitted import CrossFittedParameters, CrossFittedSearch, Pairs, Use
from attacks.prompting.soft_prompted import Place, reserved_text, soft_prompted
from auditor.attack import AttackContext, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import Finding
from auditor.core.records import Record, Row
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.prompting import Encoded
from auditor.models.devices import input_device
from auditor.models.language.evaluator import TextEvaluator

_PART = 4096
"""Embeddings that are taken at a time."""
_PAIR = 24
"""Tokens of prompt and answer that the estimate of the cost takes a fact to have."""


class SoftPromptParameters(CrossFittedParameters):
    """Settings of soft prompts."""

    num_virtual_tokens: int = Field(default=8, ge=1)
    """Vectors that are trained (of each entity, in its place); each is as wide as the model's
    embedding."""
    num_steps: int = Field(default=100, ge=1)
    """Optimiser steps of Adam."""
    batch_size: int = Field(default=16, ge=1)
    """Prompts in each step."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Learning rate of Adam, in units of the root mean square of the model's embedding."""
    place: Place = "after"
    """Where the vectors are put: before or after the prompt, or in the place of the entity's name,
    each entity its own; prompts must have the name."""
    name: str | None = None
    """Name of the variant, instead of the one made from split, scope, place, vectors and steps."""

    @model_validator(mode="after")
    def _names_on_both_sides(self) -> Self:
        if self.place == "entity" and (self.scope, self.split) != ("universal", "attribute"):
            raise ValueError(
                "vectors in the place of names are searched for all entities at once, on some "
                "facts of each: `scope: universal` and `split: attribute`"
            )
        return self


@attack("prompting/soft")
class SoftPrompt(CrossFittedSearch[SoftPromptParameters]):
    """Soft prompts trained on a part of the forget set."""

    summary = "Train vectors in the place of words, or of names, and try them on other facts."
    details = """
    The forget set is cut in two. On each arm vectors are trained with Adam that make the true
    answers of one half likely; they are tried on the other half, and the other way round. The
    vectors of all arms are pooled and every arm is measured with all of them and without; the
    strongest counts. If the arms have embeddings of different widths, each is measured with its
    own vectors alone. The audit's own metrics are asked, in writing too.

    In the place of the entity's name, each entity has vectors of its own, searched on half of its
    facts and tried on the others: facts that were hidden under another name, or under a code of the
    name, are found without the key.

    Vectors hold far more than tokens do, so an attack teaches more. The facts that were trained
    on are no evidence; side figures show how well they were learned, on U and on the retrained
    models.
    """
    threat_model = "Someone with the weights and some of the removed facts, who wants the others."
    access = "The weights, for the search and for the use; no text does the same."
    cost = (
        "In each fold and on each arm, num_steps times batch_size passes with gradients; then the "
        "forget set once an arm."
    )
    leak = "Knowledge that is one direction in the embedding away."
    source = (
        "Soft prompts against unlearning are from Schwinn et al., arXiv 2402.09063; training "
        "them as the only parameters from Lester et al., arXiv 2104.08691."
    )

    parameters_type = SoftPromptParameters
    presets = (
        Preset("attribute 8 vectors 100 steps"),
        Preset("entity 8 vectors 100 steps", {"split": "entity"}),
        Preset("attribute 8 vectors 400 steps", {"num_steps": 400}, "exhaustive"),
        Preset("attribute per-entity 8 vectors 100 steps", {"scope": "per-entity"}, "exhaustive"),
        Preset(
            "attribute in place of names 4 vectors 200 steps",
            {"place": "entity", "num_virtual_tokens": 4, "num_steps": 200, "batch_size": 64},
        ),
    )

    @property
    def variant(self) -> str:
        """Split, scope or place, number of vectors and of steps."""
        p = self.parameters
        scope = "" if p.scope == "universal" else f" {p.scope}"
        where = " in place of names" if p.place == "entity" else scope
        return p.name or f"{p.split}{where} {p.num_virtual_tokens} vectors {p.num_steps} steps"

    def search_tokens(self) -> int:
        """Batches with gradients, each pass with its vectors."""
        p = self.parameters
        return 3 * p.num_steps * p.batch_size * (p.num_virtual_tokens + _PAIR)

    def searched_at_once(self) -> int:
        """Tokens of one batch of prompts with their vectors."""
        return self.parameters.batch_size * (self.parameters.num_virtual_tokens + _PAIR)

    def wording(self, facts: Sequence[Fact]) -> Callable[[Fact], Fact]:
        """Puts an entity's own vectors in its place, if they belong there."""
        if self.parameters.place != "entity":
            return super().wording(facts)
        width = self.parameters.num_virtual_tokens
        reserved = {
            entity: reserved_text(width, index * width)
            for index, entity in enumerate(_entities(facts))
        }

        def worded(fact: Fact) -> Fact:
            def put(prompt: str) -> str:
                return prompt.replace(fact.entity, reserved[fact.entity])

            paraphrases = tuple(map(put, fact.paraphrases))
            return fact.model_copy(update={"prompt": put(fact.prompt), "paraphrases": paraphrases})

        return worded

    def comparable(self, model: CausalLM, pool: Sequence[Finding]) -> Sequence[Finding]:
        """Findings of all arms, or the own one if widths differ."""
        widths = {finding.record.arrays["vectors"].shape[-1] for finding in pool}
        return pool if len(widths) == 1 else [finding for finding in pool if finding.own]

    def search_part(
        self,
        model: CausalLM,
        pairs: Sequence[Pairs],
        context: AttackContext,
    ) -> Record:
        """Train vectors for each part.

        Raises:
            UnavailableError: the prompts are too long for the model's context, or none has the
                name in whose place the vectors belong.
            MeasurementError: a loss is not finite.
        """
        width, facts = self.parameters.num_virtual_tokens, context.facts.forget
        if self.parameters.place == "entity":
            _check_named(facts)
            width *= len(_entities(facts))
        found = []
        for index, part in enumerate(pairs):
            context.progress(f"soft prompt {index + 1} of {len(pairs)}")
            found.append(self._train(model, part, width, context.seed * len(pairs) + index))
        vectors = np.stack([vectors.numpy() for vectors, _, _ in found])
        notes = {
            "loss_before": [before for _, before, _ in found],
            "loss_after": [after for _, _, after in found],
        }
        return Record(notes=notes, arrays={"vectors": vectors})

    def evaluated(
        self, model: CausalLM, evaluator: TextEvaluator, uses: Sequence[Use]
    ) -> list[tuple[Row, ...]]:
        """Ask the facts with the vectors in their prompts, one after another."""
        wording = self.wording(evaluator.sets.forget)
        rows = []
        for use in uses:
            vectors = torch.from_numpy(use.found.arrays["vectors"][use.part])
            with soft_prompted(model, vectors, self.parameters.place) as prompted:
                rows.append(evaluator.evaluate(prompted, ("forget",), wording, only=use.only))
        return rows

    def _train(
        self, model: CausalLM, pairs: Pairs, width: int, seed: int
    ) -> tuple[torch.Tensor, float, float]:
        """Train vectors [width, hidden size] on the CPU.

        The search loss before and after is returned with them.
        """
        p = self.parameters
        draws = torch.Generator().manual_seed(seed)
        vectors, scale = _start(model, width, draws)
        vectors.requires_grad_()
        optimizer = torch.optim.Adam([vectors], lr=p.learning_rate * scale)
        with soft_prompted(model, vectors, p.place) as prompted:
            items = prompted.encode(pairs)
            _check_overlong(model, items)
            before = _search_loss(prompted, pairs)
            order: list[int] = []
            epoch: list[float] = []
            for _ in range(p.num_steps):
                if len(order) < min(p.batch_size, len(items)):
                    if epoch and sum(epoch) / len(epoch) <= p.stop_loss:
                        break
                    order, epoch = torch.randperm(len(items), generator=draws).tolist(), []
                batch, order = order[: p.batch_size], order[p.batch_size :]
                with torch.enable_grad():
                    loss = prompted.loss([items[i] for i in batch])
                    (vectors.grad,) = torch.autograd.grad(loss, vectors)
                optimizer.step()
                epoch.append(loss.item())
            after = _search_loss(prompted, pairs)
        return vectors.detach().cpu(), before, after


def _start(model: CausalLM, width: int, draws: torch.Generator) -> tuple[torch.Tensor, float]:
    """Start of the vectors, and the scale of the embedding.

    They are embeddings of random tokens, in float32; the scale is the root mean square of all.
    """
    embedding = model.network.get_input_embeddings()
    rows = min(len(model.tokenizer), embedding.weight.shape[0])
    drawn = torch.randint(rows, (width,), generator=draws)
    device = input_device(model.network)
    with torch.no_grad():
        parts = torch.split(torch.arange(rows, device=device), _PART)
        squares = sum(float(embedding(ids).float().square().sum()) for ids in parts)
        vectors = embedding(drawn.to(device)).float()
    return vectors.clone(), math.sqrt(squares / (rows * vectors.shape[1]))


def _entities(facts: Sequence[Fact]) -> tuple[str, ...]:
    """The entities of facts, in their order."""
    return tuple(dict.fromkeys(fact.entity for fact in facts))


def _check_named(facts: Sequence[Fact]) -> None:
    if not any(fact.entity in fact.prompt for fact in facts):
        raise UnavailableError(
            "no prompt has the name of its entity, in whose place the vectors belong; name the "
            "entities as the prompts do (`fields: {entity: …}`)"
        )


def _search_loss(model: CausalLM, pairs: Pairs) -> float:
    """Mean over the prompts of the loss per answer token, in nats."""
    scores = model.score(pairs)
    return -sum(score.mean_log_probability for score in scores) / len(scores)


def _check_overlong(model: CausalLM, items: Sequence[Encoded]) -> None:
    context = model.context_length
    longest = max(len(item.ids) for item in items)
    if context is not None and longest > context:
        raise UnavailableError(
            f"prompt, vectors and answer need {longest} tokens, but the model's context holds "
            f"{context}; train fewer `num_virtual_tokens`"
        )
