"""Task of inspect_ai: what a model behind any provider says of facts.

``inspect eval auditor/unlearning --model hf/local -T forget=forget.jsonl`` finds it by its entry
point. It measures one model, without attacks and without a baseline, so it gives no verdict.
"""

from collections.abc import Sequence

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Score, Scorer, Target, grouped, mean, scorer, stderr
from inspect_ai.solver import TaskState, generate

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, SetName
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.metrics.leak_judge import given_away

ANSWER_TOKENS = 64
"""Most tokens of an answer, unless told otherwise."""


@scorer(  # type: ignore[untyped-decorator]  # inspect_ai is not followed
    metrics=[grouped(mean(), "set", all=False), grouped(stderr(), "set", all=False)]
)
def answer_recall() -> Scorer:
    """Score what the model's answer gives away of the true one.

    It is K in [0, 1] of the metric ``answer-recall`` of an audit, by the same judge.
    """

    async def score(state: TaskState, target: Target) -> Score:
        said = state.output.completion
        k = given_away(state.input_text, tuple(target), said)
        return Score(value=k, answer=said)

    return score


@task  # type: ignore[untyped-decorator]
def unlearning(
    forget: str,
    retain: str | None = None,
    holdout: str | None = None,
    layout: str = "auditor",
    max_tokens: int = ANSWER_TOKENS,
) -> Task:
    """Ask a model the facts of an audit, set by set.

    Args:
        forget: File of facts that must be gone.
        retain: File of facts that must stay.
        holdout: File of facts that no model saw.
        layout: Published column names (``tofu``, ``muse``, ``rwku``, …).
        max_tokens: Most tokens of an answer.

    Raises:
        AuditorError: A file cannot be read, or its texts may not travel: a log of inspect_ai
            holds every question and answer.
    """
    sets: dict[SetName, str | None] = {"forget": forget, "retain": retain, "holdout": holdout}
    samples = [
        _sample(name, fact)
        for name, path in sets.items()
        if path is not None
        for fact in _facts(name, path, layout)
    ]
    return Task(
        dataset=MemoryDataset(samples, name="unlearning"),
        solver=generate(),
        scorer=answer_recall(),
        config=GenerateConfig(temperature=0.0, max_tokens=max_tokens),
    )


def _facts(name: SetName, path: str, layout: str) -> Sequence[Fact]:
    source = DataSource.model_validate({"path": path, "layout": layout})
    if source.hazardous:
        raise AuditorError(
            f"{path} holds hazardous texts, and a log of inspect_ai would hold each of them; "
            "`auditor audit` redacts its certificates."
        )
    return read_facts(source, name)


def _sample(name: SetName, fact: Fact) -> Sample:
    return Sample(
        id=f"{name}/{fact.id}",
        input=fact.prompt,
        target=[fact.answer, *fact.accepted],
        metadata={"set": name, "entity": fact.entity},
    )
