"""Causal language models whose texts another engine may write.

The engine holds the weights of the files. So it is asked only while the network in memory is what
was loaded from these files, in every tensor, module, hook and setting, but for a LoRA adapter that
the engine is given, too; and some of what it writes is read by that network each time. Everything
else, and everything that is scored, stays with the network.
"""

import json
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from auditor.core.messages import Message, message
from auditor.models.causal_lm.canary import agreement
from auditor.models.causal_lm.lora_checkpoint import lora_checkpoint
from auditor.models.causal_lm.model import CausalLM
from auditor.models.checkpoint_files import quantization_method
from auditor.models.devices import gpus_of
from auditor.models.kind import Tick
from auditor.models.language.decoding import Sampling
from auditor.models.manifest import Location
from auditor.models.network_state import NetworkState
from auditor.models.served import EngineUse
from auditor.models.spec import ModelSpec, PromptFormat
from auditor.models.text_engine import AskedEngine, EngineError, TextServer

_FIRST = 16
"""Prompts whose texts the network reads before an engine is trusted with any."""
_CANARY = 32
"""Tokens of each of these texts at most."""
_LATER = 4
"""Texts that it reads of each later question, at least."""
_SHARE = 32
"""Of how many texts of a later question it reads one, beyond these."""


class _Asked(NamedTuple):
    """Weights of the files, with an adapter or without."""

    adapter: Path | None
    """Folder of the adapter."""
    rank: int
    """Its rank; 0 without one."""
    trained: bool
    """Whether an attack has trained the adapter."""


class _UntrustedError(Exception):
    """An engine that was not trusted yet is not to be asked."""

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


