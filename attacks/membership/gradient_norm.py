"""Membership by the norm of a text's loss gradient."""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from pydantic import Field

from attacks.membership.blind_baseline import blind_baseline
from attacks.membership.family import MembershipAttack, MembershipParameters, Scores
from attacks.membership.scored_texts import ScoredTexts
from auditor.attack import AttackContext, Footprint, Preset, Requirements, attack
from auditor.core.records import Record
from auditor.models.language.model import LanguageModel

_TOKENS = 64
"""Tokens of a text and its prompt, for the estimate of the need."""


class GradientNormParameters(MembershipParameters):
    """Settings of the gradient norm."""

    order: float = Field(default=2.0, ge=1)
    """Order p of the p-norm that is taken of each parameter's gradient."""


@attack("membership/gradient-norm")
class GradientNorm(MembershipAttack[GradientNormParameters]):
    """Membership by the norm of the loss's gradient."""

    summary = "Rank the forget facts among unseen ones by the norm of their loss's gradient."
    details = """
    What was fitted has a small gradient. The score is minus the mean over all parameters of the
    norm of the gradient of the text's loss, as MIMIR has it (open-unlearning: without the
    minus).

    K = share of the holdout facts that the fact outscores on the same arm, ties half; 0.5 is
    chance. See `membership/likelihood` for how placements are to be read.
    """
    threat_model = "An attacker or auditor with the weights and a guess at the text."
    access = "Gradients."
    cost = (
        "A forward and a backward pass for each forget and holdout fact, one at a time; a copy "
        "of the weights and of their gradients."
    )
    leak = "Forget facts have smaller gradients, among unseen ones, than on a retrained model."
    source = "arXiv 2312.03262 compares it; implemented as in MIMIR (arXiv 2402.07841)."

    parameters_type = GradientNormParameters
    presets = (Preset("p = 2", {"order": 2.0}),)
    requires = Requirements(packages=("sklearn",), full_precision=True)

    @property
    def variant(self) -> str:
        """The order of the norm."""
        return self.named_by_text(f"p = {self.parameters.order:g}")

    @property
    def footprint(self) -> Footprint:
        """One matrix's gradient at a time; the embeddings' is the largest."""
        return Footprint(embeddings=2.0, backward=_TOKENS)

    def forward_tokens(self, evaluation: int) -> int:
        """Forward and backward over both sets."""
        return 3 * evaluation

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """A gradient for each text.

        Raises:
            UnavailableError: there is no holdout set.
        """
        sets = context.facts
        texts = ScoredTexts(sets, self.parameters.text)
        norms = gradient_norms(
            model,
            [texts.pair(fact) for fact in (*sets.forget, *sets.holdout)],
            self.parameters.order,
        )
        scores = Scores(-norms[: len(sets.forget)], -norms[len(sets.forget) :])
        notes = {"blind": blind_baseline(sets, texts)}
        return self.record(sets.forget, sets.holdout, [scores], notes)


def gradient_norms(
    model: LanguageModel, pairs: Sequence[tuple[str, str]], order: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Mean over parameters of the norm of each text's gradient, [n].

    Args:
        model: model whose weights are asked; they stay what they were.
        pairs: what is given and what the loss is over.
        order: order of the norm.
    """
    found: list[torch.Tensor] = []

    def read(parameter: torch.Tensor) -> None:
        """Keep the norm and let the gradient go."""
        if parameter.grad is not None:
            norm = torch.linalg.vector_norm(parameter.grad, order, dtype=torch.float32)
            found.append(norm.cpu())
            parameter.grad = None

    norms = []
    with model.unchanged_weights() as network, ExitStack() as hooks:
        for parameter in network.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
            if parameter.requires_grad:
                handle = parameter.register_post_accumulate_grad_hook(read)
                hooks.callback(handle.remove)
        for item in model.encode(pairs):
            found.clear()
            model.loss([item]).backward()  # type: ignore[no-untyped-call]
            norms.append(float(torch.stack(found).double().mean()))
    return np.array(norms)
