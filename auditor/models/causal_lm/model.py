"""Causal language models under audit."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from auditor.core.errors import MeasurementError
from auditor.models.batching import run_batched
from auditor.models.causal_lm.decoding import RefuseNotFinite, Sampling, decoding
from auditor.models.causal_lm.loading import (
    check_decoder_only,
    load,
    load_directory,
    load_tokenizer,
    read_config,
    with_pad_token,
)
from auditor.models.causal_lm.prompting import (
    Encoded,
    Opened,
    encode_opened,
    encode_pair,
    encode_prompt,
)
from auditor.models.causal_lm.scoring import TokenScores, token_scores
from auditor.models.manifest import Location
from auditor.models.model import AuditedModel
from auditor.models.preserve import preserve_weights
from auditor.models.spec import ModelSpec, PromptFormat

IGNORED = -100
"""Label of a position that carries no loss."""

TOKEN_BUDGET = 8192
"""Padded tokens in one batch, unless the plan says otherwise."""


IN_MEMORY = "in memory"
"""What a model is called that was handed over loaded, unless it is given a name."""


class CausalLM(AuditedModel):
    """A causal language model: scores given answers and generates its own."""

    def __init__(
        self,
        spec: ModelSpec,
        location: Location | None,
        prompt_format: PromptFormat | None = None,
        token_budget: int = TOKEN_BUDGET,
        tick: Callable[[int], None] = lambda n: None,
    ) -> None:
        super().__init__(spec, location)
        self.prompt_format = prompt_format or PromptFormat()
        self.token_budget = token_budget
        self._tick = tick
        self._load: Callable[[], PreTrainedModel] = lambda: load(self.spec, self.location)
        self._network: PreTrainedModel | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None

    @classmethod
    def wrap(
        cls,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt_format: PromptFormat | None = None,
        token_budget: int = TOKEN_BUDGET,
        name: str = IN_MEMORY,
    ) -> "CausalLM":
        """A model out of a loaded network; it can be measured, but not certified.

        Args:
            network: is put into evaluation mode, and changed by nothing else that lasts.
            tokenizer: stays as it is; a copy gets a pad token where it has none.
            prompt_format: how prompts become text.
            token_budget: padded tokens in one batch.
            name: what messages call the model.

        Raises:
            AuditorError: the network is an encoder-decoder, or the tokenizer has neither a pad
                nor an end-of-sequence token.
        """
        check_decoder_only(network.config, name)
        wrapped = cls(ModelSpec(path=name), None, prompt_format, token_budget)
        wrapped._load = network.eval
        wrapped._tokenizer = with_pad_token(tokenizer, name)
        return wrapped

    def copy_with(
        self,
        *,
        network: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prompt_format: PromptFormat | None = None,
    ) -> "CausalLM":
        """The same model but for what is given; all else, the meter too, is shared.

        Closing the copy lets go of its own references only.

        Args:
            network: by default this model's, loaded where it was not.
            tokenizer: by default this model's; it needs a pad token.
            prompt_format: by default this model's.
        """
        copy = CausalLM(
            self.spec,
            self._location,
            prompt_format or self.prompt_format,
            self.token_budget,
            self._tick,
        )
        copy.meter = self.meter
        copy._load = _closed
        copy._network = network or self.network
        copy._tokenizer = tokenizer or self.tokenizer
        return copy

    @property
    def network(self) -> PreTrainedModel:
        """The loaded network, in evaluation mode."""
        if self._network is None:
            self._network = self._load()
        return self._network

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, with a pad token."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.spec, self.location)
        return self._tokenizer

    @property
    def config(self) -> PretrainedConfig:
        """The model's configuration, read without loading its weights."""
        if self._network is None and not self.in_memory:
            return read_config(self.spec, self.location.model)
        return self.network.config

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[TokenScores]:
        """Score answers in one teacher-forced pass each.

        Args:
            pairs: prompt and answer of each item; an empty prompt scores a passage by itself.

        Returns:
            One TokenScores per pair, in the given order.

        Raises:
            MeasurementError: logits are not finite, an answer has no tokens, an item is longer
                than the model's context, or one item alone runs out of memory.
        """
        encoded = [encode_pair(self.tokenizer, p, a, self.prompt_format) for p, a in pairs]
        for (prompt, answer), item in zip(pairs, encoded, strict=True):
            if not item.answer:
                raise MeasurementError(f"the answer {answer!r} to {prompt!r} has no tokens")
        self._check_context(max((len(e.ids) for e in encoded), default=0))

        def run(batch: list[int]) -> list[TokenScores]:
            ids, mask = self._padded([encoded[i].ids for i in batch], left=False)
            with torch.inference_mode():
                logits = self.network(input_ids=ids, attention_mask=mask, use_cache=False).logits
            self.meter.forward_tokens += ids.numel()
            return token_scores(logits, ids, [encoded[i].answer for i in batch])

        return run_batched([len(e.ids) for e in encoded], self.token_budget, run, self._tick)

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        sampling: Sampling | None = None,
        openings: Sequence[list[int]] | None = None,
    ) -> list[str]:
        """Answer each prompt, greedily or by sampling.

        The model's own generation defaults (penalties, temperature) are set aside, so that all
        arms decode alike.

        Args:
            prompts: what is asked.
            max_new_tokens: longest answer.
            sampling: greedy without it.
            openings: token ids to go on from instead of the prompts' own (:meth:`opened`).

        Returns:
            What was generated, without the prompt or the opening.

        Raises:
            MeasurementError: logits are not finite, or prompt and answer exceed the context.
        """
        encoded = openings or [
            encode_prompt(self.tokenizer, p, self.prompt_format) for p in prompts
        ]
        self._check_context(max((len(e) for e in encoded), default=0) + max_new_tokens)
        stop = self.network.generation_config.eos_token_id
        config = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=sampling is not None,
            temperature=sampling.temperature if sampling else None,
            top_p=sampling.top_p if sampling else None,
            top_k=0 if sampling else None,
            eos_token_id=stop if stop is not None else self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        if sampling:
            torch.manual_seed(sampling.seed)

        def run(batch: list[int]) -> list[str]:
            ids, mask = self._padded([encoded[i] for i in batch], left=True)
            with torch.inference_mode(), decoding(self.network, config):
                out = self.network.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    logits_processor=LogitsProcessorList([RefuseNotFinite()]),
                )
            self.meter.forward_tokens += out.numel()
            new = out[:, ids.shape[1] :]
            return [t.strip() for t in self.tokenizer.batch_decode(new, skip_special_tokens=True)]

        lengths = [len(e) + max_new_tokens for e in encoded]
        return run_batched(lengths, self.token_budget, run, self._tick)

    def encode(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[Encoded]:
        """Tokenise prompts with their answers, as :meth:`score` does.

        Args:
            pairs: prompt and answer of each item.
            end: put the end-of-sequence token after each answer, as fine-tuning does; it counts
                as the answer's.
        """
        found = [encode_pair(self.tokenizer, p, a, self.prompt_format) for p, a in pairs]
        stop = self.tokenizer.eos_token_id
        if not end or stop is None:
            return found
        return [Encoded([*e.ids, stop], [*e.answer, len(e.ids)]) for e in found]

    def loss(self, items: Sequence[Encoded]) -> torch.Tensor:
        """Mean negative log-likelihood per answer token over a batch, in nats, with gradients.

        The meter counts the backward pass that follows as two forward passes.
        """
        ids, mask = self._padded([item.ids for item in items], left=False)
        labels = torch.full_like(ids, IGNORED)
        for row, item in enumerate(items):
            labels[row, item.answer] = ids[row, item.answer]
        self.meter.forward_tokens += 3 * ids.numel()
        output = self.network(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False)
        loss: torch.Tensor = output.loss
        if not torch.isfinite(loss):
            raise MeasurementError("the loss is not finite")
        return loss

    def opened(self, prompt: str, answer: str, shown: int) -> Opened:
        """The prompt with the first ``shown`` tokens of its answer, to generate the rest from."""
        return encode_opened(self.tokenizer, prompt, answer, shown, self.prompt_format)

    def answer_length(self, prompt: str, answer: str) -> int:
        """Tokens of ``answer`` after ``prompt``."""
        return len(encode_pair(self.tokenizer, prompt, answer, self.prompt_format).answer)

    @contextmanager
    def preserve_weights(self) -> Iterator[nn.Module]:
        """Lend the weights to an attack that changes them; exactly restored afterwards."""
        with preserve_weights(self.network) as model:
            yield model

    @contextmanager
    def reloaded(
        self, scratch: Path, directory: Path | None = None, **options: Any
    ) -> Iterator["CausalLM"]:
        """A second copy of the model, loaded with other options (``quantization_config=…``).

        Args:
            scratch: where weights that lie in no directory may be written.
            directory: what is loaded in place of the audited weights (rounded ones, say).
            options: passed to ``from_pretrained``.
        """
        network = load_directory(self.spec, directory or self.directory(scratch), **options)
        copy = self.copy_with(network=network)
        del network  # else it would outlive the copy
        try:
            yield copy
        finally:
            copy.close()

    def directory(self, scratch: Path) -> Path:
        """A directory with the audited weights.

        A merged adapter, and a model that was handed over loaded, are written into ``scratch``.
        """
        if not self.in_memory and self.location.adapter is None:
            return self.location.model
        written = scratch / "model"
        if not written.exists():
            self.network.save_pretrained(written)
            self.tokenizer.save_pretrained(written)
        return written

    def close(self) -> None:
        """Let go of the weights; a model in memory stays with whoever handed it over."""
        self._network = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _padded(self, rows: list[list[int]], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), int(self.tokenizer.pad_token_id))
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[i, place] = torch.tensor(row)
            mask[i, place] = 1
        device = self.network.get_input_embeddings().weight.device
        return ids.to(device), mask.to(device)

    def _check_context(self, longest: int) -> None:
        limit = getattr(self.config, "max_position_embeddings", None)
        if limit is not None and longest > limit:
            raise MeasurementError(
                f"an item needs {longest} tokens, but the model's context holds {limit}"
            )


def _closed() -> PreTrainedModel:
    raise RuntimeError("a closed copy of a model has no weights of its own to load again")
