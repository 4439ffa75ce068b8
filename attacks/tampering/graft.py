"""Tensors of the original put into every arm for the time of an evaluation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attacks.tampering.head_refit import refitted_head
from auditor.attack import Attack, AttackContext, Parameters, Preset, Requirements, attack
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.findings import SideFigure
from auditor.core.records import Record, Row, most_telling
from auditor.core.roles import ControlKind
from auditor.models.language.model import LanguageModel
from auditor.models.language.tensor_groups import (
    THIRDS,
    Placed,
    placed_tensors,
    replaced,
    untied,
)
from auditor.models.language.weight_change import weight_change

Selected = Callable[[Placed], bool]
"""Whether a tensor belongs to a group."""

INTERFACES: Mapping[str, Selected] = {
    "head": lambda tensor: tensor.place == "head",
    "embeddings": lambda tensor: tensor.place == "embeddings",
    "norms": lambda tensor: tensor.place == "norms",
    "interface": lambda tensor: tensor.place in ("head", "embeddings", "norms"),
}
"""Groups that say how hidden states are read and written, and hold next to no facts."""


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


class GraftAttack(Attack[Parameters, LanguageModel]):
    """Attack that replaces groups of an arm's tensors by the original's."""

    groups: Mapping[str, Selected]
    requires = Requirements(full_precision=True, donor=True)
    kinds = ("causal-lm", "seq2seq")

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Ask with each group replaced; the weights are restored bit for bit.

        Raises:
            UnavailableError: there is no original, or not one of its tensors fits.
        """
        donor = context.donor
        if not isinstance(donor, LanguageModel):
            raise UnavailableError(
                "it takes tensors from the original, and there is none beside this model; give it "
                "(`original=`)"
            )
        with model.preserve_weights() as network, untied(network):
            theirs: dict[str, Tensor] = dict(donor.network.named_parameters(remove_duplicate=False))
            tensors = placed_tensors(network)
            readings = {"none": context.evaluator.evaluate(model)}
            left_out = []
            for name, values in self.grafts(model, donor, tensors, theirs, context):
                if values is None:
                    left_out.append(name)
                    continue
                context.progress(f"graft {len(readings)}: {name}")
                with replaced(values):
                    readings[name] = context.evaluator.evaluate(model)
            if len(readings) == 1:
                raise UnavailableError("no tensor of the original fits into this model")
            return self.record(readings, left_out, weight_change(tensors, theirs))

    def grafts(
        self,
        model: LanguageModel,
        donor: LanguageModel,
        tensors: Sequence[Placed],
        theirs: Mapping[str, Tensor],
        context: AttackContext,
    ) -> Iterator[tuple[str, dict[str, tuple[nn.Parameter, Tensor]] | None]]:
        """Each graft's name and what it puts where; None where the shapes do not agree."""
        for name, selected in self.groups.items():
            members = [tensor for tensor in tensors if selected(tensor)]
            if members:
                yield name, graft_of(members, theirs)

    def record(
        self,
        readings: Mapping[str, tuple[Row, ...]],
        left_out: Sequence[str],
        weights: dict[str, Any],
    ) -> Record:
        """The rows of the graft that brings most, and what was done."""
        chosen = most_telling(readings)
        primary = next(iter(chosen), None)
        known = {
            name: [row.k for row in rows if (row.set, row.metric) == ("forget", primary)]
            for name, rows in readings.items()
        }
        return Record(
            rows=tuple(
                row
                for metric, name in chosen.items()
                for row in readings[name]
                if row.metric == metric
            ),
            notes={
                "grafts": {name: sum(ks) / len(ks) for name, ks in known.items() if ks},
                "chosen": chosen,
                "left_out": list(left_out),
                "weights": weights,
            },
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Mean K of the forget set under each graft by arm, and how far weights were moved."""
        known = [
            SideFigure("grafted_k", arm, value, params={"group": group})
            for arm, noted in notes.items()
            for group, value in noted["grafts"].items()
        ]
        moved = [
            SideFigure(
                "weight_change",
                Arm.UNLEARNED,
                group["change"],
                against=Arm.ORIGINAL,
                params={"group": name, "equal": group["equal"], "tensors": group["tensors"]},
            )
            for name, group in notes.get(Arm.UNLEARNED, {}).get("weights", {}).items()
        ]
        return (*known, *moved)


def graft_of(
    members: Sequence[Placed], theirs: Mapping[str, Tensor]
) -> dict[str, tuple[nn.Parameter, Tensor]] | None:
    """Tensors of a group with the original's in their place; None if a shape does not agree.

    A bias that the original has not is nothing there. Of embeddings and output heads that are
    padded to different lengths, the rows that both have are replaced.
    """
    values: dict[str, tuple[nn.Parameter, Tensor]] = {}
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
    with its last norm; its embeddings; its norms and biases; all three. Then the arm's own
    embeddings as output head, where head and embeddings are not one tensor; and an output head
    refitted in closed form: the linear map from the arm's last hidden states to the original's
    is solved on the retain facts by least squares, and the original's head reads through it.
    That also reads an arm whose hidden states were turned or rescaled.

    These tensors say how hidden states are written and read. What a model knows is in its blocks,
    which stay the arm's own, so knowledge that shows was there, and only its way out was shut.
    What the grafts do bring in, they bring into retrained models, too. An arm's K is that of the
    one graft (or of none) with the highest mean over the forget set.

    Weights are compared besides. Where no matrix of the blocks differs from the original's by
    more than rounding (`weights` gate), nothing in them was unlearned, whatever is measured.
    Rows and columns are brought to one norm before, so that a rescaling is no difference.
    """
    threat_model = "Anyone with the weights who also has the original, or any model with its head."
    access = "Weights of both models."
    cost = "Seven evaluations; no training. The original is opened beside the arm."
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
        """One evaluation a graft, one without, and the retain facts for the refitted head."""
        return 8 * evaluation

    def grafts(
        self,
        model: LanguageModel,
        donor: LanguageModel,
        tensors: Sequence[Placed],
        theirs: Mapping[str, Tensor],
        context: AttackContext,
    ) -> Iterator[tuple[str, dict[str, tuple[nn.Parameter, Tensor]] | None]]:
        """The groups, the arm's own embeddings as head, and the refitted head."""
        yield from super().grafts(model, donor, tensors, theirs, context)
        head = model.network.get_output_embeddings()
        embeddings = model.network.get_input_embeddings().weight
        if not torch.equal(head.weight, embeddings):
            fits = head.weight.shape == embeddings.shape
            yield "own_embeddings", {"head": (head.weight, embeddings)} if fits else None
        facts = context.facts.retain
        fitted = refitted_head(model, donor, [(fact.prompt, fact.answer) for fact in facts])
        yield "refitted_head", None if fitted is None else {"head": (head.weight, fitted)}


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
