"""Encoder-decoders under audit."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import nn
from transformers import (
    AutoModelForSeq2SeqLM,
    LogitsProcessorList,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from auditor.core.errors import AuditorError
from auditor.models.language.decoding import RefuseNotFinite, Sampling, decoding
from auditor.models.language.model import Asked, LanguageModel
from auditor.models.language.output_head import is_placed, last_place_alone
from auditor.models.language.prompting import Opened
from auditor.models.seq2seq.encoding import EncodedPair, encode_pair, encode_prompt
from auditor.models.seq2seq.spec import Seq2SeqSpec


class Seq2SeqLM(LanguageModel[EncodedPair]):
    """An encoder-decoder: the encoder reads the prompt, the decoder writes the answer.

    Both sides of a batch are padded on the right. Nothing stands between prompt and answer, so
    the prompt format's separator has no effect.
    """

    spec_type = Seq2SeqSpec
    auto_class = AutoModelForSeq2SeqLM

    @classmethod
    def check_config(cls, config: PretrainedConfig, name: str) -> None:
        """Refuse a decoder alone, and encoders of something else than text."""
        if config.model_type not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
            raise AuditorError(f"{name} holds no encoder-decoder of text ({config.model_type}).")

    def check_network(self, network: PreTrainedModel) -> None:
        """See whether the head can be given some places alone.

        No attack has changed it then.
        """
        is_placed(network)

    @property
    def start(self) -> int:
        """Token from which the decoder starts.

        Raises:
            AuditorError: The model's configuration names none.
        """
        own, config = self.network.generation_config, self.network.config
        for configured in (own, config):
            token = getattr(configured, "decoder_start_token_id", None)
            if token is not None:
                return int(token)
        raise AuditorError(
            f"{self.spec.path}: neither generation_config.json nor config.json names a "
            "decoder_start_token_id, the token that answers start from."
        )

    def encode(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[EncodedPair]:
        """Tokenise prompts for the encoder and answers for the decoder."""
        return [encode_pair(self.tokenizer, p, a, self.prompt_format, end=end) for p, a in pairs]

    def shortened(self, item: EncodedPair, tokens: int) -> EncodedPair:
        """The first tokens of either side, the decoder's start token among them."""
        kept = tokens - 1
        answer = [place for place in item.answer if place < kept]
        return EncodedPair(item.prompt[:tokens], item.target[:kept], answer)

    def opened(self, prompt: str, answer: str, shown: int) -> Opened:
        """Return the ids of the beginning of the answer.

        The decoder goes on from them.
        """
        pair = encode_pair(self.tokenizer, prompt, answer, self.prompt_format)
        cut = pair.answer[min(shown, len(pair.answer) - 1)]
        rest = self.tokenizer.decode(pair.target[cut:], skip_special_tokens=True)
        return Opened(pair.target[:cut], str(rest).strip())

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        sampling: Sampling | None = None,
        openings: Sequence[list[int]] | None = None,
    ) -> list[str]:
        """Answer each prompt; openings are beginnings of the answers."""
        read = [encode_prompt(self.tokenizer, p, self.prompt_format) for p in prompts]
        begun = [[self.start, *opening] for opening in openings or [[] for _ in prompts]]
        written = [len(ids) + max_new_tokens for ids in begun]
        self._check_context(max((*map(len, read), *written), default=0))
        config = self._decoding(max_new_tokens, sampling)
        config.decoder_start_token_id = self.start

        def run(batch: list[int]) -> list[str]:
            # a decoder that starts from padding would see it, so equal beginnings go together
            groups: dict[int, list[int]] = defaultdict(list)
            for i in batch:
                groups[len(begun[i])].append(i)
            found: dict[int, str] = {}
            for length, group in groups.items():
                ids, mask = self.padded([read[i] for i in group])
                starts = torch.tensor([begun[i] for i in group], device=ids.device)
                with (
                    torch.inference_mode(),
                    decoding(self.network, config),
                    last_place_alone(self.network),
                ):
                    out = self.network.generate(
                        input_ids=ids,
                        attention_mask=mask,
                        decoder_input_ids=starts,
                        logits_processor=LogitsProcessorList([RefuseNotFinite()]),
                    )
                self.meter.forward_tokens += ids.numel() + out.numel()
                texts = self.tokenizer.batch_decode(out[:, length:], skip_special_tokens=True)
                found |= dict(zip(group, (text.strip() for text in texts), strict=True))
            return [found[i] for i in batch]

        lengths = [2 * max(len(r), w) for r, w in zip(read, written, strict=True)]
        return self.write_batched(list(map(len, read)), lengths, run)

    def quantizable_layers(self) -> dict[str, nn.Module]:
        """Linear layers but those that the architecture keeps in float32 (T5's ``wo``)."""
        kept = set(self.network._keep_in_fp32_modules or ())
        layers = super().quantizable_layers()
        return {name: layer for name, layer in layers.items() if not kept & set(name.split("."))}

    def _padded_items(self, items: Sequence[EncodedPair]) -> Asked:
        """Pad both sides on the right.

        The start token stands before each answer.
        """
        read, mask = self.padded([item.prompt for item in items])
        ids, _ = self.padded([[self.start, *item.target] for item in items])
        inputs = {"input_ids": read, "attention_mask": mask, "decoder_input_ids": ids[:, :-1]}
        answers = [[1 + place for place in item.answer] for item in items]
        return Asked(inputs, ids, answers, read.numel() + ids.numel())
