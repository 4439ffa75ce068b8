"""Teacher-forced log-probabilities, with hidden states replaced on the way."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import torch

from auditor.models.batching import run_batched
from auditor.models.causal_lm.hidden_states import States, changed, decoder_layers
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.prompting import Encoded
from auditor.models.language.scoring import token_scores


def log_probabilities(
    model: CausalLM,
    items: Sequence[Encoded],
    layer: int | None = None,
    states: Sequence[States] = (),
) -> npt.NDArray[np.float64]:
    """Mean log-probability per answer token of each item, in nats.

    Args:
        model: model that answers.
        items: token ids, and the positions of the answer's tokens (each at least 1).
        layer: 1 to L: the decoder layer whose output is replaced; by default nothing is.
        states: for each item what is put there, [answer tokens, width], at the positions that
            predict the answer's tokens.

    Raises:
        MeasurementError: the logits are not finite.
    """
    modules = decoder_layers(model.network)

    def run(batch: list[int]) -> list[float]:
        part = [items[i] for i in batch]
        rows = [row for row, item in enumerate(part) for _ in item.answer]
        places = [place - 1 for item in part for place in item.answer]

        def replace(stream: torch.Tensor) -> torch.Tensor:
            given = torch.from_numpy(np.concatenate([states[i] for i in batch]))
            replaced = stream.clone()
            replaced[rows, places] = given.to(stream.device, stream.dtype)
            return replaced

        patched = nullcontext() if layer is None else changed(modules[layer - 1], replace)
        with torch.inference_mode(), patched:
            scores = token_scores(model.answer_logits(part))
        return [score.mean_log_probability for score in scores]

    return np.array(run_batched([len(i.ids) for i in items], model.token_budget, run))
