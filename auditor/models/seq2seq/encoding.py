"""Token ids of prompt and answer, for encoder and decoder."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from auditor.core.errors import AuditorError
from auditor.models.language.prompting import begun_again, templated, token_ids
from auditor.models.spec import PromptFormat


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of a prompt and of its answer."""

    prompt: list[int]
    """Token ids that the encoder reads, its end-of-sequence token included."""
    target: list[int]
    """Token ids that the decoder is to generate."""
    answer: list[int]
    """Positions in ``target`` that belong to the answer; others are special tokens before it."""

    @property
    def tokens(self) -> int:
        """Number of tokens that it takes up in a padded batch.

        The two sides are padded apart.
        """
        return 2 * self.positions

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer."""
        return len(self.answer)

    @property
    def positions(self) -> int:
        """Tokens of the longer side; the decoder's begins with its start token."""
        return max(len(self.prompt), 1 + len(self.target))

    @property
    def before(self) -> int:
        """The start token alone: the prompt stands on the other side."""
        return 1

    @property
    def token_ids(self) -> list[int]:
        """Token ids of both sides."""
        return [*self.prompt, *self.target]


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, format_: PromptFormat
) -> list[int]:
    """Tokenise what the encoder reads.

    An empty prompt is the end-of-sequence token alone.

    Raises:
        AuditorError: The prompt has no tokens, and the tokenizer no end-of-sequence token.
    """
    text = templated(tokenizer, prompt, format_) if prompt else ""
    ids = token_ids(tokenizer, text, special=not (format_.chat and prompt))
    if ids:
        return ids[begun_again(tokenizer, ids) :]
    if tokenizer.eos_token_id is None:
        raise AuditorError("the tokenizer has no end-of-sequence token to stand for no prompt.")
    return [int(tokenizer.eos_token_id)]


def encode_pair(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    answer: str,
    format_: PromptFormat,
    *,
    end: bool = False,
) -> EncodedPair:
    """Tokenise a prompt for the encoder and its answer for the decoder.

    Args:
        tokenizer: The model's tokenizer.
        prompt: What is asked; empty for a passage by itself.
        answer: What is scored; special tokens that the tokenizer puts before it are given.
        format_: How the prompt becomes text.
        end: Put the end-of-sequence token after the answer; it counts as the answer's.
    """
    encoding = tokenizer(
        text_target=answer,
        return_special_tokens_mask=True,
        return_token_type_ids=False,
        return_attention_mask=False,
    )
    ids, added = list(encoding["input_ids"]), encoding["special_tokens_mask"]
    places = [place for place, special in enumerate(added) if not special]
    target = ids[: places[-1] + 1] if places else []
    if end and tokenizer.eos_token_id is not None:
        places = [*places, len(target)]
        target = [*target, int(tokenizer.eos_token_id)]
    return EncodedPair(encode_prompt(tokenizer, prompt, format_), target, places)
