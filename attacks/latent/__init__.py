"""Reading hidden states: knowledge that the model holds and does not say.

K of these attacks is a measure of their own, on another scale than the audit's probes. They are
never mandatory: what can be read out of a layer with training is more than what a user gets.
"""

from attacks.latent.activation_patching import ActivationPatching
from attacks.latent.linear_readout import LinearReadout

__all__ = ["ActivationPatching", "LinearReadout"]
