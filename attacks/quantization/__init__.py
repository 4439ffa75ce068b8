"""Rounding the weights, as deployers do (arXiv 2410.16454).

Small updates of unlearning can vanish when weights are rounded: where the rounded weights of the
unlearned and the original model agree, what was removed is back.
"""
