"""Exchange of groups of tensors for the original's.

It is done on every arm, for the time of an evaluation each.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from auditor.attack import Attack, AttackContext, HoldsFacts, Parameters
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.findings import SideFigure
from auditor.core.records import Record, Row, most_telling
from auditor.models.model import AuditedModel
from auditor.models.preserve import replaced

M = TypeVar("M", bound=AuditedModel)
E = TypeVar("E", bound=HoldsFacts)

Values = dict[str, tuple[nn.Parameter, Tensor]]
"""Parameter and the value put in its place, by name."""


class ExchangeAttack(Attack[Parameters, M, E]):
    """Attack that replaces groups of an arm's tensors.

    It replaces one group at a time.
    """

    @abstractmethod
    def lent(self, model: M) -> AbstractContextManager[object]:
        """Lend everything that is replaced, and prove that it was put back."""

    @abstractmethod
    def grafts(
        self, model: M, donor: M, context: AttackContext[E]
    ) -> Iterator[tuple[str, Values | None]]:
        """Yield each graft's name and its values.

        Values are None where shapes do not agree.
        """

    @abstractmethod
    def weights(self, model: M, donor: M) -> dict[str, dict[str, Any]]:
        """Compare the model's weights with the original's, by group."""

    def measure(self, model: M, context: AttackContext[E]) -> Record:
        """Ask with each group replaced; the weights are restored bit for bit.

        A graft that changes nothing is not asked again.

        Raises:
            UnavailableError: There is no original, or not one of its tensors fits.
        """
        donor: Any = context.donor
        if not isinstance(donor, type(model)):
            raise UnavailableError(
                "it takes tensors from the original, and there is none beside this model; give it "
                "(`original=`)"
            )
        ask = context.evaluator.evaluate  # type: ignore[attr-defined]
        with self.lent(model):
            readings: dict[str, tuple[Row, ...]] = {"none": ask(model)}
            left_out = []
            for name, values in self.grafts(model, donor, context):
                if values is None:
                    left_out.append(name)
                    continue
                context.progress(f"graft {len(readings)}: {name}")
                if all(_same(*pair) for pair in values.values()):
                    readings[name] = readings["none"]
                    continue
                with replaced(values):
                    readings[name] = ask(model)
            if len(readings) == 1:
                raise UnavailableError("no tensor of the original fits into this model")
            return self.record(readings, left_out, self.weights(model, donor))

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
        """Return mean K of the forget set under each graft.

        It is given by arm, along with how far weights were moved.
        """
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


def _same(parameter: Tensor, value: Tensor) -> bool:
    """Whether a value is what stands there already."""
    given = value.detach().to(parameter.device, parameter.dtype)
    return parameter.shape == value.shape and torch.equal(parameter.detach(), given)
