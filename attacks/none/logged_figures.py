"""Published figures of whole logs, which decide nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from auditor.core.arms import Arm
from auditor.core.findings import SideFigure
from auditor.core.messages import Message, message

_NOTE = "log"
"""Name under which a measurement notes the figures of its log."""
_PITFALLS: Mapping[str, Message] = {
    "model_utility": message("mean_of_nine_hides_any"),
    "model_utility_of_nine": message("mean_of_nine_hides_any"),
    "truth_ratio": message("truth_ratio_moves_with_wording"),
    "privleak": message("published_privleak"),
    "forget_quality": message("forget_quality_of_the_log"),
    "extraction_strength": message("other_definition_in_the_log"),
    "exact_memorization": message("other_definition_in_the_log"),
}


def logged_figures(notes: Mapping[str, Mapping[str, Any]]) -> Iterator[SideFigure]:
    """Yield the figures of each arm's log, and PrivLeak.

    PrivLeak (MUSE, arXiv 2407.06460) is the change of an area under the curve relative to that of a
    retrained model, in per cent.

    Args:
        notes: Arm to what its measurement noted.
    """
    held = {arm: note[_NOTE] for arm, note in notes.items() if _NOTE in note}
    for arm, log in held.items():
        for name, value in sorted(log["figures"].items()):
            yield SideFigure(
                "logged_figure",
                arm,
                value,
                params={"figure": name},
                remarks=(_PITFALLS[name],) if name in _PITFALLS else (),
            )
    areas = {arm: log["auc"] for arm, log in held.items()}
    mine = areas.get(Arm.UNLEARNED, {})
    for arm, theirs in areas.items():
        if not Arm(arm).is_retrained:
            continue
        for attack in sorted(mine.keys() & theirs.keys()):
            if theirs[attack] > 0:
                yield SideFigure(
                    "logged_privleak",
                    Arm.UNLEARNED,
                    100 * (mine[attack] - theirs[attack]) / theirs[attack],
                    against=arm,
                    params={"attack": attack},
                    remarks=(message("privleak_in_percent"),),
                )
