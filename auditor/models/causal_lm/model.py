"""Causal language models under audit."""

from collections.abc import Collection, Sequence

import torch
from transformers import (
    AutoModelForCausalLM,
    LogitsProcessorList,
    PretrainedConfig,
    PreTrainedModel,
)

from auditor.core.errors import AuditorError, OpeningError, UnavailableError
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
from auditor.models.language.prompting import Opened, expects_trace, trace_markers
from auditor.models.language.reasoning import Writer, Written
from auditor.models.language.traces import Markers
from auditor.models.spec import TraceFormat

_NEXT_SEED = 1_000_003
"""Step between the seeds of one text's parts."""


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
        """Answer each prompt, in batches that are padded on the left.

        Of a reasoning model the answer is what stands outside of its trace; a text whose trace does
        not end is the answer as a whole. So is every text of a model that nobody says to think:
        what it writes between markers is read by no attack of its own.
        """
        starts = openings or self._starts(prompts)
        markers = self.trace_markers
        if markers is not None and self.expects_trace:
            found = self._writer(markers, sampling).answers(starts, max_new_tokens)
            return [written.answer for written in found]
        written = self._written(starts, max_new_tokens, sampling)
        return [t.strip() for t in self.tokenizer.batch_decode(written, skip_special_tokens=True)]

    def thoughts(
        self, prompts: Sequence[str], max_new_tokens: int, *, forced: bool
    ) -> list[Written]:
        """Answer each prompt greedily, with the trace apart.

        Args:
            prompts: What is asked.
            max_new_tokens: Longest answer.
            forced: End a trace that has no end within its bound, so that there is an answer to
                each prompt.

        Raises:
            UnavailableError: No markers of traces are known.
            MeasurementError: As :meth:`generate` does.
        """
        markers = self.trace_markers
        if markers is None:
            raise UnavailableError(
                "neither the chat template nor the vocabulary has markers of traces that are "
                "known; give `format.trace.open` and `close`"
            )
        writer = self._writer(markers, None)
        return writer.answers(self._starts(prompts), max_new_tokens, forced=forced)

    @property
    def trace_markers(self) -> Markers | None:
        """Markers of the model's traces of thought; None where none are known."""
        return trace_markers(self.tokenizer, self.prompt_format)

    @property
    def expects_trace(self) -> bool:
        """Whether a trace has its place between prompt and answer."""
        return expects_trace(self.tokenizer, self.prompt_format)

    def _starts(self, prompts: Sequence[str]) -> list[list[int]]:
        return [encode_prompt(self.tokenizer, p, self.prompt_format) for p in prompts]

    def _writer(self, markers: Markers, sampling: Sampling | None) -> Writer:
        drawn = 0

        def write(starts: Sequence[list[int]], tokens: int) -> list[list[int]]:
            nonlocal drawn  # what goes on is drawn by other numbers than what it goes on from
            own = sampling and sampling.model_copy(update={"seed": sampling.seed + drawn})
            drawn += _NEXT_SEED
            return self._written(starts, tokens, own)

        trace = self.prompt_format.trace or TraceFormat()
        return Writer(
            self.tokenizer, markers, write, self._stops, self.context_length, trace.tokens
        )

    @property
    def _stops(self) -> frozenset[int]:
        """Tokens that end a text."""
        stop = self._decoding(1, None).eos_token_id
        return frozenset([stop] if isinstance(stop, int) else stop or ())

    def _written(
        self, starts: Sequence[list[int]], max_new_tokens: int, sampling: Sampling | None
    ) -> list[list[int]]:
        """Go on from token ids, up to what ends a text."""
        self._check_context(max((len(s) for s in starts), default=0) + max_new_tokens)
        config = self._decoding(max_new_tokens, sampling)
        stops = self._stops

        def run(batch: list[int]) -> list[list[int]]:
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
            return [_ended(row, stops) for row in out[:, ids.shape[1] :].tolist()]

        read = list(map(len, starts))
        return self.write_batched(read, [tokens + max_new_tokens for tokens in read], run)

    def _padded_items(self, items: Sequence[Encoded]) -> Asked:
        """Pad on the right, where no token attends to it."""
        ids, mask = self.padded([item.ids for item in items])
        inputs = {"input_ids": ids, "attention_mask": mask}
        return Asked(inputs, ids, [item.answer for item in items], ids.numel())


def _ended(ids: list[int], stops: Collection[int]) -> list[int]:
    """Return a text up to the token that ends it; padding follows."""
    end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    return ids[: end + 1]
