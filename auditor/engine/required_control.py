"""Kinds of positive control that attacks are held to in an audit."""

from auditor.attack import AnyAttack
from auditor.core.roles import ControlKind
from auditor.engine.plan import AuditPlan
from auditor.metrics.metric import find_metric
from auditor.policy import AS_IS


def required_control(attack: AnyAttack, plan: AuditPlan) -> ControlKind:
    """Return the kind of control that an audit holds an attack to.

    It is the attack's own, but for the model as it is: what is said in other words is found by the
    metrics, and only where one of the deciding ones reads what is said.
    """
    if attack.name == AS_IS and spoken_metrics(plan):
        return "wording"
    return attack.required_control


def spoken_metrics(plan: AuditPlan) -> tuple[str, ...]:
    """Return the further deciding metrics that read written answers."""
    reads = plan.kind.answers
    others = [name for name in plan.metrics.deciding if name != plan.metrics.primary]
    return tuple(name for name in others if find_metric(name, reads).generates)
