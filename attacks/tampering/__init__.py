"""Tampering with weights, without data to relearn from (arXiv 2502.05209).

Noise, pruning and a step along the line to another model disturb what unlearning added; where
that was thin and the knowledge below it is not, the knowledge shows. A refusal that was put on
top can be taken out by itself.
"""
