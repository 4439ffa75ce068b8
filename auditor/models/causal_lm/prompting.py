"""From a fact's prompt and answer to token ids, for every kind of tokenizer, once."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from auditor.core.errors import AuditorError
from auditor.models.spec import PromptFormat


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and answer together, and where the answer begins."""

    ids: list[int]
    answer: list[int]
    """Positions in ``ids`` that belong to the answer (never position 0: nothing predicts it)."""


@dataclass(frozen=True)
class Opened:
    """A prompt with the beginning of its answer."""

    ids: list[int]
    """Token ids that generation starts from."""
    rest: str
    """The rest of the answer."""


def templated(tokenizer: PreTrainedTokenizerBase, prompt: str, format_: PromptFormat) -> str:
    """Text that the model sees before its answer.

    Raises:
        AuditorError: a chat template is asked for and the tokenizer has none.
    """
    text = format_.template.replace("{prompt}", prompt)
    if not format_.chat:
        return text
    if not tokenizer.chat_template:
        raise AuditorError(
            "the plan asks for a chat template, but the tokenizer has none; set `chat: false` and "
            "give a `template` instead."
        )
    messages = [{"role": "system", "content": format_.system}] if format_.system else []
    messages.append({"role": "user", "content": text})
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return str(rendered)


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, format_: PromptFormat
) -> list[int]:
    """Token ids that generation starts from (a trailing end-of-sequence token is dropped)."""
    text = templated(tokenizer, prompt, format_)
    ids = _tokens(tokenizer, text, special=not format_.chat)
    if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    if not ids:
        start = _first_token(tokenizer)
        return [start]
    return ids


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, format_: PromptFormat
) -> Encoded:
    """Tokenise prompt and answer as one text, as in training, and mark the answer's tokens.

    The separator's tokens count as the answer's where the tokenizer merges them with it. An
    empty prompt scores the whole of ``answer`` as a passage.
    """
    before = templated(tokenizer, prompt, format_) if prompt else ""
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
        ids = _tokens(tokenizer, text, special=special)
        head = _tokens(tokenizer, before, special=special)
        shared = 0
        while shared < min(len(ids), len(head)) and ids[shared] == head[shared]:
            shared += 1
        marked = list(range(shared, len(ids)))
        if marked and ids[-1] == tokenizer.eos_token_id:
            marked.pop()
    if marked and marked[0] == 0:
        ids = [_first_token(tokenizer), *ids]
        marked = [i + 1 for i in marked]
    return Encoded(ids=ids, answer=marked)


def encode_opened(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, shown: int, format_: PromptFormat
) -> Opened:
    """Tokenise a prompt with the first ``shown`` tokens of its answer (all but one at most)."""
    pair = encode_pair(tokenizer, prompt, answer, format_)
    cut = pair.answer[min(shown, len(pair.answer) - 1)]
    return Opened(
        pair.ids[:cut], str(tokenizer.decode(pair.ids[cut : pair.answer[-1] + 1])).strip()
    )


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    encoding = tokenizer(
        text,
        add_special_tokens=special,
        return_token_type_ids=False,
        return_attention_mask=False,
    )
    return list(encoding["input_ids"])


def _first_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Token that stands before a text of its own: beginning of sequence, else end of sequence."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise AuditorError("the tokenizer has neither a bos nor an eos token to start a text with.")
