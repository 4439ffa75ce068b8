"""Telling what a model was trained on from how sure it is of it.

Every score is compared with that of facts that no arm has ever seen (the holdout), within each
arm: K of a fact is the share of the holdout that it outscores, so 0.5 is chance.
"""

from attacks.membership.denoising_loss import DenoisingLoss
from attacks.membership.gradient_norm import GradientNorm
from attacks.membership.likelihood import Likelihood
from attacks.membership.neighbourhood import Neighbourhood

__all__ = ["DenoisingLoss", "GradientNorm", "Likelihood", "Neighbourhood"]
