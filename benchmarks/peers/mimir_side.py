"""MIMIR's attacks in MIMIR's own loop (`run.py` of its repository).

The reference model's key is made with an f-string of a member of a mixed-in enumeration. Since
Python 3.11 that is the member's name, no longer its value, and MIMIR's loop would then score the
reference twice; the former behaviour is put back, so that MIMIR does no more than it was made for.
"""

import numpy as np
import run as mimir_run
import torch
from mimir.attacks.all_attacks import AllAttacks
from mimir.config import EnvironmentConfig, ExperimentConfig, ReCaLLConfig, ReferenceConfig
from mimir.models import LanguageModel, ReferenceModel

from benchmarks.peers.clock import Answer, Request, answer, timed

ATTACKS = ["loss", "zlib", "min_k", "min_k++", "recall", "gradnorm"]
"""Attacks of MIMIR that need nothing from the network, besides the reference."""
WHITE_BOX = "gradnorm"
"""The one that needs gradients; the configurations that come with MIMIR leave it out."""


def work(request: Request) -> Answer:
    """Score members and nonmembers; with ``metrics`` once, and with the figures of the attacks.

    Without, the loop is timed without the gradient norm first.
    """
    torch.set_num_threads(1)
    AllAttacks.__format__ = lambda self, spec: format(self.value, spec)
    with timed() as opening:
        config = _config(request, ATTACKS)
        target = LanguageModel(config)
        target.load()
        references = {"reference": ReferenceModel(config, request["reference"])}
    found: Answer = {"opening": opening}
    if not request["metrics"]:
        _scores(request, target, references, config, 2)  # what the first call sets up
        black_box = _config(request, [name for name in ATTACKS if name != WHITE_BOX])
        with timed() as found["black_box"]:
            _scores(request, target, references, black_box, None)
    with timed() as found["scoring"]:
        predictions, samples = _scores(request, target, references, config, None)
    found |= {
        "scores": {
            name.split("-")[0]: [float(s) for part in predictions for s in part[name]]
            for name in predictions[0]
        },
    }
    if request["metrics"]:
        mimir_run.config = config
        with timed() as found["metrics"]:
            outputs = mimir_run.compute_metrics_from_scores(
                *predictions, *samples, n_samples=len(samples[0])
            )
        found["auc"] = {key: float(o["metrics"]["roc_auc"]) for key, o in outputs.items()}
    return found


def _scores(
    request: Request,
    target: LanguageModel,
    references: dict[str, ReferenceModel],
    config: ExperimentConfig,
    first: int | None,
) -> tuple[list[dict[str, list[np.floating]]], list[list[str]]]:
    """Scores of members, then of nonmembers, by MIMIR's loop."""
    attackers = mimir_run.get_attackers(target, references, config)
    predictions, samples = [], []
    for name in ("members", "nonmembers"):
        scored, texts = mimir_run.get_mia_scores(
            {"records": request[name][:first]},
            attackers,
            None,
            target,
            references,
            config,
            is_train=name == "members",
            nonmember_prefix=[request["prefix"]],
        )
        predictions.append(scored)
        samples.append(texts)
    return predictions, samples


def _config(request: Request, attacks: list[str]) -> ExperimentConfig:
    return ExperimentConfig(
        experiment_name="peers",
        base_model=request["model"],
        dataset_member="given",
        dataset_nonmember="given",
        blackbox_attacks=attacks,
        n_samples=len(request["members"]),
        ref_config=ReferenceConfig(models=[request["reference"]]),
        recall_config=ReCaLLConfig(num_shots=1),
        env_config=EnvironmentConfig(device="cpu", device_aux="cpu", compile=False),
    )


if __name__ == "__main__":
    answer(work)
