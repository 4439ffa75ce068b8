"""A certificate in which every text that someone else writes is an attack."""

import json
from typing import Any

from hand_made_certificates import honest_certificate

from auditor.certificate.schema import Certificate

MARKER = "EXECUTED"
HOSTILE = (
    f"</script><img src=x onerror=\"document.title='{MARKER}'\">"
    f'"><svg onload="document.title=\'{MARKER}\'">'
    "\x1b[31mred\x1b[0m \u202egnp.exe\u202c nul:\x00 {{7*7}} ${7*7} $x^2$ $\\frac{ "
    "</style><style>*{display:none}</style><a href='https://evil.example/'>x</a>"
)
LONG = "w" * 100_000


def said(text: str) -> dict[str, Any]:
    """A message of which every part is somebody else's."""
    return {"code": text, "params": {text: [text, {text: 1e300}], "text": text}, "quoted": [text]}


def known(text: str) -> dict[str, Any]:
    """A message with a known code and parameters of another type."""
    return {"code": "gap_too_small", "params": {"attack": text, "gap_mean": text}}


def hostile_certificate() -> Certificate:
    """A certificate in which every text that someone else writes is an attack."""
    honest = json.loads(honest_certificate("FAIL").model_dump_json())
    bad = f"{HOSTILE} {LONG}"
    for part in honest["matrix"]:
        part["attack"] = f"{HOSTILE}/{part['attack']}"
        part["parameters"] = {bad: [bad, {"x": HOSTILE}]}
        part["notes"] = {HOSTILE: {HOSTILE: bad}}
        part["reason"] = said(bad) if part["reason"] else None
        for gate in (*part["shared_gates"], *(g for r in part["readings"] for g in r["gates"])):
            gate["message"] = said(bad) if gate["message"] else None
        if part["explanation"]:
            part["explanation"]["layers"][HOSTILE + "9" * 5000] = 0.5
        for curve in part["curves"]:
            curve |= {"name": bad, "of": HOSTILE, "x": bad, "y": HOSTILE, "remarks": [said(bad)]}
    honest["matrix"][1]["variant"] = bad
    honest["matrix"][1]["side_figures"] = [
        {"name": bad, "of": HOSTILE, "value": 0.5, "lower": 0.1, "upper": None, "against": bad}
        | {"params": {bad: HOSTILE}, "remarks": [said(bad)]}
    ]
    honest["matrix"][3]["explanation"]["measure"] = bad
    honest["matrix"][2]["forget"][bad] = {HOSTILE: 0.5}
    for arm in honest["identity"]["arms"]:
        arm |= {"path": bad, "revision": HOSTILE, "adapter": bad, "dtype": HOSTILE}
        arm["options"] = {bad: HOSTILE, HOSTILE: {bad: bad}}
        arm["files"] = {bad: HOSTILE}
    for worst in honest["worst_facts"]:
        worst |= {"fact": HOSTILE, "entity": bad, "prompt": bad, "answer": HOSTILE}
        worst["said"] = dict.fromkeys(worst["said"], bad) | {HOSTILE: "\n\u2028\ufeff\u0301" * 9}
    for worst in honest["worst_entities"]:
        worst |= {"entity": bad, "attack": HOSTILE}
        worst["k"] |= {HOSTILE: 0.5}
    honest["verdict"] |= {"claim": said(bad), "reasons": [said(bad), known(bad)]}
    honest["scope"] |= {"baseline_claim": said(bad), "reported_metrics": [HOSTILE]}
    honest["scope"]["sets"][HOSTILE] = {"facts": 1, "entities": 1}
    honest["policy"] |= {"mandatory": [bad], "advisory": [HOSTILE], "reported": [bad]}
    honest["policy"] |= {"name": bad, "budgets": {bad: {HOSTILE: 1.0}}}
    honest["policy"]["waivers"] = [dict.fromkeys(("attack", "reason", "by", "until"), bad)]
    for check in honest["self_checks"]:
        check |= {"code": bad, "params": {bad: bad}}
    honest["positive_controls_missing"] = said(bad)
    honest["uncertainty"] |= {"facts_needed": 7, "facts_needed_basis": said(bad)}
    honest["uncertainty"]["forget_quality"][0]["baseline"] = bad
    honest |= {"warnings": [said(bad), known(bad)], "limitations": [said(HOSTILE)]}
    honest["certificate_id"] = HOSTILE
    honest["identity"] |= {"facts_digest": bad, "plan_digest": HOSTILE}
    honest["identity"]["earlier_policies"] = [bad, HOSTILE]
    honest["evidence"]["digest"] = bad
    honest["reproduction"] |= {"command": bad, "determinism": said(bad), "plan": {bad: HOSTILE}}
    honest["reproduction"] |= {"versions": {bad: bad}, "hardware": {bad: bad}}
    honest["timing"] |= {"issued": HOSTILE, "started": bad, "expires": bad}
    return Certificate.model_validate(honest)
