"""Text and token ids of a prompt, as a model sees them.

It serves every kind of tokenizer.
"""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from auditor.core.errors import AuditorError
from auditor.models.spec import PromptFormat


@dataclass(frozen=True)
class Opened:
    """A prompt with the beginning of its answer."""

    ids: list[int]
    """Token ids from which generation starts."""
    rest: str
    """Rest of the answer, which is to be generated."""


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


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    """Token ids of a text.

    Args:
        tokenizer: The model's tokenizer.
        text: What is tokenised.
        special: Whether the tokenizer puts its special tokens around it.
    """
    encoding = tokenizer(
        text,
        add_special_tokens=special,
        return_token_type_ids=False,
        return_attention_mask=False,
    )
    return list(encoding["input_ids"])
