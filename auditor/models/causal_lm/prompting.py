"""Tokenisation of prompt and answer as one text.

It serves every kind of tokenizer.
"""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from auditor.core.errors import AuditorError
from auditor.models.language.prompting import (
    Opened,
    before_answer,
    begun_again,
    templated,
    token_ids,
    without_added_end,
)
from auditor.models.spec import PromptFormat


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and answer together, and where the answer begins."""

    ids: list[int]
    answer: list[int]
    """Positions in ``ids`` that belong to the answer; never 0, because nothing predicts that
    position."""

    @property
    def tokens(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.ids)

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer."""
        return len(self.answer)

    @property
    def positions(self) -> int:
        """Tokens of the one sequence that prompt and answer are."""
        return len(self.ids)

    @property
    def before(self) -> int:
        """Tokens that stand before the answer."""
        return self.answer[0] if self.answer else len(self.ids)

    @property
    def token_ids(self) -> list[int]:
        """Token ids of prompt and answer."""
        return self.ids


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, format_: PromptFormat
) -> list[int]:
    """Token ids that generation starts from, as scoring has them.

    What the tokenizer puts behind a text stands behind the answer; here it is left out.
    """
    text = templated(tokenizer, prompt, format_)
    special = not format_.chat
    ids = token_ids(tokenizer, text, special=special)
    if special:
        ids = without_added_end(tokenizer, ids, text)
    return ids[begun_again(tokenizer, ids) :] or [_first_token(tokenizer)]


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, format_: PromptFormat
) -> Encoded:
    """Tokenise prompt and answer as one text, as in training.

    The answer's tokens are marked.

    The separator's tokens count as the answer's where the tokenizer merges them with it. An
    empty prompt scores the whole of ``answer`` as a passage. There is one begin token, whether
    the tokenizer puts it there, or the template, or both. Of a reasoning model the answer stands
    behind an emptied trace.
    """
    before = before_answer(tokenizer, prompt, format_) if prompt else ""
    separator = "" if format_.chat or not before else format_.separator
    text = before + separator + answer
    special = not (format_.chat and prompt)
    if tokenizer.is_fast:
        encoding = tokenizer(
            text,
            add_special_tokens=special,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_token_type_ids=False,
            return_attention_mask=False,
        )
        ids = list(encoding["input_ids"])
        ends = [end for _, end in encoding["offset_mapping"]]
        added = encoding["special_tokens_mask"]
        # by its end alone: where offsets are trimmed, a token of spaces has no width
        marked = [i for i, end in enumerate(ends) if end > len(before) and not added[i]]
    else:
        ids = token_ids(tokenizer, text, special=special)
        head = token_ids(tokenizer, before, special=special)
        shared = 0
        while shared < min(len(ids), len(head)) and ids[shared] == head[shared]:
            shared += 1
        marked = list(range(shared, len(ids)))
        if marked and ids[-1] == tokenizer.eos_token_id:
            marked.pop()
    again = min(begun_again(tokenizer, ids), marked[0] - 1 if marked else 0)
    if again > 0:
        ids, marked = ids[again:], [i - again for i in marked]
    if marked and marked[0] == 0:
        ids = [_first_token(tokenizer), *ids]
        marked = [i + 1 for i in marked]
    return Encoded(ids=ids, answer=marked)


def encode_opened(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, shown: int, format_: PromptFormat
) -> Opened:
    """Tokenise a prompt with the beginning of its answer.

    It has the first ``shown`` tokens of the answer, at most all but one.
    """
    pair = encode_pair(tokenizer, prompt, answer, format_)
    cut = pair.answer[min(shown, len(pair.answer) - 1)]
    return Opened(
        pair.ids[:cut], str(tokenizer.decode(pair.ids[cut : pair.answer[-1] + 1])).strip()
    )


def _first_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that begins a text.

    It is that of the beginning of a sequence, or else that of its end.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise AuditorError("the tokenizer has neither a bos nor an eos token to start a text with.")
