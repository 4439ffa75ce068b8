"""Policies, which decide a verdict.

A policy is written down, and hashed, before the unlearned model is opened.
"""

from auditor.policy.demands import (
    Demand,
    check_expired,
    check_expired_waiver,
    demands,
    lacking_metrics,
    matching,
    renamed,
    shortfall,
    unmet,
    waived,
)
from auditor.policy.files import (
    check_borrowed_name,
    is_ready_made,
    load_policy,
    names_file,
    parse_policy,
    ready_made,
)
from auditor.policy.policy import AS_IS, Policy, Waiver
from auditor.policy.roles import Assigned, assign_roles

__all__ = [
    "AS_IS",
    "Assigned",
    "Demand",
    "Policy",
    "Waiver",
    "assign_roles",
    "check_borrowed_name",
    "check_expired",
    "check_expired_waiver",
    "demands",
    "is_ready_made",
    "lacking_metrics",
    "load_policy",
    "matching",
    "names_file",
    "parse_policy",
    "ready_made",
    "renamed",
    "shortfall",
    "unmet",
    "waived",
]
