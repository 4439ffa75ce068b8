"""Causal language models whose texts another engine may write.

The engine holds the weights of the files. So it is asked only while the network in memory is what
was loaded from these files, in every tensor, module, hook and setting, and some of what it writes
is read by that network each time. Everything else, and everything that is scored, stays with the
network.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from auditor.core.messages import Message, message
from auditor.models.causal_lm.canary import Agreement, agreement
from auditor.models.causal_lm.model import CausalLM
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


class ServedCausalLM(CausalLM):
    """A causal language model that was handed to an engine where it was opened.

    Copies of it, with another network, tokenizer or format, have no engine.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.use = EngineUse()
        self._engine: AskedEngine | None = None
        self._server: TextServer | None = None
        self._as_loaded: NetworkState | None = None
        self._passed = False

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
        """Open a located model, and hand it to an engine, which is started once it is asked."""
        own = cls.spec_type.model_validate(spec.model_dump())
        model = cls(own, location, prompt_format, token_budget, tick)
        model._engine = engine
        return model

    @property
    def network(self) -> PreTrainedModel:
        """The loaded network, in evaluation mode; it is remembered as it was loaded."""
        known = self._network is not None
        network = super().network
        if not known and self._engine is not None and not _is_away(network):
            self._as_loaded = NetworkState.of(network)
        return network

    def close(self) -> None:
        """Release the weights, the engine's too."""
        self._end()
        self._as_loaded = None
        super().close()

    def _written(
        self, starts: Sequence[list[int]], max_new_tokens: int, sampling: Sampling | None
    ) -> list[list[int]]:
        """Have the engine go on from token ids where it may, and else the network."""
        if not self._is_for_engine(starts):
            self.use.network += len(starts)
            return super()._written(starts, max_new_tokens, sampling)
        self._check_context(max(map(len, starts)) + max_new_tokens)
        try:
            found = self._by_engine(starts, max_new_tokens, sampling)
        except EngineError as error:
            if self._passed:
                raise
            self._refuse(message("text_engine_failed", quoted=("error",), error=str(error)))
            return self._written(starts, max_new_tokens, sampling)
        if found is None:
            return self._written(starts, max_new_tokens, sampling)
        self.use.engine += len(starts)
        return found

    def _is_for_engine(self, starts: Sequence[list[int]]) -> bool:
        """Whether the engine holds what the network is now, and can be asked this."""
        if self._engine is None or self.use.refused is not None or not starts:
            return False
        network = self.network
        if (reason := self._unsuited(network)) is not None:
            self._refuse(reason)
            return False
        rows = len(network.get_input_embeddings().weight)
        if any(token >= rows for ids in starts for token in ids) or not all(starts):
            return False  # the network says what is wrong with it
        return self._as_loaded is not None and self._as_loaded.difference(network) is None

    def _unsuited(self, network: PreTrainedModel) -> Message | None:
        """Return why no engine can hold this model, or None."""
        reasons = {
            "quantized": getattr(network.config, "quantization_config", None) is not None,
            "own_code": self.spec.trust_remote_code,
            "replaced": self.location.replacement is not None,
            "spread": _is_away(network) or len(gpus_of(network)) > 1,
        }
        reason = next((name for name, holds in reasons.items() if holds), None)
        return None if reason is None else message("text_engine_unsuited", reason=reason)

    def _by_engine(
        self, starts: Sequence[list[int]], most: int, sampling: Sampling | None
    ) -> list[list[int]] | None:
        """Return the engine's texts; None where it has just been refused.

        Raises:
            EngineError: There are none, or they are not this model's.
        """
        if self._server is None:
            self._server = self._started()
        server, stops = self._server, sorted(self._stops)
        if not self._passed:
            said = self._canary(server, [starts[row] for row in _spread(len(starts), _FIRST)])
            if not said.holds:
                self._refuse(_differs(said))
                return None
            self._passed = True
        rows = _spread(len(starts), max(_LATER, len(starts) // _SHARE))
        read = [starts[row] for row in rows]
        if sampling is None:
            found = server.write(starts, most, stops)
            said = agreement(self, read, [found[row] for row in rows])
        else:
            found = server.write(
                starts,
                most,
                stops,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seeds=[_seed(sampling.seed, row) for row in range(len(starts))],
            )
            said = agreement(self, read, server.write(read, most, stops))
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

    def _canary(self, server: TextServer, starts: Sequence[list[int]]) -> Agreement:
        """Have the network read what the engine writes before it is trusted with anything.

        Nothing ends these texts, so that short answers leave enough to be read.
        """
        room = self.context_length
        longest = max(map(len, starts))
        most = _CANARY if room is None else min(_CANARY, room - longest)
        return agreement(self, starts, server.write(starts, most, ()))

    def _started(self) -> TextServer:
        """Start the engine with the files that the network was loaded from.

        Raises:
            EngineError: It does not open them.
            AuditorError: This machine has no such engine, or one of other versions.
        """
        if self._engine is None:
            raise EngineError("this model was handed to no engine")
        network, adapter = self.network, self.location.adapter
        order = {
            "model": str(self.location.model.absolute()),
            "adapter": None if adapter is None else str(adapter.absolute()),
            "rank": 0 if adapter is None else _rank(adapter),
            "dtype": str(network.dtype).removeprefix("torch."),
        }
        return TextServer(self._engine, order, torch.get_num_threads())

    def _refuse(self, reason: Message) -> None:
        self.use.refused = reason
        self._end()

    def _end(self) -> None:
        """End the engine's process; a new one must show again that it agrees."""
        if self._server is not None:
            self._server.close()
        self._server, self._passed = None, False


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many of a number of rows, evenly spread."""
    chosen = min(count, most)
    return [row * count // chosen for row in range(chosen)]


def _differs(said: Agreement) -> Message:
    """Message on an engine that failed its canary."""
    return message(
        "text_engine_differs",
        tokens=said.tokens,
        decisive=said.decisive,
        shortfall=f"{said.shortfall:.2g}",  # it may be no number
        allowed=said.allowed,
    )


def _seed(seed: int, row: int) -> int:
    """Seed of one text, so that two texts of one prompt are drawn by different numbers."""
    return int.from_bytes(sha256(f"{seed}:{row}".encode()).digest()[:8], "big") >> 1


def _rank(adapter: Path) -> int:
    """Largest rank of a LoRA adapter."""
    said = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return max(int(said["r"]), *map(int, (said.get("rank_pattern") or {}).values()), 0)


def _is_away(network: PreTrainedModel) -> bool:
    """Whether weights are offloaded, so that nobody can tell whether they changed."""
    return any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))
