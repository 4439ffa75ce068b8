"""Four architectures with their tokenizers, prompt formats and forms of checkpoint."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from tokenizers import processors
from transformers import (
    GPT2Config,
    GPTNeoXConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from auditor.core.facts import Fact
from auditor.testbeds.people.training import train_tokenizer

WIDTH, CONTEXT, VOCABULARY = 128, 128, 900
USER, ASSISTANT = "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_COMMON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.05,
}


@dataclass(frozen=True)
class Architecture:
    """A family of models as it is released.

    Attributes:
        name: What the table calls it.
        config: Makes the configuration; the tokenizer's ids are set later.
        template: Text around a prompt.
        begins: A text starts with a begin token.
        chat: Prompts are rendered with a chat template.
        dtype: Of the checkpoint.
        shard: Largest file of the checkpoint.
    """

    name: str
    config: Callable[[], PretrainedConfig]
    template: str = "{prompt}"
    begins: bool = False
    chat: bool = False
    dtype: torch.dtype = torch.float32
    shard: str = "50GB"

    @property
    def separator(self) -> str:
        """What stands between prompt and answer."""
        return "" if self.chat else " "

    @property
    def format(self) -> Mapping[str, Any]:
        """The prompt format as a plan has it."""
        return {"chat": True} if self.chat else {"template": self.template}

    def rendered(self, prompt: str) -> str:
        """A prompt as the model sees it."""
        return self.template.format(prompt=prompt)

    def facts(self, facts: Iterable[Fact]) -> tuple[Fact, ...]:
        """Facts with all their prompts as the model sees them."""
        return tuple(
            fact.model_copy(
                update={
                    "prompt": self.rendered(fact.prompt),
                    "paraphrases": tuple(map(self.rendered, fact.paraphrases)),
                }
            )
            for fact in facts
        )

    def tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerFast:
        """Train the tokenizer on texts."""
        tokenizer = train_tokenizer(texts, VOCABULARY)
        if not self.begins:
            tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        if self.chat:
            tokenizer.add_special_tokens({"additional_special_tokens": [USER, ASSISTANT]})
            tokenizer.chat_template = CHAT_TEMPLATE
        return tokenizer

    def save(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path
    ) -> None:
        """Write a checkpoint as this family is released."""
        model.to(self.dtype).save_pretrained(folder, max_shard_size=self.shard)
        tokenizer.save_pretrained(folder)


ARCHITECTURES = MappingProxyType(
    {
        architecture.name: architecture
        for architecture in (
            Architecture(
                "gpt2",
                lambda: GPT2Config(
                    n_embd=WIDTH, n_layer=3, n_head=4, n_positions=CONTEXT, initializer_range=0.05
                ),
                template="Question: {prompt}\nAnswer:",
            ),
            Architecture(
                "qwen2",
                lambda: Qwen2Config(
                    **_COMMON,
                    intermediate_size=256,
                    num_key_value_heads=2,
                    tie_word_embeddings=True,
                ),
                template=f"{USER}\n{{prompt}}\n{ASSISTANT}\n",
                chat=True,
            ),
            Architecture(
                "neox",
                lambda: GPTNeoXConfig(**_COMMON, intermediate_size=512),
                dtype=torch.bfloat16,
                shard="700KB",
            ),
            Architecture(
                "mistral",
                lambda: MistralConfig(**_COMMON, intermediate_size=256, num_key_value_heads=2),
                begins=True,
            ),
        )
    }
)
