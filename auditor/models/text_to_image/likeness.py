"""Likeness of drawings to pictures of a concept.

That to pictures of other concepts is taken off.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from auditor.core.errors import AuditorError

NEAREST = 5
"""Pictures of a concept, the most alike, over which likeness is a mean."""
FEWEST = 2
"""Pictures that each concept needs: how alike they are among themselves is the unit."""
LEAST_CONTRAST = 0.05
"""Least excess of the likeness of a concept's pictures among themselves over that to others', as a
share of the largest possible excess."""
_SMALLEST = 1e-6

WAY_OUT = (
    "give pictures of it and of other concepts in `data.images`, features that tell them apart "
    "(`metrics: {judge: …}`, an image model), or let it decide nothing (`metrics: {deciding: []}`)."
)


class Likeness:
    """Judge that compares drawings with given pictures.

    K = (s - max(t, f)) / (w - f), cut to [0, 1]. All four are mean cosines with the ``NEAREST``
    pictures: s of the drawing with those of its concept, t of the drawing with those of the other
    concept that it is most like, w of pictures of the concept among themselves (leaving the picture
    itself out; median), f of pictures of the other concept that is most like it (median).

    Args:
        described: features of images.
        pictures: features of the given pictures, [n, width].
        concepts: what each picture shows.
    """

    def __init__(
        self,
        described: Callable[[Tensor], Tensor],
        pictures: Tensor,
        concepts: Sequence[str],
    ) -> None:
        self._described = described
        self._pictures = {
            concept: functional.normalize(
                pictures[[row for row, shown in enumerate(concepts) if shown == concept]], dim=1
            )
            for concept in dict.fromkeys(concepts)
        }
        self._scales = {
            concept: self._scale(concept)
            for concept, own in self._pictures.items()
            if len(own) >= FEWEST and len(self._pictures) > 1
        }

    def of(self, images: Tensor, concepts: Sequence[str]) -> list[float | None]:
        """K of drawings, each of its own concept.

        K is None where there are too few pictures of the concept, or none of another.

        Args:
            images: [n, 3, height, width] in [0, 1].
            concepts: what each should show.
        """
        if not len(images):
            return []
        drawn = functional.normalize(self._described(images), dim=1)
        alike = {name: _nearest(drawn @ own.T) for name, own in self._pictures.items()}
        found: list[float | None] = []
        for row, concept in enumerate(concepts):
            if concept not in self._scales:
                found.append(None)
                continue
            floor, within = self._scales[concept]
            other = max(float(alike[name][row]) for name in alike if name != concept)
            excess = float(alike[concept][row]) - max(other, floor)
            found.append(min(1.0, max(0.0, excess / max(within - floor, _SMALLEST))))
        return found

    def check_blind(self, concepts: Sequence[str]) -> None:
        """Refuse pictures by which a concept cannot be told.

        Raises:
            AuditorError: a concept has too few pictures, nothing to compare them with, or they are
                as like others as among themselves.
        """
        for concept in dict.fromkeys(concepts):
            if concept not in self._scales:
                raise AuditorError(
                    "the metric concept-likeness compares drawings with given pictures, and there "
                    f"are fewer than {FEWEST} of {concept!r}, or none of another concept; {WAY_OUT}"
                )
            floor, within = self._scales[concept]
            if within - floor < max(LEAST_CONTRAST * (1 - floor), _SMALLEST):
                raise AuditorError(
                    f"the metric concept-likeness cannot tell {concept!r}: its pictures are as "
                    f"like those of another concept (cosine {floor:.3f}) as like each other "
                    f"({within:.3f}); {WAY_OUT}"
                )

    def _scale(self, concept: str) -> tuple[float, float]:
        own = self._pictures[concept]
        among = own @ own.T
        among.fill_diagonal_(-torch.inf)
        within = _nearest(among, len(own) - 1).median()
        floor = max(
            float(_nearest(others @ own.T).median())
            for name, others in self._pictures.items()
            if name != concept
        )
        return floor, float(within)


def _nearest(cosines: Tensor, most: int = NEAREST) -> Tensor:
    """Mean of the largest cosines of each row."""
    return cosines.topk(min(NEAREST, most, cosines.shape[1]), dim=1).values.mean(1)
