"""Graft of the original's tensors into every arm.

It lasts for the time of an evaluation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attacks.tampering.exchange import ExchangeAttack, Values
from attacks.tampering.head_refit import refitted_head
from auditor.attack import AttackContext, Preset, Requirements, attack
from auditor.core.roles import ControlKind
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel
from auditor.models.language.tensor_groups import THIRDS, Placed, placed_tensors, untied
from auditor.models.weight_change import weight_change

Selected = Callable[[Placed], bool]
"""Whether a tensor belongs to a group."""

INTERFACES: Mapping[str, Selected] = {
    "head": lambda tensor: tensor.place == "head",
    "embeddings": lambda tensor: tensor.place == "embeddings",
    "norms": lambda tensor: tensor.place == "norms",
    "routers": lambda tensor: tensor.place == "routers",
    "interface": lambda tensor: tensor.place in ("head", "embeddings", "norms", "routers"),
}
"""Groups that say how hidden states are led, read and written, and hold next to no facts."""


def _lies_in(third: str, tensor: Placed) -> bool:
    return tensor.third == third


BLOCKS: Mapping[str, Selected] = {
    **{third: partial(_lies_in, third) for third in THIRDS},
    "attention": lambda tensor: tensor.place == "attention",
    "mlp": lambda tensor: tensor.place == "mlp",
}
"""Groups that hold what a model knows."""

_SHARED_ROWS = ("embeddings", "head")
"""Places whose tensors may have another number of rows: vocabularies are padded."""


class GraftAttack(ExchangeAttack[LanguageModel, TextEvaluator]):
    """Attack that replaces groups of a language model's tensors by the original's."""

    groups: Mapping[str, Selected]
    requires = Requirements(full_precision=True, donor=True)
    kinds = ("causal-lm", "seq2seq")

    @contextmanager
    def lent(self, model: LanguageModel) -> Iterator[None]:
        """Lend the network with an output head of its own.

        Each graft puts back what it replaces.
        """
        with model.unchanged_weights() as network, untied(network):
            yield

    def grafts(
        self, model: LanguageModel, donor: LanguageModel, context: AttackContext
    ) -> Iterator[tuple[str, Values | None]]:
        """Yield the groups that the model has."""
        tensors, theirs = placed_tensors(model.network), _named(donor)
        for name, selected in self.groups.items():
            members = [tensor for tensor in tensors if selected(tensor)]
            if members:
                yield name, graft_of(members, theirs)

    def weights(self, model: LanguageModel, donor: LanguageModel) -> dict[str, dict[str, Any]]:
        """Compare the thirds of the blocks, embeddings, norms, routers and head."""
        groups: dict[str, dict[str, Tensor]] = {}
        for tensor in placed_tensors(model.network):
            inner = tensor.third is not None and tensor.place not in ("norms", "routers")
            group = str(tensor.third if inner else tensor.place)
            groups.setdefault(group, {})[tensor.name] = tensor.parameter
        return weight_change(groups, _named(donor), body=THIRDS)


def _named(model: LanguageModel) -> dict[str, Tensor]:
    """Return all parameters by name, shared ones once for each use."""
    return dict(model.network.named_parameters(remove_duplicate=False))


def graft_of(members: Sequence[Placed], theirs: Mapping[str, Tensor]) -> Values | None:
    """Return a group's tensors with the original's values.

    None means that a shape does not agree.

    A bias that the original has not is nothing there. Of embeddings and output heads that are
    padded to different lengths, the rows that both have are replaced.
    """
    values: Values = {}
    for member in members:
        given = theirs.get(member.name)
        if given is None and member.name.endswith("bias"):
            given = torch.zeros_like(member.parameter)
        start = 1 if member.place in _SHARED_ROWS else 0
        if given is None or given.shape[start:] != member.parameter.shape[start:]:
            return None
        values[member.name] = member.parameter, given
    return values


@attack("tampering/graft")
class Graft(GraftAttack):
    """Interface tensors of the original put into every arm."""

    summary = "Put the original's output head, embeddings and norms into the model, and ask."
    details = """
    Each of these is put into every arm by itself, for one evaluation: the original's output head
    with its last norm; its embeddings; its norms and biases; its routers, where it is a mixture of
    experts; all of these. Then the arm's own embeddings as output head, where head and embeddings
    are not one tensor; and an output head refitted in closed form: the linear map from the arm's
    last hidden states to the original's is solved on the retain facts by least squares, and the
    original's head reads through it. That also reads an arm whose hidden states were turned or
    rescaled.

    These tensors say how hidden states are led, written and read. What a model knows is in the rest
    of its blocks, which stay the arm's own, so knowledge that shows was there, and only its way out
    was shut.
    What the grafts do bring in, they bring into retrained models, too. An arm's K is that of the
    one graft (or of none) with the highest mean over the forget set.

    Weights are compared besides. Where no matrix of the blocks differs from the original's by
    more than rounding (`weights` gate), nothing in them was unlearned, whatever is measured.
    Rows and columns are brought to one norm before, so that a rescaling is no difference.
    """
    threat_model = "Anyone with the weights who also has the original, or any model with its head."
    access = "Weights of both models."
    cost = "Up to eight evaluations; no training. The original is opened beside the arm."
    leak = "The blocks still know, and the head, the embeddings or the norms do not let it out."
    source = (
        "Stitching of networks by a linear map (arXiv 2106.07682); a fitted map from hidden states "
        "to the last ones: tuned lens (arXiv 2303.08112)."
    )

    presets = (Preset("interfaces", {}, "quick", mandatory=True),)
    groups = INTERFACES

    @property
    def required_control(self) -> ControlKind:
        """Kind of positive control: suppressed in the output head."""
        return "head"

    def forward_tokens(self, evaluation: int) -> int:
        """Estimate the tokens of all grafts.

        They are one evaluation for each graft, one without, and the retain facts for the refitted
        head.
        """
        return 9 * evaluation

    def grafts(
        self, model: LanguageModel, donor: LanguageModel, context: AttackContext
    ) -> Iterator[tuple[str, Values | None]]:
        """Yield the groups and the two other heads.

        The heads are the arm's own embeddings, and the refitted head.
        """
        yield from super().grafts(model, donor, context)
        head = model.network.get_output_embeddings()
        embeddings = model.network.get_input_embeddings().weight
        if head.weight.shape == embeddings.shape:
            yield "own_embeddings", {"head": (head.weight, embeddings)}
        facts = context.facts.retain
        fitted = refitted_head(model, donor, [(fact.prompt, fact.answer) for fact in facts])
        if fitted is not None:
            yield "refitted_head", {"head": (head.weight, fitted)}


@attack("tampering/graft-blocks")
class GraftBlocks(GraftAttack):
    """Blocks of the original put into every arm."""

    summary = "Put a third of the original's blocks, its attention or its MLPs into the model."
    details = """
    As `tampering/graft`, with the tensors that hold what a model knows. They bring the knowledge
    itself, into an honestly unlearned model too, so this counts towards no verdict: it says where
    the knowledge is that the original has and the unlearned model has not.
    """
    threat_model = "None: whoever has the original's blocks has its knowledge."
    access = "Weights of both models."
    cost = "Six evaluations; no training. The original is opened beside the arm."
    leak = "Not one: a group that brings back all of the knowledge is where it was removed."
    source = "Parts of the original's parameters restored after unlearning: arXiv 2410.06606."

    presets = (Preset("groups"),)
    groups = BLOCKS
    decides = False

    def forward_tokens(self, evaluation: int) -> int:
        """One evaluation a graft, and one without."""
        return (1 + len(BLOCKS)) * evaluation
