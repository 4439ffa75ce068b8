"""Experts chosen in another way than by an arm's own routers."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from auditor.attack import Attack, AttackContext, Parameters, Preset, Requirements, attack
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import Explanation, SideFigure
from auditor.core.records import Record
from auditor.models.language.experts import stacked_experts
from auditor.models.language.model import LanguageModel
from auditor.models.language.routers import (
    Router,
    Routing,
    counterparts,
    one_more_expert,
    overruled,
    recorded,
    routed_alike,
    routers,
)
from auditor.models.weight_change import weight_change

Way = Literal["original", "shuffled", "one_more"]

_NAMES: Mapping[Way, str] = {
    "original": "original experts",
    "shuffled": "shuffled experts",
    "one_more": "top-k + 1",
}


class RoutingParameters(Parameters):
    """Settings of the routing."""

    way: Way = "original"
    """How experts are chosen: as the original chooses them on the same text (``original``), as the
    model does with the experts of each layer in another order (``shuffled``), or as the model does,
    and one more for each token (``one_more``)."""


@attack("tampering/routing")
class RoutingAttack(Attack[RoutingParameters]):
    """Experts of a mixture chosen in another way."""

    summary = "Choose the experts of a mixture as the original does, and ask."
    details = """
    A mixture of experts can be made to look as if it had forgotten by its routers alone: tokens of
    the facts to forget are led around the experts that hold them, and those experts stay as they
    were. Whoever has the weights leads the tokens back.

    *original experts*: the original reads along, token by token, from its own hidden states, and
    its routers choose the experts of the arm and their weights. The arm's own attention, norms and
    experts do everything else. On the original this changes nothing, and a retrained model is not
    taught by it: which experts are asked says next to nothing of an answer.

    *top-k + 1*: the arm's own routers choose one more expert for each token, which brings back
    experts that were only just pushed out. *shuffled experts* is a control: the arm's own choice,
    with the experts of each layer in an order that the seed and the layer's name decide. What comes
    back under the original's choice and not under this one comes of the choice.

    The attack is for mixtures whose experts hold a large part of the weights, and where no model of
    an audit is one, it does not apply. Reported beside K are the share of tokens whose experts are
    not those that the original chooses on the same text (prompts with their answers, mean over
    layers), and the relative change of the weights of routers, of experts, and of everything else:
    much rerouting under little change of the experts is the mark of unlearning that hides.
    """
    threat_model = "Anyone with the weights who also has the original or another relative."
    access = "Weights, and the original's routing."
    cost = "One evaluation, for which the original reads along, and one reading of the facts."
    leak = "The experts still hold the answers, and the routers no longer ask them."
    source = (
        "Routing as the place where unlearning of mixtures acts in appearance only: arXiv "
        "2601.16905 (abstract). Reading along token by token is this project's own."
    )

    parameters_type = RoutingParameters
    presets = (
        Preset("original experts", {}, "quick", mandatory=True),
        Preset("top-k + 1", {"way": "one_more"}),
        Preset("shuffled experts", {"way": "shuffled"}, "exhaustive"),
    )
    requires = Requirements(donor=True, experts=True)

    @property
    def variant(self) -> str:
        """How experts are chosen."""
        return _NAMES[self.parameters.way]

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of the evaluation, and of what both models read besides."""
        return 4 * evaluation if self.parameters.way == "original" else 3 * evaluation

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Ask with experts chosen in another way.

        Raises:
            UnavailableError: There is no original, it turns text into other tokens, or routers
                were not found or do not correspond.
        """
        donor: Any = context.donor
        if not isinstance(donor, type(model)):
            raise UnavailableError(
                "it takes the routing of the original, and there is none beside this model; give "
                "it (`original=`)"
            )
        with model.unchanged_weights() as network:
            found = routers(network)
            _check_read_alike(model, donor, context)
            context.progress("comparing what routers choose")
            shares = {
                name: rerouted(model, donor, facts)
                for name, facts in (
                    ("forget", context.facts.forget),
                    ("retain", context.facts.retain),
                )
                if facts
            }
            context.progress(f"asking with {self.variant}")
            with self._routed(model, donor, found, context.seed):
                rows = context.evaluator.evaluate(model)
        return Record(
            rows=rows,
            notes={
                "routers": len(found),
                "rerouted": shares,
                "moved": weight_change(_grouped(model, found), _named(donor), body=()),
            },
        )

    def _routed(
        self, model: LanguageModel, donor: LanguageModel, found: Sequence[Router], seed: int
    ) -> AbstractContextManager[None]:
        if self.parameters.way == "original":
            return routed_alike(model, donor)
        if self.parameters.way == "one_more":
            return one_more_expert(found)
        orders = {router.name: order_of(router, seed) for router in found}

        def shuffle(router: Router, _: tuple[Any, ...], own: Routing) -> Routing:
            return Routing(orders[router.name].to(own.experts.device)[own.experts], own.weights)

        return overruled(found, shuffle)

    def explain(self, unlearned: Record, original: Record) -> Explanation | None:
        """Share of tokens of the forget set that unlearning rerouted, by layer."""
        layers: dict[str, float] = unlearned.notes["rerouted"]["forget"]
        return Explanation("rerouted_share", _mean(layers), dict(layers))

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Return how far each arm's routing and weights are from the original's."""
        shares = [
            SideFigure(
                "rerouted_share", arm, _mean(layers), against=Arm.ORIGINAL, params={"set": name}
            )
            for arm, noted in notes.items()
            if arm != Arm.ORIGINAL
            for name, layers in noted["rerouted"].items()
        ]
        moved = [
            SideFigure(
                "weight_change",
                arm,
                group["change"],
                against=Arm.ORIGINAL,
                params={"group": name, "equal": group["equal"], "tensors": group["tensors"]},
            )
            for arm, noted in notes.items()
            if arm != Arm.ORIGINAL
            for name, group in noted["moved"].items()
        ]
        return (*shares, *moved)


