"""Base class of models that answer in text."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from typing_extensions import TypeVar

from auditor.core.errors import AuditorError, MeasurementError, OpeningError
from auditor.models.batching import Batching, Result, Room, run_batched
from auditor.models.devices import gpus_of, input_device
from auditor.models.language.cache_size import cache_size, first_number
from auditor.models.language.decoding import Sampling
from auditor.models.language.layers import linear_layers
from auditor.models.language.loading import (
    context,
    load_directory,
    load_tokenizer,
    read_config,
    vocabulary,
    with_pad_token,
)
from auditor.models.language.output_head import is_placed, logits_at
from auditor.models.language.placement import empty_network, network_class
from auditor.models.language.prompting import Opened
from auditor.models.language.scoring import (
    AnswerLogits,
    TokenPlaces,
    TokenScores,
    answer_log_probabilities,
    token_losses,
    token_places,
    token_scores,
)
from auditor.models.language.spec import LanguageSpec
from auditor.models.language.traces import Markers
from auditor.models.manifest import Location
from auditor.models.memory import release_memory, room_for_states, weak_references
from auditor.models.model import AuditedModel
from auditor.models.preserve import preserve_weights, unchanged_weights
from auditor.models.spec import LOGITS_BUDGET, TOKEN_BUDGET, Dtype, PromptFormat
from auditor.models.stored_weights import StoredWeights

IN_MEMORY = "in memory"
"""Name of a model that was handed over loaded, unless it is given another."""
_READ = 24
"""Numbers beside keys and values that a token of a prompt takes while it is read, in widths."""
_CHOSEN = 16
"""Bytes a token of the vocabulary while the next one is chosen: four logits in float32."""
_WRITTEN = 16
"""Most token budgets that a batch of answers to be written may have."""


class Example(Protocol):
    """A prompt and its answer as token ids."""

    @property
    def tokens(self) -> int:
        """Tokens that it takes up in a padded batch."""

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer, which the loss is over."""

    @property
    def positions(self) -> int:
        """Tokens of its longest sequence; a model's context must hold them."""

    @property
    def before(self) -> int:
        """Tokens that stand before the answer in its sequence."""

    @property
    def token_ids(self) -> list[int]:
        """All of its token ids."""


class Asked(NamedTuple):
    """A padded batch of prompts with their answers."""

    inputs: dict[str, Tensor]
    """What the network is given."""
    ids: Tensor
    """Ids of the side that holds the answers, [items, time]; its logits come before by one."""
    answers: list[list[int]]
    """Positions of each answer's tokens in the ids, each at least 1."""
    tokens: int
    """Padded tokens that the network reads."""


X = TypeVar("X", bound=Example, default=Any)
"""Type of a prompt with its answer, as a kind of model keeps it."""


