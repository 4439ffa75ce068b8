"""Encoded prompts, and how erasures pair their tokens.

A causal text encoder puts what it read into every later token: the concept is in its own
tokens and in everything after them, the padding included. So the erasures differ in which rows
of the encoded prompt they use, and in how rows of two prompts of different length are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from auditor.core.errors import AuditorError


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt, encoded.

    Attributes:
        states: What cross-attention gets, [length, width].
        subject: Positions of the tokens that name the concept; of the start token alone where
            the prompt is empty.
        added: Further conditions for one image, each with a first dimension of 1 (Stable
            Diffusion XL: ``text_embeds`` and ``time_ids``).
    """

    states: Tensor
    subject: range
    added: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse positions that the prompt does not have."""
        if self.states.ndim != 2:
            raise ValueError(f"a prompt is [length, width], not {list(self.states.shape)}")
        if not 0 <= self.subject.start < self.subject.stop <= len(self.states):
            raise ValueError(f"{self.subject} is outside a prompt of {len(self.states)} tokens")


@dataclass(frozen=True)
class Erasure:
    """A prompt with the concept and its replacement.

    The outputs of the concept's prompt are replaced by those of the other.
    """

    concept: EncodedPrompt
    target: EncodedPrompt


@torch.no_grad()
def encode_prompt(
    tokenizer: PreTrainedTokenizerBase,
    text_encoder: PreTrainedModel,
    prompt: str,
    subject: str | None = None,
) -> EncodedPrompt:
    """Encode one prompt with one text encoder, padded to the tokenizer's length.

    Args:
        tokenizer: Tokenizer of the pipeline.
        text_encoder: Text encoder of the pipeline; its last hidden states are used.
        prompt: May be empty.
        subject: The words in the prompt that name the concept; the whole prompt if ``None``.

    Raises:
        AuditorError: The subject's tokens do not stand in the prompt.
    """
    length = tokenizer.model_max_length
    ids = tokenizer(
        prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    words = prompt if subject is None else subject
    wanted = tokenizer(words, add_special_tokens=False).input_ids
    span = _last_span(ids[0].tolist(), wanted) if wanted else range(1)
    if span is None:
        raise AuditorError(
            f"the tokens of {words!r} do not stand in the first {length} tokens of {prompt!r}; "
            "shorten the prompt, or write the subject as the prompt has it"
        )
    states = text_encoder(ids.to(text_encoder.device)).last_hidden_state
    return EncodedPrompt(states[0], span)


def rows_from_subject(prompt: EncodedPrompt) -> Tensor:
    """Return the rows from the subject's last token on.

    They end with the padding, [n, width].
    """
    return prompt.states[prompt.subject.stop - 1 :]


def pairs_from_subject(erasures: Sequence[Erasure]) -> tuple[Tensor, Tensor]:
    """Return the rows that UCE (arXiv 2308.14761) pairs.

    They are those from the last subject token on.

    The last subject tokens of both prompts are paired, then whatever follows each, as far as
    both have tokens.

    Returns:
        Rows of the concepts and of their targets, both [n, width].
    """
    pairs = []
    for erasure in erasures:
        old, new = rows_from_subject(erasure.concept), rows_from_subject(erasure.target)
        shorter = min(len(old), len(new))
        pairs.append((old[:shorter], new[:shorter]))
    return _joined(pairs)


def pairs_of_context(erasures: Sequence[Erasure]) -> tuple[Tensor, Tensor]:
    """Return the rows that MACE's refinement (arXiv 2403.06135) pairs.

    They are all but the subject's own.

    Both prompts of an erasure are one sentence with different subjects. What stands before the
    subject is paired by position, what follows it by distance from its end.

    Returns:
        Rows of the concepts and of their targets, both [n, width].

    Raises:
        ValueError: The subjects of a pair begin at different positions.
    """
    pairs = []
    for erasure in erasures:
        old, new = erasure.concept, erasure.target
        start = old.subject.start
        if start != new.subject.start:
            raise ValueError(
                f"the subjects begin at tokens {start} and {new.subject.start}: a concept and "
                "its target must stand in the same sentence"
            )
        after_old, after_new = old.states[old.subject.stop :], new.states[new.subject.stop :]
        shorter = min(len(after_old), len(after_new))
        pairs.append((old.states[:start], new.states[:start]))
        pairs.append((after_old[:shorter], after_new[:shorter]))
    return _joined(pairs)


def _joined(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if not pairs:
        raise ValueError("nothing to erase: no pair of prompts was given")
    return torch.cat([old for old, _ in pairs]), torch.cat([new for _, new in pairs])


def _last_span(ids: list[int], wanted: list[int]) -> range | None:
    for start in range(len(ids) - len(wanted), -1, -1):
        if ids[start : start + len(wanted)] == wanted:
            return range(start, start + len(wanted))
    return None
