"""Teaching the model again, a little, and asking for what it was not taught.

Fine-tuning that could not put the knowledge there, because it holds none of it, shows what was
in the weights all along; where the forgotten facts themselves are taught, the speed does.
"""

from attacks.relearning.benign import Benign
from attacks.relearning.held_out_facts import HeldOutFacts
from attacks.relearning.same_facts import SameFacts
from attacks.relearning.unet import UNetRelearning

__all__ = ["Benign", "HeldOutFacts", "SameFacts", "UNetRelearning"]