def order_of(router: Router, seed: int) -> Tensor:
    """Return an order of experts in which none keeps its place.

    It is a random cycle (Sattolo, Inf. Process. Lett. 22, 1986) that depends on the router's name
    and the seed alone.

    Args:
        router: The router.
        seed: Seed of the order.

    Returns:
        The expert in the place of each, [experts].
    """
    text = f"{seed}:{router.name}:{router.experts}"
    mixed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    cycle = torch.randperm(router.experts, generator=torch.Generator().manual_seed(mixed))
    order = torch.empty_like(cycle)
    order[cycle] = cycle.roll(1)
    return order


def rerouted(model: LanguageModel, donor: LanguageModel, facts: Sequence[Fact]) -> dict[str, float]:
    """Return the share of tokens that other experts work on.

    Prompts are read with their answers, one by one, so that none is padded. Two choices are the
    same whatever the order and the weights of the experts.

    Returns:
        Router's name to the share.

    Raises:
        UnavailableError: The two models' routers do not correspond.
    """
    ours, theirs = routers(model.network), routers(donor.network)
    other = counterparts(ours, theirs)
    with recorded(ours) as mine, recorded(theirs) as given:
        for fact in facts:
            for reader in (model, donor):
                reader.score([(fact.prompt, fact.answer)])
    return {
        name: 1.0 - _share_equal(routings, given[other[name].name])
        for name, routings in mine.items()
    }


def _share_equal(ours: Sequence[Routing], theirs: Sequence[Routing]) -> float:
    """Share of tokens with the same experts."""
    first, second = (
        torch.cat([routing.experts.cpu() for routing in routings]).sort(-1).values
        for routings in (ours, theirs)
    )
    if first.shape != second.shape:  # another number of experts for each token
        return 0.0
    return float((first == second).all(-1).double().mean())


def _check_read_alike(model: LanguageModel, donor: LanguageModel, context: AttackContext) -> None:
    """Check that two models turn all facts into the same tokens.

    Raises:
        UnavailableError: They do not.
    """
    facts = (*context.facts.forget, *context.facts.retain, *context.facts.holdout)
    pairs = [(fact.prompt, fact.answer) for fact in facts]
    if model.encode(pairs) != donor.encode(pairs):
        raise UnavailableError(
            "the model turns facts into other tokens than the original does, which therefore "
            "cannot read along; give it with the original's tokenizer files and chat template"
        )


def _grouped(model: LanguageModel, found: Sequence[Router]) -> dict[str, dict[str, Tensor]]:
    """Parameters of routers, of experts, and of everything else."""
    inside = {
        id(parameter): "routers" for router in found for parameter in router.module.parameters()
    }
    inside |= {id(stack.parameter): "experts" for stack in stacked_experts(model.network)}
    groups: dict[str, dict[str, Tensor]] = {"routers": {}, "experts": {}, "others": {}}
    for name, parameter in model.network.named_parameters():
        groups[inside.get(id(parameter), "others")][name] = parameter
    return groups


def _named(model: LanguageModel) -> dict[str, Tensor]:
    return dict(model.network.named_parameters(remove_duplicate=False))


def _mean(layers: Mapping[str, float]) -> float:
    return sum(layers.values()) / len(layers)
