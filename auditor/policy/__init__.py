"""What decides a verdict: written down, and hashed, before the unlearned model is opened."""

from auditor.policy.demands import (
    Demand,
    demands,
    matching,
    refuse_expired,
    refuse_expired_waiver,
    shortfall,
    unmet,
    waived,
)
from auditor.policy.files import load_policy, parse_policy, ready_made
from auditor.policy.policy import AS_IS, Policy, Waiver

__all__ = [
    "AS_IS",
    "Demand",
    "Policy",
    "Waiver",
    "demands",
    "load_policy",
    "matching",
    "parse_policy",
    "ready_made",
    "refuse_expired",
    "refuse_expired_waiver",
    "shortfall",
    "unmet",
    "waived",
]
