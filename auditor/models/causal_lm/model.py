"""Causal language models under audit."""

from collections.abc import Sequence

import torch
from transformers import (
    AutoModelForCausalLM,
    LogitsProcessorList,
    PretrainedConfig,
    PreTrainedModel,
)

from auditor.core.errors import AuditorError, OpeningError
from auditor.models.batching import Batching
from auditor.models.causal_lm.behaviour import batching, is_causal, is_finite, not_causal
from auditor.models.causal_lm.prompting import (
    Encoded,
    encode_opened,
    encode_pair,
    encode_prompt,
)
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.language.decoding import RefuseNotFinite, Sampling, decoding
from auditor.models.language.model import Asked, LanguageModel
from auditor.models.language.output_head import is_placed, last_place_alone
from auditor.models.language.prompting import Opened


class CausalLM(LanguageModel[Encoded]):
    """A decoder, which reads prompt and answer as one text.

    Each token is predicted from those before it.
    """

    spec_type = CausalLMSpec
    auto_class = AutoModelForCausalLM

    @classmethod
    def check_config(cls, config: PretrainedConfig, name: str) -> None:
        """Refuse an encoder-decoder."""
        if getattr(config, "is_encoder_decoder", False):
            raise AuditorError(
                f"{name} holds an encoder-decoder ({config.model_type}), which is no causal "
                "language model."
            )

    def check_network(self, network: PreTrainedModel) -> None:
        """Refuse logits that are no numbers, or see what follows.

        Quantized ones round by what is in a batch, so of these the architecture is asked alone.
        """
        if not is_finite(network):
            raise OpeningError(
                f"{self.spec.path} answers in no numbers: its weights, or its logits in "
                f"{str(network.dtype).removeprefix('torch.')}, are infinite or NaN. Set `dtype: "
                "float32` where half precision overflows; else save the model again from weights "
                "that are finite."
            )
        if getattr(network.config, "quantization_config", None) is None and not is_causal(network):
            raise OpeningError(not_causal(self.spec.path))
        batching(network, self.tokenizer.pad_token_id)  # now, as no attack has changed it
        is_placed(network)

    @property
    def batching(self) -> Batching:
        """What may be asked in one batch (RWKV reads padding as text)."""
        return batching(self.network, self.tokenizer.pad_token_id)

    def encode(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[Encoded]:
        """Tokenise each prompt with its answer as one text."""
        found = [encode_pair(self.tokenizer, p, a, self.prompt_format) for p, a in pairs]
        stop = self.tokenizer.eos_token_id
        if not end or stop is None:
            return found
        return [Encoded([*e.ids, stop], [*e.answer, len(e.ids)]) for e in found]

    def shortened(self, item: Encoded, tokens: int) -> Encoded:
        """The first ``tokens`` tokens of the text."""
        return Encoded(item.ids[:tokens], [place for place in item.answer if place < tokens])

    def opened(self, prompt: str, answer: str, shown: int) -> Opened:
        """The ids of the prompt and of the beginning of its answer."""
        return encode_opened(self.tokenizer, prompt, answer, shown, self.prompt_format)

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        sampling: Sampling | None = None,
        openings: Sequence[list[int]] | None = None,
    ) -> list[str]:
        """Answer each prompt, in batches that are padded on the left."""
        starts = openings or [encode_prompt(self.tokenizer, p, self.prompt_format) for p in prompts]
        self._check_context(max((len(s) for s in starts), default=0) + max_new_tokens)
        config = self._decoding(max_new_tokens, sampling)

        def run(batch: list[int]) -> list[str]:
            ids, mask = self.padded([starts[i] for i in batch], left=True)
            with (
                torch.inference_mode(),
                decoding(self.network, config),
                last_place_alone(self.network),
            ):
                out = self.network.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    logits_processor=LogitsProcessorList([RefuseNotFinite()]),
                )
            self.meter.forward_tokens += out.numel()
            new = out[:, ids.shape[1] :]
            return [t.strip() for t in self.tokenizer.batch_decode(new, skip_special_tokens=True)]

        read = list(map(len, starts))
        return self.write_batched(read, [tokens + max_new_tokens for tokens in read], run)

    def _padded_items(self, items: Sequence[Encoded]) -> Asked:
        """Pad on the right, where no token attends to it."""
        ids, mask = self.padded([item.ids for item in items])
        inputs = {"input_ids": ids, "attention_mask": mask}
        return Asked(inputs, ids, [item.answer for item in items], ids.numel())
