"""Published TOFU logs, and arms with a known residual."""

import json
from pathlib import Path

import numpy as np
import pytest

from auditor.core.attack_id import AttackId
from auditor.core.roles import Role
from auditor.statistics import Arms, AttackEvidence, Reading, Utility

ROOT = Path(__file__).resolve().parents[3]
TOFU_LOGS = ROOT.parent / "shared" / "data" / "tofu" / "logs"
FORGET, RETAIN = "eval_log_forget.json", "eval_log.json"


class TofuLogs:
    """Per-fact figures of the four published Phi-1.5 models."""

    def __init__(self, folder: Path) -> None:
        self.logs = {
            name: json.loads((folder / f"ft_epoch5_lr2e-05_phi_{name}.json").read_text())
            for name in ("full_wd0.01", "full_wd0", "retain90_wd0.01", "retain90_wd0")
        }

    def figure(self, model: str, part: str, name: str) -> np.ndarray:
        values = self.logs[model][part][name]
        return np.array([np.mean(values[str(i)]) for i in range(len(values))])

    def knowledge(self, model: str, part: str = FORGET) -> np.ndarray:
        return np.exp(-self.figure(model, part, "avg_gt_loss"))

    def truth_ratio(self, model: str) -> np.ndarray:
        """Probability of wrong answers over that of the paraphrased true one."""
        wrong = self.figure(model, FORGET, "average_perturb_loss")
        return np.exp(self.figure(model, FORGET, "avg_paraphrased_loss") - wrong)

    def as_is(self, unlearned: str, *retrained: str) -> AttackEvidence:
        arms = Arms(
            self.knowledge(unlearned),
            self.knowledge("full_wd0.01"),
            np.stack([self.knowledge(name) for name in retrained or ("retain90_wd0.01",)]),
            tuple(str(i // 20) for i in range(300)),
        )
        return AttackEvidence(
            AttackId("none", ""), Role.MANDATORY, readings=(Reading(arms=arms),), baseline=True
        )

    def utility(self, unlearned: str) -> Utility:
        return Utility(self.knowledge(unlearned, RETAIN), self.knowledge("full_wd0.01", RETAIN))


@pytest.fixture(scope="session")
def tofu() -> TofuLogs:
    if not TOFU_LOGS.is_dir():
        pytest.skip(f"the published TOFU logs are not at {TOFU_LOGS}")
    return TofuLogs(TOFU_LOGS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The full grid takes ten minutes: it runs only where `-m grid` asks for it."""
    if "grid" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("grid"):
            item.add_marker(pytest.mark.skip(reason="the full grid runs with `pytest -m grid`"))
