"""Certificates of schema 3 (releases before 0.2) in today's form.

Their sentences become messages with the code ``text``, so that they can still be shown; threat
models, which the installed attacks describe, are left out. What is not in them (the spread between
three or more retrained models, the parameters of messages) is missing afterwards, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from auditor.certificate.schema import SCHEMA_VERSION, arm_options
from auditor.core.aliases import (
    CONTROLS,
    NOTES,
    attack_id,
    attack_label,
    attack_parameters,
    renamed,
)
from auditor.core.arms import Arm
from auditor.core.messages import TEXT, plain, written
from auditor.models.kind import default_kind
from auditor.statistics.seeds import SEEDS_FOR_SPREAD

MAJOR = "3"
"""Major version of the schema that is read here."""

Table = Mapping[str, Any]

_NOT_RUN = "planted suppression"
"""Name of the control that said that no positive controls were made."""
_FOUND = ": finds a planted suppression"
_OF_GATES = (
    ": tells the original from the retrained models",
    ": retrained models pass against each other",
)
"""Ends of the names of controls that repeated a gate."""
_FIGURES = (
    "facts",
    "units",
    "gap_mean",
    "gap_lower",
    "gap_required",
    "rho",
    "rho_lower",
    "rho_lower_shared",
    "rho_upper",
    "log_e_pass",
    "log_e_fail",
    "log_e_over",
)
"""Figures that have the same name today."""
_OF_A_METRIC = ("measured", "sensitivity", "residual", "leak_rate", "baseline_noise")
"""Gates that are about what a metric read."""
_MEASURES = {"code-flip share": "code_flip_share"}
_CURVES = {"learning curve": "learning_curve", "ROC": "roc"}
"""Codes of curves by their former name. Curves of other names are shown as they were written."""


def converted(content: Table) -> dict[str, Any]:
    """Return a certificate of schema 3 in today's form.

    It keeps the id that it was made with.

    Args:
        content: what JSON held.

    Raises:
        KeyError, TypeError, ValueError: it does not have the form of schema 3.
    """
    _only(
        content,
        *("schema_version", "certificate_id", "verdict", "identity", "scope", "policy", "matrix"),
        *("controls", "utility", "uncertainty", "positive_controls", "worst_subjects"),
        *("worst_facts", "exhibits", "redaction", "evidence", "warnings", "limitations"),
        *("reproduction", "timing"),
    )
    controls = [_only(each, "name", "passed", "sentence") for each in content["controls"]]
    seeds = sum(Arm(arm["arm"]).is_retrained for arm in content["identity"]["arms"])
    scope = content["scope"]
    exhibits = content.get("exhibits")
    return {
        "schema_version": SCHEMA_VERSION,
        "certificate_id": content["certificate_id"],
        "verdict": _texts(content["verdict"], "claim", "reasons"),
        "identity": _identity(content["identity"], content["reproduction"]["plan"]),
        "scope": _scope(scope),
        "policy": _policy(content["policy"]),
        "matrix": [_row(row, content["policy"], seeds) for row in content["matrix"]],
        "self_checks": list(_self_checks(controls)),
        "utility": _utility(content["utility"], scope),
        "uncertainty": _texts(content["uncertainty"], "facts_needed_basis"),
        "positive_controls": [
            _positive_control(part, controls) for part in content["positive_controls"]
        ],
        "positive_controls_missing": _not_run(controls),
        "worst_entities": [_example(each, scope) for each in content["worst_subjects"]],
        "worst_facts": [_example(each, scope) for each in content["worst_facts"]],
        "image_examples": None if exhibits is None else _image_examples(exhibits),
        "redaction": content["redaction"],
        "evidence": content["evidence"],
        "warnings": [_text(each) for each in content["warnings"]],
        "limitations": [_text(each) for each in content["limitations"]],
        "reproduction": _texts(content["reproduction"], "determinism"),
        "timing": _timing(content["timing"]),
        "converted_from": content["schema_version"],
    }


def _only(table: Table, *names: str) -> Table:
    """Return a table if it has no other entries.

    Nothing that a certificate says is passed over.
    """
    if not isinstance(table, Mapping):
        raise TypeError(f"{type(table).__name__} where a table is expected")
    if unknown := sorted(set(table) - set(names)):
        raise ValueError(f"unknown entries {unknown}")
    return table


def _text(text: Any) -> Any:
    """A sentence as a message; null stays."""
    return None if text is None else plain(written(_string(text)))


def _string(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{type(text).__name__} where a text is expected")
    return text


def _texts(table: Table, *names: str) -> dict[str, Any]:
    """A table with sentences as messages."""
    changed = {
        name: [_text(each) for each in table[name]]
        if isinstance(table[name], list)
        else _text(table[name])
        for name in names
    }
    return {**table, **changed}


def _identity(identity: Table, plan: Table) -> dict[str, Any]:
    _only(
        identity,
        *("arms", "facts_digest", "plan_digest", "policy_digest", "earlier_policies"),
        "instruments",
    )
    changed = {name: value for name, value in identity.items() if name != "instruments"}
    unlearned = plan.get("unlearned")
    kind = unlearned.get("kind") if isinstance(unlearned, Mapping) else None
    return {
        **changed,
        "kind": kind or default_kind().name,
        "arms": [_arm(arm) for arm in identity["arms"]],
        "auxiliary_inputs": identity.get("instruments"),
    }


def _arm(arm: Table) -> dict[str, Any]:
    _only(
        arm,
        *("arm", "path", "revision", "adapter", "dtype", "digest", "files"),
        *("replacement", "sampling"),
    )
    own = {name: arm[name] for name in arm if name not in ("replacement", "sampling")}
    options = {name: arm.get(name) for name in ("replacement", "sampling")}
    return {**own, "options": arm_options(options)}


def _scope(scope: Table) -> dict[str, Any]:
    _only(
        scope,
        *("scope", "statement", "sets", "primary_probe", "reported_probes", "baseline_claim"),
        "threats",
    )
    _string(scope["statement"])
    return {
        "scope": scope["scope"],
        "sets": {
            name: {"facts": size["facts"], "entities": _only(size, "facts", "subjects")["subjects"]}
            for name, size in scope["sets"].items()
        },
        "primary_metric": scope["primary_probe"],
        "reported_metrics": scope["reported_probes"],
        "baseline_claim": _text(scope["baseline_claim"]),
    }


def _policy(policy: Table) -> dict[str, Any]:
    roles = ("mandatory", "advisory", "reported")
    return {**policy, **{role: [attack_label(each) for each in policy[role]] for role in roles}}


def _row(row: Table, policy: Table, seeds: int) -> dict[str, Any]:
    _only(
        row,
        *("attack", "variant", "mandatory", "waived", "reported", "status", "reason", "probe"),
        *("parameters", "named", "over_forgotten", "gates", "figures", "forget", "retain"),
        *("holdout", "explanation", "side_figures", "curves", "distribution", "notes"),
        *("forward_tokens", "jobs"),
    )
    current = attack_id(row["attack"], row["variant"])
    explanation = row["explanation"]
    return {
        "attack": current.name,
        "variant": current.variant,
        "role": _role(row),
        "status": row["status"],
        "reason": _text(row["reason"]),
        "parameters": attack_parameters(current.name, row["parameters"]),
        "named": row["named"],
        "over_forgotten": row["over_forgotten"],
        **_readings(row, policy, seeds),
        "forget": row["forget"],
        "retain": row["retain"],
        "holdout": row["holdout"],
        "explanation": None if explanation is None else _explanation(explanation),
        "side_figures": [_side_figure(figure) for figure in row["side_figures"]],
        "curves": [_curve(curve) for curve in row["curves"]],
        "notes": {arm: renamed(notes, NOTES) for arm, notes in row["notes"].items()},
        "forward_tokens": row["forward_tokens"],
        "jobs": row["jobs"],
    }


def _readings(row: Table, policy: Table, seeds: int) -> dict[str, Any]:
    """Return the reading of the metric that decided.

    The gates that are not its own are returned as well.
    """
    figures = row["figures"]
    gates = [
        {"name": g["name"], "met": g["met"], "message": _text(g["sentence"])}
        for g in (_only(gate, "name", "met", "sentence") for gate in row["gates"])
    ]
    own = [g for g in gates if figures is not None and g["name"] in _OF_A_METRIC]
    return {
        "readings": [
            {
                "metric": row["probe"],
                "figures": None if figures is None else _figures(figures, policy, seeds),
                "gates": own,
                "counts": figures is not None and figures["gap_lower"] >= policy["minimum_gap"],
                "distribution": row["distribution"],
            }
        ],
        "shared_gates": [gate for gate in gates if gate not in own],
    }


def _role(row: Table) -> str:
    roles = [role for role in ("mandatory", "waived", "reported") if row[role]]
    if len(roles) > 1 or not all(isinstance(row[r], bool) for r in ("mandatory", "waived")):
        raise ValueError(f"{row['attack']} has the roles {', '.join(roles)}")
    return roles[0] if roles else "advisory"


def _figures(figures: Table, policy: Table, seeds: int) -> dict[str, Any]:
    leak = ("leaked", "eligible", "leak_rate", "leak_upper")
    _only(figures, *_FIGURES, *leak)
    known = seeds < SEEDS_FOR_SPREAD
    return {
        **{name: figures[name] for name in _FIGURES},
        "leak": {
            "leaked": figures["leaked"],
            "eligible": figures["eligible"],
            "rate": figures["leak_rate"],
            "upper": figures["leak_upper"],
        },
        "leak_count": None,
        "spread": {
            "seeds": seeds,
            "s_rho": None,
            "shrinkage": 0.0 if known else None,
            "delta": policy["delta"] if known else None,
            "alpha": policy["alpha"] if known else policy["alpha"] / 2,
        },
        "self_test": [],
    }


def _explanation(explanation: Table) -> dict[str, Any]:
    measure = _only(explanation, "measure", "overall", "layers")["measure"]
    return {**explanation, "measure": _MEASURES.get(measure, measure)}


def _remarks(remark: Any) -> list[Any]:
    return [] if remark is None else [_text(remark)]


def _side_figure(figure: Table) -> dict[str, Any]:
    _only(figure, "name", "of", "value", "lower", "upper", "remark")
    arm, against, other = figure["of"].partition(" against ")
    return {
        "name": figure["name"],
        "of": arm,
        "against": other if against else None,
        "value": figure["value"],
        "lower": figure["lower"],
        "upper": figure["upper"],
        "params": {},
        "remarks": _remarks(figure["remark"]),
    }


def _curve(curve: Table) -> dict[str, Any]:
    _only(curve, "name", "of", "x", "y", "points", "remark")
    return {
        **{name: curve[name] for name in ("of", "x", "y", "points")},
        "name": _CURVES.get(curve["name"], curve["name"]),
        "params": {},
        "remarks": _remarks(curve["remark"]),
    }


def _self_checks(controls: Sequence[Table]) -> list[dict[str, Any]]:
    """Return the attacks' checks of their own evidence.

    They are the controls that are neither a gate nor a positive control.
    """
    return [
        {
            "code": TEXT,
            "passed": control["passed"],
            "params": {"name": _string(control["name"]), "text": _string(control["sentence"])},
            "quoted": [],
        }
        for control in controls
        if control["name"] != _NOT_RUN and not control["name"].endswith((*_OF_GATES, _FOUND))
    ]


def _not_run(controls: Sequence[Table]) -> Any:
    return next((_text(c["sentence"]) for c in controls if c["name"] == _NOT_RUN), None)


def _positive_control(part: Table, controls: Sequence[Table]) -> dict[str, Any]:
    _only(part, "attack", "must_find", "partial", "hidden", "hidden_missing")
    label = part["attack"]
    said = next((c for c in controls if c["name"] == f"{label}{_FOUND}"), None)
    if said is None:
        raise ValueError(f"no control says what {label} found")
    return {
        "attack": attack_label(label),
        "required": CONTROLS[part["must_find"]],
        "found": said["passed"],
        "message": _text(said["sentence"]),
        "visible": _control_model(part["partial"]),
        "obfuscated": None if part["hidden"] is None else _control_model(part["hidden"]),
        "missing": _text(part["hidden_missing"]),
    }


def _control_model(model: Table) -> dict[str, Any]:
    return {**model, "kind": CONTROLS[model["kind"]]}


def _utility(utility: Table, scope: Table) -> dict[str, Any] | None:
    _only(
        utility,
        *("state", "sentence", "facts", "mean_unlearned", "mean_original"),
        *("log_e_kept", "log_e_lost"),
    )
    if utility["state"] == "not measured":
        return None
    sampled = scope["scope"] == "sampled"
    return {
        **{name: value for name, value in utility.items() if name != "sentence"},
        "units": scope["sets"]["retain"]["subjects"] if sampled else utility["facts"],
    }


def _example(example: Table, scope: Table) -> dict[str, Any]:
    """Return a fact or an entity and its strongest attack.

    It is the attack that brings out most of it.
    """
    strongest = {"attack": attack_label(example["attack"]), "metric": scope["primary_probe"]}
    return {**_entity(example), **strongest}


def _entity(example: Table) -> dict[str, Any]:
    changed = {name: value for name, value in example.items() if name != "subject"}
    return {**changed, "entity": example["subject"]}


def _image_examples(exhibits: Table) -> dict[str, Any]:
    def view(shown: Table) -> dict[str, Any]:
        return {**shown, "attack": attack_label(shown["attack"])}

    facts = [{**_entity(f), "views": [view(v) for v in f["views"]]} for f in exhibits["facts"]]
    return {**exhibits, "facts": facts}


def _timing(timing: Table) -> dict[str, Any]:
    seconds = {attack_label(label): taken for label, taken in timing["attack_seconds"].items()}
    return {**timing, "attack_seconds": seconds}