class ServedCausalLM(CausalLM):
    """A causal language model that was opened with an engine.

    Copies of it, with another network, tokenizer or format, have no engine.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.use = EngineUse()
        self._engine: AskedEngine | None = None
        self._server: TextServer | None = None
        self._rank = 0
        """Rank of adapters with which the engine was started."""
        self._passed: set[Path | None] = set()
        """Adapters with which it has passed its first canary."""
        self._scratch: TemporaryDirectory[str] | None = None
        self._as_loaded: NetworkState | None = None

    @classmethod
    def open_served(
        cls,
        spec: ModelSpec,
        location: Location,
        prompt_format: PromptFormat,
        token_budget: int,
        tick: Tick,
        engine: AskedEngine,
    ) -> "ServedCausalLM":
        """Open a located model with an engine, started when first asked."""
        own = cls.spec_type.model_validate(spec.model_dump())
        model = cls(own, location, prompt_format, token_budget, tick)
        model._engine = engine
        return model

    @classmethod
    def unsuited(cls, spec: ModelSpec, location: Location) -> str | None:
        """Return why no engine can hold a model's files, or None."""
        reasons = {
            "gguf": location.gguf is not None,
            "quantized": quantization_method(location.model) is not None,
            "own_code": cls.spec_type.model_validate(spec.model_dump()).trust_remote_code,
            "replaced": location.replacement is not None,
        }
        return next((name for name, holds in reasons.items() if holds), None)

    @property
    def network(self) -> PreTrainedModel:
        """The loaded network, in evaluation mode, remembered as it was loaded."""
        known = self._network is not None
        network = super().network
        if not known and self._engine is not None and not _is_away(network):
            self._as_loaded = NetworkState.of(network)
        return network

    def close(self) -> None:
        """Release the weights, the engine's too."""
        self._end()
        self._as_loaded = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
        super().close()

    def _written(
        self, starts: Sequence[list[int]], max_new_tokens: int, sampling: Sampling | None
    ) -> list[list[int]]:
        """Have the engine go on from token ids, or the network."""
        asked = self._asked_for(starts)
        if asked is not None:
            self._check_context(max(map(len, starts)) + max_new_tokens)
            try:
                found = self._by_engine(asked, starts, max_new_tokens, sampling)
            except _UntrustedError as error:
                if not asked.trained and self.use.engine > self.use.adapted:
                    raise EngineError(
                        "the engine was started anew, and does not answer for the model that it "
                        "answered for before"
                    ) from error
                self.use.unadapted += len(starts) if asked.trained else 0
                self._refuse(error.reason, asked)
            else:
                self.use.engine += len(starts)
                self.use.adapted += len(starts) if asked.trained else 0
                return found
        self.use.network += len(starts)
        return super()._written(starts, max_new_tokens, sampling)

    def _asked_for(self, starts: Sequence[list[int]]) -> _Asked | None:
        """Return what the engine is to answer for, if anything.

        It is what the network in memory is now, and nothing that anybody says of it.
        """
        if self._engine is None or self.use.refused is not None or not starts:
            return None
        network = self.network
        if (reason := self._unsuited(network)) is not None:
            self._refuse(reason, None)
            return None
        rows = len(network.get_input_embeddings().weight)
        if any(token >= rows for ids in starts for token in ids) or not all(starts):
            return None  # the network says what is wrong with it
        state, own = self._as_loaded, self.location.adapter
        if state is None:
            return None
        if state.difference(network) is None:
            return _Asked(own, 0 if own is None else _rank(own), trained=False)
        checkpoint = None if own is not None else lora_checkpoint(network, state)
        if checkpoint is None:
            return None
        if self.use.adapters_refused is not None:
            self.use.unadapted += len(starts)
            return None
        self._scratch = self._scratch or TemporaryDirectory(prefix="auditor-adapters-")
        return _Asked(checkpoint.saved(Path(self._scratch.name)), checkpoint.rank, trained=True)

    def _unsuited(self, network: PreTrainedModel) -> Message | None:
        """Return why no engine can hold this model, or None."""
        reasons = {
            "quantized": getattr(network.config, "quantization_config", None) is not None,
            "spread": _is_away(network) or len(gpus_of(network)) > 1,
        }
        reason = self.unsuited(self.spec, self.location)
        reason = reason or next((name for name, holds in reasons.items() if holds), None)
        return None if reason is None else message("text_engine_unsuited", reason=reason)

    def _by_engine(
        self, asked: _Asked, starts: Sequence[list[int]], most: int, sampling: Sampling | None
    ) -> list[list[int]]:
        """Return the engine's texts.

        Raises:
            _UntrustedError: It was not trusted with these weights yet, and is not to be.
            EngineError: It was trusted, and there are no texts, or they are not this model's.
        """
        server = self._trusted(asked, starts)
        write = partial(server.write, adapter=None if asked.adapter is None else str(asked.adapter))
        stops, rows = sorted(self._stops), _spread(len(starts), max(_LATER, len(starts) // _SHARE))
        read = [starts[row] for row in rows]
        if sampling is None:
            found = write(starts, most, stops)
            witnesses = [found[row] for row in rows]
        else:
            found = write(
                starts,
                most,
                stops,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seeds=[_seed(sampling.seed, row) for row in range(len(starts))],
            )
            witnesses = write(read, most, stops)
        said = agreement(self, read, witnesses)
        if not said.agrees:
            raise EngineError(
                f"a text of the engine falls short of the model's own by {said.shortfall:.2g} of "
                f"the logits' spread ({said.allowed:.2g} is rounding): it answers for another "
                "model than the one in memory, and did not before"
            )
        self.use.tokens += said.tokens
        self.meter.forward_tokens += sum(map(len, starts)) + sum(map(len, found))
        self._tick(len(starts))
        return found

    def _trusted(self, asked: _Asked, starts: Sequence[list[int]]) -> TextServer:
        """Return the engine, once it has passed its first canary.

        Nothing ends the texts of this first canary, so that short answers leave enough to be read.

        Raises:
            _UntrustedError: It does not answer, or for another model.
        """
        if self._server is not None and asked.adapter in self._passed:
            return self._server
        first = [starts[row] for row in _spread(len(starts), _FIRST)]
        room = self.context_length
        most = _CANARY if room is None else min(_CANARY, room - max(map(len, first)))
        adapter = None if asked.adapter is None else str(asked.adapter)
        try:
            server = self._started(asked.rank)
            texts = server.write(first, most, (), adapter=adapter)
        except EngineError as error:
            raise _UntrustedError(
                message("text_engine_failed", quoted=("error",), error=str(error))
            ) from error
        said = agreement(self, first, texts)
        if not said.holds:
            raise _UntrustedError(
                message(
                    "text_engine_differs",
                    tokens=said.tokens,
                    decisive=said.decisive,
                    shortfall=f"{said.shortfall:.2g}",  # it may be no number
                    allowed=said.allowed,
                )
            )
        self._passed.add(asked.adapter)
        return server

    def _started(self, rank: int) -> TextServer:
        """Return the engine, started anew where it was for smaller adapters.

        Raises:
            EngineError: It does not open the files that the network was loaded from.
            AuditorError: This machine has no such engine, or one of other versions.
        """
        if self._server is not None and rank <= self._rank:
            return self._server
        self._end()
        if self._engine is None:
            raise EngineError("this model was handed to no engine")
        order = {
            "model": str(self.location.model.absolute()),
            "rank": rank,
            "dtype": str(self.network.dtype).removeprefix("torch."),
        }
        threads, gpus = torch.get_num_threads(), gpus_of(self.network)
        self._server = TextServer(self._engine, order, threads, gpus)
        self._rank = rank
        return self._server

    def _refuse(self, reason: Message, asked: _Asked | None) -> None:
        """Ask the engine no more, or no more with adapters of attacks."""
        if asked is not None and asked.trained:
            self.use.adapters_refused = reason
        else:
            self.use.refused = reason
        self._end()

    def _end(self) -> None:
        """End the engine's process; a new one is trusted with nothing."""
        if self._server is not None:
            self._server.close()
        self._server, self._rank = None, 0
        self._passed.clear()


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many of a number of rows, evenly spread."""
    chosen = min(count, most)
    return [row * count // chosen for row in range(chosen)]


def _seed(seed: int, row: int) -> int:
    """Seed of one text; no two are drawn by equal numbers."""
    return int.from_bytes(sha256(f"{seed}:{row}".encode()).digest()[:8], "big") >> 1


def _rank(adapter: Path) -> int:
    """Largest rank of a LoRA adapter."""
    said = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return max(int(said["r"]), *map(int, (said.get("rank_pattern") or {}).values()), 0)


def _is_away(network: PreTrainedModel) -> bool:
    """Whether weights are offloaded, so that nobody can tell whether they changed."""
    return any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))
