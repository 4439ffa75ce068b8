"""Policies, which decide a verdict.

A policy is written down, and hashed, before the unlearned model is opened.
"""

from auditor.policy.demands import (
    Demand,
    audited_too_often,
    check_expired,
    check_expired_waiver,
    demands,
    lacking_metrics,
    matching,
    renamed,
    shortfall,
    unmet,
    unmet_numbers,
    waived,
)
from auditor.policy.deployments import (
    DEPLOYMENTS,
    check_deployments,
    deployed,
    deployed_levels,
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
    "DEPLOYMENTS",
    "Assigned",
    "Demand",
    "Policy",
    "Waiver",
    "assign_roles",
    "audited_too_often",
    "check_borrowed_name",
    "check_deployments",
    "check_expired",
    "check_expired_waiver",
    "demands",
    "deployed",
    "deployed_levels",
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
    "unmet_numbers",
    "waived",
]
