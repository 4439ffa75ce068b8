"""What decides a verdict: written down, and hashed, before the unlearned model is opened."""

from auditor.policy.demands import (
    Demand,
    check_expired,
    check_expired_waiver,
    demands,
    matching,
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
    "check_expired",
    "check_expired_waiver",
    "demands",
    "load_policy",
    "matching",
    "parse_policy",
    "ready_made",
    "shortfall",
    "unmet",
    "waived",
]