class LanguageModel(AuditedModel, Generic[X]):
    """A model that scores given answers and writes its own."""

    spec: LanguageSpec
    spec_type: ClassVar[type[LanguageSpec]]
    auto_class: ClassVar[Any]
    """Class of ``transformers`` that loads models of the kind."""

    def __init__(
        self,
        spec: LanguageSpec,
        location: Location | None,
        prompt_format: PromptFormat | None = None,
        token_budget: int = TOKEN_BUDGET,
        tick: Callable[[int], None] = lambda n: None,
    ) -> None:
        super().__init__(spec, location)
        self.prompt_format = prompt_format or PromptFormat()
        self.token_budget = token_budget
        self._tick = tick
        self._load: Callable[[], PreTrainedModel] = self._from_files
        self._network: PreTrainedModel | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self.known_tokens = 0
        """Token ids that its embedding answers, where it is made to answer more than its rows."""

    @classmethod
    def wrap(
        cls,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt_format: PromptFormat | None = None,
        token_budget: int = TOKEN_BUDGET,
        name: str = IN_MEMORY,
    ) -> Self:
        """Make a model of a loaded network.

        It can be measured, but not certified.

        Args:
            network: It is put into evaluation mode, and nothing else of it changes for good.
            tokenizer: It stays as it is; a copy gets a pad token where it has none.
            prompt_format: How prompts become text.
            token_budget: Padded tokens in one batch.
            name: What messages call the model.

        Raises:
            AuditorError: The network is of another kind, or the tokenizer has neither a pad nor an
                end-of-sequence token.
        """
        cls.check_config(network.config, name)
        wrapped = cls(
            cls.spec_type.model_validate({"path": name}), None, prompt_format, token_budget
        )
        wrapped._load = network.eval
        wrapped._tokenizer = with_pad_token(tokenizer, name, vocabulary(network.config))
        return wrapped

    def copy_with(
        self,
        *,
        network: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prompt_format: PromptFormat | None = None,
    ) -> Self:
        """Return the same model but for what is given.

        All else is shared, the meter too.

        Closing the copy lets go of its own references only.

        Args:
            network: By default this model's, loaded where it was not.
            tokenizer: By default this model's; it needs a pad token.
            prompt_format: By default this model's.
        """
        copy = type(self)(
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

    def opened_alike(
        self, location: Location, dtype: Dtype | None = None, device_map: str | None = None
    ) -> Self:
        """Open another model of this kind as this one was opened.

        It shares the meter.

        Args:
            location: Its files.
            dtype: Type of its weights; by default this model's.
            device_map: Where they are put; by default as this model's are.
        """
        spec = self.spec_type.model_validate(
            {
                "path": str(location.model),
                "dtype": dtype or self.spec.dtype,
                "device_map": device_map or self.spec.device_map,
            }
        )
        other = type(self)(spec, location, self.prompt_format, self.token_budget)
        other.meter = self.meter
        return other

    @classmethod
    @abstractmethod
    def check_config(cls, config: PretrainedConfig, name: str) -> None:
        """Check that a configuration is that of a model of this kind.

        Args:
            config: The configuration.
            name: What messages call the model.

        Raises:
            AuditorError: It is that of another kind.
        """

    def check_network(self, network: PreTrainedModel) -> None:
        """Check that a network behaves as a model of this kind does.

        Raises:
            OpeningError: It does not.
        """

    @property
    def batching(self) -> Batching:
        """What may be asked in one batch."""
        return "padded"

    @property
    def reads_answers_alone(self) -> bool:
        """Whether logits are made at the places of answers alone.

        Else those of whole batches are made, which takes more memory and time.
        """
        return is_placed(self.network)

    def batched(
        self,
        lengths: Sequence[int],
        run: Callable[[list[int]], Sequence[Result]],
        budget: int | None = None,
        room: Room | None = None,
    ) -> list[Result]:
        """Apply ``run`` to batches of items; results are in order.

        Args:
            lengths: Tokens of each item, padding excluded.
            run: Takes the indices of a batch, and returns one result for each.
            budget: Padded tokens in one batch; by default the model's.
            room: What else bounds a batch.
        """
        tokens = 1 if self.batching == "single" else budget or self.token_budget
        equal = self.batching == "equal"
        return run_batched(lengths, tokens, run, self._tick, equal=equal, room=room)

    def write_batched(
        self,
        prompts: Sequence[int],
        lengths: Sequence[int],
        run: Callable[[list[int]], Sequence[Result]],
    ) -> list[Result]:
        """Apply ``run`` to batches in which answers are written.

        Results are in order.

        A step writes one token in each row and reads all weights for it, so that on a GPU as many
        rows go together as there is room for their keys and values. In the main memory, and where
        the configuration does not tell what a row keeps, a batch is one of the token budget.

        Args:
            prompts: Tokens of each prompt, which are read at once.
            lengths: Tokens that each item takes up in the end, padding excluded.
            run: Takes the indices of a batch, and returns one result for each.
        """
        cache, gpus = cache_size(self.config), gpus_of(self.network)
        if cache is None:
            return self.batched(lengths, run)
        each, config = self.network.dtype.itemsize, self.config.get_text_config()
        tokens = self.vocabulary or 0
        read = _READ * (first_number(config, ("hidden_size", "n_embd", "d_model")) or 0)
        read += 0 if self.reads_answers_alone else tokens
        written = _CHOSEN * tokens
        sizes = [
            each * (cache.numbers(length) + read * prompt) + written
            for prompt, length in zip(prompts, lengths, strict=True)
        ]
        budget = self.token_budget * (_WRITTEN if gpus else 1)
        return self.batched(lengths, run, budget, Room(sizes, room_for_states(gpus)))

    def ask_in(self, prompt_format: PromptFormat) -> None:
        """Put later prompts into another format."""
        self.prompt_format = prompt_format

    @property
    def network(self) -> PreTrainedModel:
        """The loaded network, in evaluation mode."""
        if self._network is None:
            with self._loading():
                network = self._load()
                self.check_network(network)
            self._network = network
        return self._network

    @property
    def form(self) -> PreTrainedModel:
        """The network, or one of its form without weights.

        The latter, on the device ``meta``, stands in where the network is not loaded.
        """
        if self._network is not None or self.in_memory or self.spec.trust_remote_code:
            return self.network
        chosen = network_class(self.auto_class, self.config, self.location.model)
        return empty_network(chosen, self.config)

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

    @property
    def trace_markers(self) -> Markers | None:
        """Markers of the model's traces of thought; None where it writes none."""
        return None

    @property
    def expects_trace(self) -> bool:
        """Whether a trace has its place between prompt and answer."""
        return False

    @property
    def context_length(self) -> int | None:
        """Most tokens that one sequence can have; None where nothing limits it."""
        return context(self.config)

    @property
    def vocabulary(self) -> int | None:
        """Number of tokens that have embeddings; None where that is not known."""
        return vocabulary(self.config)

    @abstractmethod
    def encode(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[X]:
        """Tokenise prompts with their answers, as :meth:`score` does.

        Args:
            pairs: Prompt and answer of each item; an empty prompt stands before a passage.
            end: Put the end-of-sequence token after each answer, as fine-tuning does; it counts as
                the answer's.
        """

    @abstractmethod
    def shortened(self, item: X, tokens: int) -> X:
        """The item without what lies beyond its first ``tokens`` tokens."""

    def loss(self, items: Sequence[X]) -> Tensor:
        """Return the mean negative log-likelihood per answer token.

        It is over a batch, in nats, with gradients.

        The meter counts the backward pass that follows as two forward passes.

        Raises:
            MeasurementError: The loss is not finite.
        """
        loss = token_losses(self.answer_logits(items, passes=3)).mean()
        if not torch.isfinite(loss):
            raise MeasurementError("the loss is not finite")
        return loss

    def answer_log_probability(self, items: Sequence[X]) -> Tensor:
        """Log-probability of each whole answer, [items], in nats, with gradients."""
        return answer_log_probabilities(self.answer_logits(items, passes=3))

    def answer_logits(self, items: Sequence[X], passes: int = 1) -> AnswerLogits:
        """Ask one batch that fits into memory.

        There are gradients where they are on.

        Args:
            items: Prompts with their answers.
            passes: Forward passes for which the meter counts it.
        """
        asked = self._padded_items(items)
        self.meter.forward_tokens += passes * asked.tokens
        lengths = list(map(len, asked.answers))
        rows = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        positions = torch.tensor([place for places in asked.answers for place in places])
        logits = logits_at(
            self.network, rows[None], positions[None] - 1, **asked.inputs, use_cache=False
        )[0]
        targets = asked.ids[rows.to(asked.ids.device), positions.to(asked.ids.device)]
        return AnswerLogits(logits, targets.to(logits.device), lengths)

    @abstractmethod
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
            prompts: What is asked.
            max_new_tokens: Longest answer.
            sampling: Greedy without it.
            openings: Token ids to go on from, one list a prompt (:meth:`opened`).

        Returns:
            What was generated, without the prompt or the opening.

        Raises:
            MeasurementError: Logits are not finite, or prompt and answer exceed the context.
        """

    @abstractmethod
    def opened(self, prompt: str, answer: str, shown: int) -> Opened:
        """Return the prompt with the beginning of its answer.

        The first ``shown`` tokens of the answer are given, and the rest is to be generated.
        """

    @abstractmethod
    def _padded_items(self, items: Sequence[X]) -> Asked:
        """Put some items into one batch."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[TokenScores]:
        """Score answers in one teacher-forced pass each.

        Args:
            pairs: Prompt and answer of each item; an empty prompt scores a passage by itself.

        Returns:
            One TokenScores per pair, in the given order.

        Raises:
            MeasurementError: Logits are not finite, an answer has no tokens, an item is longer
                than the model's context, or one item alone runs out of memory.
        """
        return self._asked(pairs, token_scores)

    def places(self, pairs: Sequence[tuple[str, str]]) -> list[TokenPlaces]:
        """Return where answers stand in the model's distribution, in one pass each.

        Args:
            pairs: Prompt and answer of each item, as for :meth:`score`.

        Raises:
            MeasurementError: As :meth:`score` does.
        """
        return self._asked(pairs, token_places)

    def _asked(
        self,
        pairs: Sequence[tuple[str, str]],
        read: Callable[[AnswerLogits], list[Result]],
    ) -> list[Result]:
        """Read every answer's logits by ``read``, teacher-forced."""
        items = self.encode(pairs)
        for (prompt, answer), item in zip(pairs, items, strict=True):
            if not item.answer_tokens:
                raise MeasurementError(f"the answer {answer!r} to {prompt!r} has no tokens")
        self._check_context(max((item.positions for item in items), default=0))

        def run(batch: list[int]) -> list[Result]:
            with torch.inference_mode():
                return read(self.answer_logits([items[i] for i in batch]))

        alone = self.reads_answers_alone  # opened in inference mode, it could not be trained later
        places = [item.answer_tokens if alone else item.tokens for item in items]
        room = Room(places, LOGITS_BUDGET // (self.vocabulary or 1))
        return self.batched([item.tokens for item in items], run, room=room)

    def quantizable_layers(self) -> dict[str, nn.Module]:
        """Return the layers that a deployer's loader quantizes, by name.

        They are the linear layers without the output head.
        """
        return dict(linear_layers(self.network))

    def answer_length(self, prompt: str, answer: str) -> int:
        """Tokens of ``answer`` after ``prompt``."""
        return self.encode([(prompt, answer)])[0].answer_tokens

    @contextmanager
    def preserve_weights(
        self, lent: Collection[nn.Parameter] | None = None
    ) -> Iterator[PreTrainedModel]:
        """Lend weights to an attack that changes them; exactly restored afterwards.

        Args:
            lent: Parameters that may be changed; by default everything may.
        """
        with preserve_weights(self.network, lent, self._stored):
            yield self.network

    @contextmanager
    def unchanged_weights(self) -> Iterator[PreTrainedModel]:
        """Show the weights to an attack, and prove that it left them."""
        with unchanged_weights(self.network):
            yield self.network

    @cached_property
    def _stored(self) -> StoredWeights | None:
        """Files from which weights can be restored, where there are any."""
        if self._location is None:
            return None
        return StoredWeights(self._location, self.network.base_model_prefix)

    @contextmanager
    def reloaded(
        self, scratch: Path, directory: Path | None = None, **options: Any
    ) -> Iterator[Self]:
        """A second copy of the model, loaded with other options (``quantization_config=…``).

        The model's own weights are let go meanwhile: they are loaded again when they are next
        needed.

        Args:
            scratch: Folder where weights that lie in no directory may be written.
            directory: What is loaded in place of the audited weights (rounded ones, say).
            options: Passed to ``from_pretrained``.
        """
        directory = directory or self.directory(scratch)
        self.close()
        network = self._from_directory(directory, **options)
        copy = self.copy_with(network=network)
        del network  # else it would outlive the copy
        try:
            yield copy
        finally:
            copy.close()

    def directory(self, scratch: Path) -> Path:
        """A directory with the audited weights.

        A merged adapter, a model that is one file, and one that was handed over loaded, are written
        into ``scratch``.
        """
        if not self.in_memory and self.location.adapter is None and self.location.gguf is None:
            return self.location.model
        written = scratch / "model"
        if not written.exists():
            self.network.save_pretrained(written)
            self.tokenizer.save_pretrained(written)
        return written

    def close(self) -> None:
        """Release the weights.

        A model in memory stays with whoever handed it over.
        """
        let_go = weak_references([] if self._network is None else [self._network])
        self._network = None
        release_memory(let_go)

    def padded(self, rows: Sequence[list[int]], *, left: bool = False) -> tuple[Tensor, Tensor]:
        """Return token ids and attention mask [rows, longest].

        They are on the device of the embeddings.

        Args:
            rows: Token ids of each row.
            left: Put the padding before the tokens, as generation needs it.
        """
        batch = self.tokenizer.pad(
            {"input_ids": list(rows)},
            padding_side="left" if left else "right",
            return_attention_mask=True,
            return_tensors="pt",
            verbose=False,
        )
        tokens = len(self.network.get_input_embeddings().weight)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if int(ids.max()) >= max(tokens, self.known_tokens):
            raise MeasurementError(
                f"the tokenizer has the token {int(ids.max())} for what is asked, and the model "
                f"has embeddings for {tokens} tokens"
            )
        device = input_device(self.network)
        return ids.to(device), mask.to(device)

    def _decoding(self, max_new_tokens: int, sampling: Sampling | None) -> GenerationConfig:
        """Return the settings of decoding, and set sampling's seed."""
        if sampling:
            torch.manual_seed(sampling.seed)
        own = self.network.generation_config
        stop = own.eos_token_id
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=sampling is not None,
            temperature=sampling.temperature if sampling else None,
            top_p=sampling.top_p if sampling else None,
            top_k=0 if sampling else None,
            eos_token_id=stop if stop is not None else self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def _check_context(self, longest: int) -> None:
        limit = self.context_length
        if limit is not None and longest > limit:
            raise MeasurementError(
                f"an item needs {longest} tokens, but the model's context holds {limit}"
            )

    def _from_files(self) -> PreTrainedModel:
        """Load the weights, and merge the adapter.

        Raises:
            OpeningError: They cannot be opened; says whose they are.
        """
        try:
            if self.location.gguf is not None:
                network = self._from_gguf()
            else:
                network = self._from_directory(self.location.model)
            if self.location.adapter is None:
                return network
            from auditor.models.language.adapters import merged  # PEFT takes long to import

            return merged(network, self.location.adapter)
        except AuditorError as error:
            raise OpeningError(str(error)) from error
        except (AttributeError, AssertionError, KeyError, TypeError, ValueError) as error:
            raise OpeningError(
                f"{self.location.model} does not load ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}). Check that its config.json and its "
                "weights are whole and of the same model."
            ) from error

    def _from_gguf(self) -> PreTrainedModel:
        from auditor.models.language.gguf_files import load_gguf  # its package is an extra

        self.check_config(self.config, str(self.location.gguf))
        return load_gguf(self.auto_class, self.spec, self.location)

    def _from_directory(self, directory: Path, **options: Any) -> PreTrainedModel:
        self.check_config(read_config(self.spec, directory), str(directory))
        return load_directory(self.auto_class, self.spec, directory, **options)


def _closed() -> PreTrainedModel:
    raise RuntimeError("a closed copy of a model has no weights of its own to load again")
