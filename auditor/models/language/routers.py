"""Routers of a mixture of experts: found, watched, and overruled.

A router gives each token the experts that it goes through, and the weights of what they give back.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from auditor.core.errors import MeasurementError, UnavailableError
from auditor.models.devices import input_device
from auditor.models.language.experts import router_modules, stacked_experts
from auditor.models.language.model import LanguageModel

_GIVEN = 3
"""What a router gives: logits, weights and experts."""
_READ = ("input_ids", "attention_mask", "position_ids", "cache_position")
"""What a network is told of a text."""
_CACHES = ("cache", "past_key_values")
"""Names under which it is given keys and values; releases of `transformers` differ."""


class Router(NamedTuple):
    """A router, and the number of experts that it chooses among."""

    name: str
    """Name as in ``named_modules``."""
    module: Any
    """Module that gives logits, weights and experts of each token."""
    experts: int


class Routing(NamedTuple):
    """Experts of some tokens."""

    experts: Tensor
    """Places of the chosen experts, [tokens, chosen]."""
    weights: Tensor
    """Weights of what they give back, [tokens, chosen]."""


Overrule = Callable[[Router, tuple[Any, ...], Routing], Routing]
"""Function of a router, what it is given and what it chose, that chooses otherwise."""


def routers(network: Any) -> list[Router]:
    """Return the routers of all stacked experts, in order.

    A router stands beside its experts, has one row of weights for each of them, and says how many
    it chooses (``top_k``).

    Args:
        network: A network of `transformers`.

    Raises:
        UnavailableError: There are no stacked experts, or some have no such router.
    """
    stacks = stacked_experts(network)
    if not stacks:
        raise UnavailableError("the model has no stacked experts, so nothing is routed")
    counts = {stack.name.rpartition(".")[0]: len(stack.parameter) for stack in stacks}
    found = [
        Router(path, module, counts[holder])
        for holder, path, module in router_modules(network)
        if isinstance(getattr(module, "top_k", None), int)
    ]
    beside = Counter(router.name.rpartition(".")[0] for router in found)
    for holder in counts:
        if (number := beside[holder.rpartition(".")[0]]) != 1:
            raise UnavailableError(
                f"the router of the experts in {holder} was not found: {number} modules beside "
                "them have a row of weights for each expert and a number of chosen ones (`top_k`)"
            )
    return found


@contextmanager
def overruled(found: Sequence[Router], overrule: Overrule) -> Iterator[None]:
    """Choose experts by a function while the context lasts.

    Raises:
        UnavailableError: A router gives something else than logits, weights and experts.
        MeasurementError: A router was never asked.
    """
    asked: set[str] = set()

    def hook(router: Router) -> Callable[..., tuple[Any, ...]]:
        def overrules(_: nn.Module, given: tuple[Any, ...], output: Any) -> tuple[Any, ...]:
            own = _routing(router, output)
            other = overrule(router, given, own)
            asked.add(router.name)
            return (
                *output[:-2],
                other.weights.to(own.weights.device, own.weights.dtype),
                other.experts.to(own.experts.device, own.experts.dtype),
            )

        return overrules

    with ExitStack() as stack:
        for router in found:
            stack.callback(router.module.register_forward_hook(hook(router)).remove)
        yield
    if silent := [router.name for router in found if router.name not in asked]:
        raise MeasurementError(
            f"{len(silent)} routers (for example {silent[0]}) were never asked, so that experts "
            "were chosen in another way"
        )


def _routing(router: Router, output: Any) -> Routing:
    """What a router chose."""
    if isinstance(output, tuple) and len(output) == _GIVEN:
        _, weights, experts = output
        if not experts.is_floating_point() and experts.shape == weights.shape:
            return Routing(experts, weights)
    raise UnavailableError(
        f"{router.name} ({type(router.module).__name__}) does not give logits, weights and experts"
    )


@contextmanager
def recorded(found: Sequence[Router]) -> Iterator[dict[str, list[Routing]]]:
    """Keep what routers choose while the context lasts.

    Yields:
        Router's name to its routings, one for each time that it is asked.
    """
    kept: dict[str, list[Routing]] = {router.name: [] for router in found}

    def keep(router: Router, _: tuple[Any, ...], own: Routing) -> Routing:
        kept[router.name].append(own)
        return own

    with overruled(found, keep):
        yield kept


@contextmanager
def one_more_expert(found: Sequence[Router]) -> Iterator[None]:
    """Have routers choose one more expert for each token.

    Raises:
        UnavailableError: A router chooses all experts as it is, or as many in spite of it.
    """
    for router in found:
        if router.module.top_k >= router.experts:
            raise UnavailableError(f"{router.name} gives every token all {router.experts} experts")
    wanted = {router.name: int(router.module.top_k) + 1 for router in found}

    def check(router: Router, _: tuple[Any, ...], own: Routing) -> Routing:
        if own.experts.shape[-1] != wanted[router.name]:
            raise UnavailableError(
                f"{router.name} chooses {own.experts.shape[-1]} experts, whatever it is told"
            )
        return own

    modules: list[Any] = [router.module for router in found]
    try:
        for module in modules:
            module.top_k += 1
        with overruled(found, check):
            yield
    finally:
        for router, module in zip(found, modules, strict=True):
            module.top_k = wanted[router.name] - 1


def counterparts(found: Sequence[Router], theirs: Sequence[Router]) -> dict[str, Router]:
    """Return the router of another network in the place of each.

    Raises:
        UnavailableError: The two have other numbers of routers or of experts.
    """
    if [router.experts for router in found] != [router.experts for router in theirs]:
        raise UnavailableError(
            f"the model's {len(found)} routers and the original's {len(theirs)} do not choose "
            "among the same numbers of experts"
        )
    return {router.name: other for router, other in zip(found, theirs, strict=True)}


@contextmanager
def routed_alike(model: LanguageModel, donor: LanguageModel) -> Iterator[None]:
    """Give each token the experts, and their weights, of another model.

    The other model reads the same tokens, each time that the first one reads some.

    Args:
        model: Its routers are overruled.
        donor: Its routers choose, from its own hidden states.

    Raises:
        UnavailableError: Their routers do not correspond.
        MeasurementError: Tokens were read whose beginning the donor was not given.
    """
    found, theirs = routers(model.network), routers(donor.network)
    other = counterparts(found, theirs)
    if donor.network is model.network:  # it chooses as it does
        with recorded(found):
            yield
        return
    reader = _Reader(donor, theirs)

    def read(_: nn.Module, __: tuple[Any, ...], asked: dict[str, Any]) -> None:
        model.meter.forward_tokens += reader.read(asked)

    def choose(router: Router, _: tuple[Any, ...], own: Routing) -> Routing:
        chosen = reader.routings[other[router.name].name]
        if len(chosen.experts) != len(own.experts):
            raise MeasurementError(
                f"{router.name} is asked about {len(own.experts)} tokens, and the original about "
                f"{len(chosen.experts)}"
            )
        return chosen

    handle = model.network.register_forward_pre_hook(read, with_kwargs=True)
    try:
        with overruled(found, choose):
            yield
    finally:
        handle.remove()


class _Reader:
    """A model that reads along what another one reads."""

    def __init__(self, model: LanguageModel, found: Sequence[Router]) -> None:
        self._network: Any = model.network
        self._routers = found
        self._caches: tuple[Any, Any] = (None, None)
        self.routings: Mapping[str, Routing] = {}
        """Router's name to what it chose for the tokens that were read last."""

    @torch.no_grad()
    def read(self, asked: Mapping[str, Any]) -> int:
        """Read what a network is asked, and return the number of tokens."""
        device = input_device(self._network)
        given = {name: asked[name].to(device) for name in _READ if asked.get(name) is not None}
        if "input_ids" not in given:
            raise MeasurementError(
                "the model was given no token ids, which the original could read"
            )
        caches = {
            name: self._follow(asked[name]) for name in _CACHES if asked.get(name) is not None
        }
        with recorded(self._routers) as kept:
            self._network.base_model(**given, **caches, use_cache=bool(caches))
        self.routings = {
            name: Routing(*(torch.cat(parts) for parts in zip(*routings, strict=True)))
            for name, routings in kept.items()
        }
        return int(given["input_ids"].numel())

    def _follow(self, cache: Any) -> Any:
        """The donor's keys and values of the same text."""
        followed, own = self._caches
        if cache is not followed:
            if cache.get_seq_length():
                raise MeasurementError("the original did not read the beginning of a text")
            own = deepcopy(cache)
            self._caches = (cache, own)
        return own
