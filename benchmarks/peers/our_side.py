"""This project's side: the same scores, searches and audit, by the functions that attacks call."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from attacks.membership import reference_models, token_likelihood
from attacks.membership.gradient_norm import gradient_norms
from attacks.membership.recall_prefix import RecallPrefix
from attacks.membership.scored_texts import ScoredTexts
from attacks.prompting.coordinate_search import GCGParameters, search_suffix
from attacks.prompting.suffix_text import allowed_tokens
from auditor.api.auditing import audit
from auditor.core.facts import Fact, FactSets
from auditor.core.quiet import quiet_libraries
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import locate
from benchmarks import scoring_cost
from benchmarks.peers.clock import Answer, Request, answer, timed

SHARE = 0.2
"""k of Min-K% and Min-K%++, MIMIR's own."""


def opened(path: str) -> CausalLM:
    """A model with its weights loaded."""
    spec = CausalLMSpec(path=path, dtype="float32")
    subject = CausalLM(spec, locate(spec))
    subject.network  # noqa: B018 - loads the weights
    return subject


def fact_sets(members: list[str], nonmembers: list[str]) -> FactSets:
    """Texts as facts, each of an entity of its own; a passage is scored as it stands."""
    forget, holdout = (
        tuple(Fact(id=f"{n}{i}", entity=f"{n}{i}", prompt=n, answer=t, text=t) for i, t in given)
        for n, given in (("m", enumerate(members)), ("n", enumerate(nonmembers)))
    )
    return FactSets(forget=forget, holdout=holdout)


def membership(request: Request) -> Answer:
    """Every score that MIMIR's side computes, as `Likelihood` and `GradientNorm` do.

    ``black_box`` is the time without the gradient norm.
    """
    subject, reference = opened(request["model"]), opened(request["reference"])
    sets = fact_sets(request["members"], request["nonmembers"])
    few = fact_sets(request["members"][:2], request["nonmembers"][-10:])
    _scores(subject, reference, few)  # what the first call sets up
    _gradients(subject, few)
    with timed() as black_box:
        _scores(subject, reference, sets)
    with timed() as scoring:
        scores = {**_scores(subject, reference, sets), **_gradients(subject, sets)}
    return {
        "black_box": black_box,
        "scoring": scoring,
        "scores": {name: list(map(float, s)) for name, s in scores.items()},
    }


def _scores(
    subject: CausalLM, reference: CausalLM, sets: FactSets
) -> dict[str, list[float] | np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Scores by MIMIR's names; higher is more of a member."""
    texts = ScoredTexts(sets, "passage")
    facts = (*sets.forget, *sets.holdout)
    alone = texts.score(subject, facts)
    after = texts.score_after(subject, facts, RecallPrefix(texts, sets, 1).text)
    known = texts.score(reference, facts)
    own, out = (np.array([s.mean_log_probability for s in each]) for each in (alone, known))
    both = zip(alone, after, strict=True)
    return {
        "loss": [token_likelihood.loss(s) for s in alone],
        "zlib": [
            token_likelihood.zlib_ratio(s, texts.scored(f))
            for s, f in zip(alone, facts, strict=True)
        ],
        "min_k": [token_likelihood.min_k(s, SHARE) for s in alone],
        "min_k++": [token_likelihood.min_k_plus_plus(s, SHARE) for s in alone],
        "recall": [token_likelihood.recall(one, other) for one, other in both],
        "ref": reference_models.ratio(own, out[None]),
    }


def _gradients(
    subject: CausalLM, sets: FactSets
) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    texts = ScoredTexts(sets, "passage")
    pairs = [texts.pair(fact) for fact in (*sets.forget, *sets.holdout)]
    return {"gradnorm": -gradient_norms(subject, pairs, math.inf)}


def search(request: Request) -> Answer:
    """Suffixes by greedy coordinate gradient: for each prompt one, or one for all together."""
    subject = opened(request["model"])
    rows = subject.network.get_input_embeddings().weight.shape[0]
    allowed = allowed_tokens(subject.tokenizer, False, rows)
    prompts = request["prompts"]
    pairs = [(p["prompt"], p["answer"]) for p in prompts]
    together = request["together"]
    settings = GCGParameters(
        suffix_length=request["length"],
        num_steps=request["steps"],
        search_width=request["candidates"],
        topk=request["top_k"],
        batch_size=len(pairs) if together else 1,
        finalists=1,
        patience=request["steps"],
        stop_loss=0.0,
    )
    groups = [pairs] if together else [[pair] for pair in pairs]
    seeds = [prompts[0]["seed"]] if together else [p["seed"] for p in prompts]
    with timed() as searching:
        found = [
            search_suffix(subject, group, allowed, settings, seed)
            for group, seed in zip(groups, seeds, strict=True)
        ]
    passes = sum(f.evaluated * len(group) for f, group in zip(found, groups, strict=True))
    return {
        "searching": searching,
        "evaluated": passes,
        "searches": [{"text": f.text, "loss": f.losses[-1]} for f in found],
    }


def audited(request: Request) -> Answer:
    """An audit with its certificate and page, from an empty store."""
    with timed() as auditing:
        result = audit(request["plan"], out=Path(request["out"]))
    planned = {asked["attack"] for asked in request["plan"]["attacks"]}
    rows = {row.label: row for row in result.certificate.matrix}
    as_is = rows["none/as-is full precision"]
    return {
        "auditing": auditing,
        "status": {row.label: row.status for row in rows.values() if row.attack in planned},
        "figures": {metric: by_arm.get("unlearned") for metric, by_arm in as_is.forget.items()},
    }


def scoring(request: Request) -> Answer:
    """What scoring costs above the forward pass, as `benchmarks.scoring_cost` measures it."""
    found = []
    for vocabulary in request["vocabularies"]:
        subject = scoring_cost.build(Path(request["out"]) / str(vocabulary), vocabulary)
        for kind in scoring_cost.KINDS:
            times = scoring_cost.compare(subject, kind, request["items"], request["repetitions"])
            found.append({"vocabulary": vocabulary, "kind": kind, **times})
    return {"rows": found}


TASKS: dict[str, Callable[[Request], Answer]] = {
    "audit": audited,
    "membership": membership,
    "scoring": scoring,
    "search": search,
}


def work(request: Request) -> Answer:
    """Do the task that is named."""
    torch.set_num_threads(1)
    return TASKS[request["task"]](request)


if __name__ == "__main__":
    quiet_libraries()
    answer(work)
