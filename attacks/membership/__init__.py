"""Membership inference from a model's certainty.

Every score is compared with that of facts that no arm has ever seen (the holdout), within each
arm: K of a fact is the share of the holdout that it outscores, so 0.5 is chance.
"""
