"""Gradient search for tokens by relaxation, many prompts at once."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

_HALVINGS = 40
"""Number of halvings of the interval that holds a threshold; float32 has no room for more."""


class TokenRelaxation(ABC):
    """Continuous stand-ins for the tokens of [prompts, places].

    Args:
        table: embeddings that are searched among, [words, width] float32.
        shape: how many prompts, and how many tokens in each.
        learning_rate: learning rate of the optimizer.
        weight_decay: weight decay of the optimizer.
    """

    def __init__(
        self, table: Tensor, shape: tuple[int, int], learning_rate: float, weight_decay: float
    ) -> None:
        self._table = table
        self._variable, self._optimizer = self._start(shape, learning_rate, weight_decay)

    @abstractmethod
    def _start(
        self, shape: tuple[int, int], learning_rate: float, weight_decay: float
    ) -> tuple[Tensor, torch.optim.Optimizer]:
        """The stand-ins, and what moves them."""

    @abstractmethod
    def drawn(self, chances: Tensor) -> Tensor:
        """Tokens at which the gradient is taken, [prompts, places].

        They are row numbers of the table.

        Args:
            chances: uniform in [0, 1), [prompts, places].
        """

    @abstractmethod
    def update(self, gradient: Tensor) -> None:
        """Take a step.

        Args:
            gradient: with respect to the drawn tokens' embeddings, [prompts, places, width].
        """

    @abstractmethod
    def best(self) -> Tensor:
        """Return the tokens of the stand-ins, [prompts, places]."""


class SimplexTokens(TokenRelaxation):
    """Distribution over all words at each place (UnlearnDiffAtk, arXiv 2310.11868).

    A word is drawn from it; the gradient with respect to the word's one-hot vector, cut to
    [-1, 1], moves the distribution, which is then projected back onto the simplex.
    """

    def _start(
        self, shape: tuple[int, int], learning_rate: float, weight_decay: float
    ) -> tuple[Tensor, torch.optim.Optimizer]:
        words = len(self._table)
        variable = torch.full((*shape, words), 1 / words, device=self._table.device)
        return variable, torch.optim.Adam([variable], learning_rate, weight_decay=weight_decay)

    def drawn(self, chances: Tensor) -> Tensor:
        """Draw a word for each place."""
        below = self._variable.cumsum(-1) < chances.to(self._variable.device).unsqueeze(-1)
        return below.sum(-1).clamp(max=len(self._table) - 1)

    def update(self, gradient: Tensor) -> None:
        """Move the distributions."""
        self._variable.grad = (gradient @ self._table.T).clamp(-1, 1)
        self._optimizer.step()
        self._variable.copy_(on_simplex(self._variable))

    def best(self) -> Tensor:
        """The most probable word of each place."""
        return self._variable.argmax(-1)


class NearestTokens(TokenRelaxation):
    """Free vector at each place, read as its nearest word.

    It is PEZ (arXiv 2302.03668), as P4D uses it.

    The gradient is taken at the nearest word, by cosine, and moves the vector.
    """

    def __init__(
        self,
        table: Tensor,
        shape: tuple[int, int],
        learning_rate: float,
        weight_decay: float,
        first: Tensor,
    ) -> None:
        """Start from the words ``first``, [prompts, places] of row numbers."""
        self._first = first
        super().__init__(table, shape, learning_rate, weight_decay)

    def _start(
        self, shape: tuple[int, int], learning_rate: float, weight_decay: float
    ) -> tuple[Tensor, torch.optim.Optimizer]:
        variable = self._table[self._first.to(self._table.device)].clone()
        return variable, torch.optim.AdamW([variable], learning_rate, weight_decay=weight_decay)

    def drawn(self, chances: Tensor) -> Tensor:
        """The nearest words; nothing is left to chance."""
        return self.best()

    def update(self, gradient: Tensor) -> None:
        """Move the vectors."""
        self._variable.grad = gradient.to(self._variable)
        self._optimizer.step()

    def best(self) -> Tensor:
        """The nearest word of each place."""
        table = functional.normalize(self._table, dim=-1)
        return (functional.normalize(self._variable, dim=-1) @ table.T).argmax(-1)


def on_simplex(rows: Tensor) -> Tensor:
    """Projection of rows onto the probability simplex.

    It gives the nearest points with entries of at least 0 that sum to 1.

    They are max(row - t, 0), with the t at which they sum to 1 found by bisection.
    """
    low, high = rows.amax(-1, keepdim=True) - 1, rows.amax(-1, keepdim=True)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = (rows - middle).clamp(min=0).sum(-1, keepdim=True) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    found = (rows - (low + high) / 2).clamp(min=0)
    return found / found.sum(-1, keepdim=True)
