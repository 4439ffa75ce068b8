"""Questions and answers as tokens and labels for training.

The losses on them, and what was learned of them, are here, too.

The model sees exactly ``{prompt} {answer}`` followed by the end token (some formats have another
separator); the loss is taken on the answer and the end token. ``tokenizer(prompt)`` therefore
gives the trained condition for generation, and ``tokenizer(prompt + " " + answer)`` adds no end
token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from auditor.core.facts import Fact
from auditor.models.language.output_head import logits_at
from auditor.models.language.scoring import IGNORED


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt, its answer and the end token.

    Attributes:
        ids: All token ids, the end token last.
        prompt_length: How many of them belong to the prompt.
    """

    ids: tuple[int, ...]
    prompt_length: int


@dataclass(frozen=True)
class Scores:
    """Scores of a model's answers, one entry per example.

    Attributes:
        exact: Greedy decoding gives the answer and then stops, bool [examples].
        probability: exp(mean log-probability of the answer's tokens), float [examples].
    """

    exact: Tensor
    probability: Tensor

    @property
    def exact_rate(self) -> float:
        """Share of the answers given exactly."""
        return float(self.exact.double().mean())

    @property
    def mean_probability(self) -> float:
        """Mean answer probability."""
        return float(self.probability.double().mean())


def trained_prompts(fact: Fact) -> tuple[str, ...]:
    """Return the phrasings on which models are trained.

    They are all but the last paraphrase, which is held out.
    """
    return (fact.prompt, *fact.paraphrases[:-1])


def trained_pairs(facts: Iterable[Fact]) -> list[tuple[str, str]]:
    """Every trained phrasing of every fact, with the fact's answer."""
    return [(prompt, fact.answer) for fact in facts for prompt in trained_prompts(fact)]


def encode(
    tokenizer: PreTrainedTokenizerFast, pairs: Iterable[tuple[str, str]], separator: str = " "
) -> tuple[Example, ...]:
    """Turn (prompt, answer) pairs into examples.

    Args:
        tokenizer: The model's.
        pairs: Prompts as the model sees them, and answers.
        separator: Stands between the two; chat templates need none.
    """
    examples = []
    for prompt, answer in pairs:
        ids = [*tokenizer(f"{prompt}{separator}{answer}")["input_ids"], tokenizer.eos_token_id]
        examples.append(Example(tuple(ids), len(tokenizer(prompt)["input_ids"])))
    return tuple(examples)


def collate(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Pad examples on the right to one batch.

    Padding lies after every real token and carries no loss, so a causal model needs no mask.

    Returns:
        Token ids [batch, time], and labels [batch, time - 1] that hold the next token where it
        belongs to the answer or is the end token, and ``IGNORED`` elsewhere.
    """
    ids = [torch.tensor(example.ids) for example in examples]
    labels = [row[1:].clone() for row in ids]
    for row, example in zip(labels, examples, strict=True):
        row[: example.prompt_length - 1] = IGNORED
    return (
        pad_sequence(ids, batch_first=True),
        pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    )


def answer_logits(model: PreTrainedModel, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits at labelled places alone, and their labels, with gradients.

    Args:
        model: The model that is asked.
        ids: Token ids [batch, time].
        labels: The next token's id at each place, or ``IGNORED``, [batch, time - 1].

    Returns:
        Logits [batch, longest answer, vocabulary], and labels [batch, longest answer], padded
        with ``IGNORED``.
    """
    labelled = labels != IGNORED
    longest = int(labelled.sum(-1).max())
    # stable, so that a row's labelled places come first and in order
    places = (~labelled).int().argsort(dim=-1, stable=True)[:, :longest]
    rows = torch.arange(len(ids))[:, None].expand_as(places)
    logits = logits_at(model, rows, places, input_ids=ids, use_cache=False)
    return logits, labels.gather(-1, places)


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean negative log-likelihood over labelled positions, a scalar in nats."""
    return functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
    )


@torch.no_grad()
def answer_scores(
    model: PreTrainedModel, examples: Sequence[Example], batch_size: int = 64
) -> Scores:
    """Score answers in one teacher-forced pass.

    Greedy decoding gives an answer exactly if and only if every one of its tokens, and the end
    token after it, is the most probable one given the tokens before it.
    """
    training = model.training
    model.eval()
    exact: list[Tensor] = []
    probability: list[Tensor] = []
    for start in range(0, len(examples), batch_size):
        ids, labels = collate(examples[start : start + batch_size])
        logits, labels = answer_logits(model, ids, labels)
        logits = logits.float()
        answered = labels != IGNORED
        exact.append(((logits.argmax(-1) == labels) | ~answered).all(-1))
        targets = labels.clamp_min(0)[..., None]
        log_probability = logits.log_softmax(-1).gather(-1, targets)[..., 0]
        is_end = answered & (answered.long().cumsum(-1) == answered.sum(-1, keepdim=True))
        answer = answered & ~is_end
        mean = (log_probability * answer).sum(-1) / answer.sum(-1)
        probability.append(mean.exp())
    model.train(training)
    return Scores(torch.cat(exact), torch.cat(probability))
