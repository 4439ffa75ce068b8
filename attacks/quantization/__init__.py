"""Rounding the weights, as deployers do (arXiv 2410.16454).

Small updates of unlearning can vanish when weights are rounded: where the rounded weights of the
unlearned and the original model agree, what was removed is back.
"""

from attacks.quantization.awq import AWQ
from attacks.quantization.bnb import BitsAndBytes
from attacks.quantization.gptq import GPTQ
from attacks.quantization.rtn import RoundToNearest
from attacks.quantization.torchao_weight_only import TorchAO
from attacks.quantization.unet import UNetQuantization

__all__ = ["AWQ", "GPTQ", "BitsAndBytes", "RoundToNearest", "TorchAO", "UNetQuantization"]
