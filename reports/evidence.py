"""Page of an audit's evidence: facts by attacks by models."""

import json

from markupsafe import Markup

from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.text_safety import inline
from auditor.policy import AS_IS
from auditor.viewer.evidence import EvidenceIndex
from auditor.viewer.pages import Beside, EvidenceData
from reports.arms import meaning
from reports.page import environment, own, stylesheet
from reports.plain_names import plain_name

_SCRIPT, _STYLE = "evidence/evidence.js", "evidence/evidence.css"


def evidence(index: EvidenceIndex, beside: Beside, data: EvidenceData) -> str:
    """Returns the page."""
    return (
        environment()
        .get_template("evidence.html.j2")
        .render(
            index=index,
            beside=beside,
            data=data,
            embedded=_embedded(index, data),
            script=evidence_script(),
            style=own(_STYLE),
            stylesheet=stylesheet(),
        )
    )


def evidence_script() -> Markup:
    """Returns the script of the page."""
    return own(_SCRIPT)


def _embedded(index: EvidenceIndex, data: EvidenceData) -> Markup:
    """Returns what the script begins with, as JSON.

    Nothing in it can end its element.
    """
    attacks = [AttackId.parse(label) for label in index.attacks]
    as_is = [place for place, attack in enumerate(attacks) if attack.name == AS_IS]
    content = {
        "folder": data.folder,
        "scripts": data.scripts,
        "sets": [{"name": name, "facts": count} for name, count in index.facts.items()],
        "attacks": [
            {
                "label": inline(attack.label, 120),
                "family": inline(attack.family, 60),
                "plain": inline(plain_name(attack.label).text, 200),
                "leading": leading,
            }
            for attack, leading in zip(attacks, index.leading, strict=True)
        ],
        "arms": [
            {
                "name": str(arm),
                "title": inline(str(arm), 60),
                "short": _short(arm),
                "meaning": inline(meaning(arm), 120),
                "baseline": arm.is_retrained,
            }
            for arm in index.arms
        ],
        "metrics": [inline(metric, 60) for metric in index.metrics],
        "atOnce": index.at_once,
        "asIs": as_is[0] if as_is else None,
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - nothing in it can end the element


def _short(arm: Arm) -> str:
    """Returns the arm in two or three characters, for a narrow column."""
    number = "" if arm.number is None else str(arm.number)
    first = {"unlearned": "U", "original": "O", "reference": "F"}.get(
        arm.model.partition("-")[0], "R"
    )
    return f"{arm.world[:1]}{first}{number}"
