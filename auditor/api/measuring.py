"""Load facts and models, and run one attack on one model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from torch import nn

from auditor.attack import ATTACKS, AnyAttack, AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError, UnavailableError
from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.findings import Finding
from auditor.core.records import SPECIFICITY, Record, Row, check_malformed
from auditor.data.readers import read_facts
from auditor.data.rows import READERS
from auditor.data.source import DataSource
from auditor.engine.expansion import instantiate
from auditor.models.auxiliary import AuxiliaryInputs
from auditor.models.kind import ModelKind, all_kinds, kind_named, parse_spec
from auditor.models.model import AuditedModel
from auditor.models.opening import check_unopenable, locate, open_model
from auditor.models.spec import TOKEN_BUDGET, PromptFormat

Attackable = str | AnyAttack | type[AnyAttack]
"""Attack by its registered name, as a class, or with its parameters."""

FRAME = ("fact", "entity", "set", "metric", "k", "answer")
"""Columns of `run_attack`'s table."""


def load_facts(
    source: str | Path,
    *,
    set_name: SetName = "forget",
    layout: str = "auditor",
    fields: Mapping[str, str] | None = None,
    config: str | None = None,
    split: str = "train",
    revision: str | None = None,
) -> tuple[Fact, ...]:
    """Read facts from a file or a Hugging Face data set.

    Args:
        source: A JSON Lines, JSON, CSV or Parquet file, or the name of a data set on the hub.
        set_name: Names rows that have no id of their own.
        layout: Published column names to start from (``tofu``, ``muse``, ``rwku``, …).
        fields: Fact field to the column that holds it; wins over ``layout``.
        config: Configuration of the data set on the hub.
        split: Split of the data set on the hub.
        revision: Commit or tag of the data set on the hub.

    Raises:
        AuditorError: The source cannot be read, or rows are bad; all of them are named.
    """
    path = Path(source).expanduser()
    is_file = path.exists() or path.suffix.lower() in READERS
    place = {"path": str(path)} if is_file else {"dataset": str(source), "config": config}
    return read_facts(
        DataSource.model_validate(
            place | {"layout": layout, "fields": fields or {}, "split": split, "revision": revision}
        ),
        set_name,
    )


def load_model(
    path: str | Path,
    *,
    format: PromptFormat | Mapping[str, Any] | None = None,  # noqa: A002 - as plans call it
    token_budget: int = TOKEN_BUDGET,
    **options: Any,
) -> AuditedModel:
    """Find, check, hash and open a model.

    Its weights are loaded when they are first needed.

    Args:
        path: A local directory, or the name of a model on the Hugging Face hub.
        format: How prompts become text, as in a plan.
        token_budget: Padded tokens in a batch.
        options: What a plan may say of a model: ``kind``, ``adapter``, ``dtype``, ``revision``…

    Raises:
        AuditorError: Nothing is there, or it cannot be opened safely.
    """
    spec = parse_spec({"path": str(path)} | options)
    prompt_format = PromptFormat.model_validate(format or {})
    location = locate(spec)
    check_unopenable(spec, location, prompt_format)
    return open_model(spec, location, prompt_format, token_budget)


def wrap_model(
    network: nn.Module,
    tokenizer: Any = None,
    *,
    kind: str | None = None,
    format: PromptFormat | Mapping[str, Any] | None = None,  # noqa: A002 - as plans call it
    token_budget: int = TOKEN_BUDGET,
    name: str = "in memory",
) -> AuditedModel:
    """Make a loaded network a model to measure.

    Its files were not hashed, so measurements of it never become a certificate.

    Args:
        network: A loaded model of the library that its kind is opened with.
        tokenizer: Its tokenizer.
        kind: Its kind; by default the one whose networks are of this class.
        format: How prompts become text, as in a plan.
        token_budget: Padded tokens in a batch.
        name: What messages call the model.

    Raises:
        AuditorError: No kind takes such a network, or the network is of another kind.
    """
    chosen = kind_named(kind) if kind else _kind_of_network(network)
    prompt_format = PromptFormat.model_validate(format or {})
    return chosen.wrap(network, tokenizer, prompt_format, token_budget, name)


def run_attack(
    attack: Attackable,
    model: AuditedModel,
    forget: Sequence[Fact],
    *,
    retain: Sequence[Fact] = (),
    holdout: Sequence[Fact] = (),
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    original: AuditedModel | None = None,
    **parameters: Any,
) -> pd.DataFrame:
    """Run one attack on one model.

    Args:
        attack: A registered name, an attack class, or an attack with its parameters.
        model: What `load_model` or `wrap_model` gave.
        forget: Facts that must be gone.
        retain: Facts that must stay.
        holdout: Facts that no model has seen; some attacks need them.
        metrics: Names of the metrics, by default those of an audit.
        seed: Seed of everything random in the attack.
        original: The original model, for attacks that take tensors from it; attacks that search
            do so on it, too, and are measured with both findings.
        parameters: Parameters of the attack, where it was not given with them.

    Returns:
        One row a fact and metric: fact, entity, set, metric, k (in [0, 1]), answer.

    Raises:
        AuditorError: The attack is not for such models, or its parameters do not fit.
        UnavailableError: It cannot run here.
        MeasurementError: Something could not be measured.
    """
    sets = FactSets(forget=tuple(forget), retain=tuple(retain), holdout=tuple(holdout))
    chosen = attack_with(attack, parameters)
    found: list[Finding] = []
    for arm, searched in {Arm.UNLEARNED: model, Arm.ORIGINAL: original}.items():
        if chosen.searches and searched is not None:
            record = record_of(chosen, searched, sets, metrics=metrics, seed=seed, searching=True)
            found.append(Finding(arm, own=searched is model, record=record))
            if original is not None and not searched.in_memory:
                searched.close()  # one of the two at a time
    record = record_of(
        chosen, model, sets, metrics=metrics, seed=seed, pool=found, original=original
    )
    return frame_of([row for row in record.rows if row.metric != SPECIFICITY])


def attack_with(attack: Attackable, parameters: Mapping[str, Any]) -> AnyAttack:
    """Return an attack with its parameters.

    Raises:
        AuditorError: It is unknown, was given parameters twice, or they do not fit.
    """
    if isinstance(attack, str):
        return instantiate(attack, dict(parameters))
    if isinstance(attack, type):
        return instantiate(attack.name, dict(parameters))
    if parameters:
        raise AuditorError(
            f"{attack.name} was given with its parameters, and {', '.join(parameters)} besides; "
            "give the class, or its name, and the parameters."
        )
    return attack


def record_of(
    attack: AnyAttack,
    model: AuditedModel,
    sets: FactSets,
    *,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    pool: Sequence[Finding] = (),
    searching: bool = False,
    original: AuditedModel | None = None,
) -> Record:
    """Run one stage of an attack on one model.

    No store is used.

    Args:
        attack: The attack with its parameters.
        model: The model that is attacked.
        sets: The facts.
        metrics: Names of the metrics, by default those of an audit.
        seed: Seed of everything random in the attack.
        pool: What the search stage found.
        searching: Run the search stage.
        original: The original model, for attacks that take tensors from it.

    Raises:
        AuditorError: The attack is not for models of this kind.
        UnavailableError: It cannot run here.
        MeasurementError: Something could not be measured.
    """
    kind = kind_named(model.spec.kind)
    kinds = ATTACKS.metadata(attack.name).kinds
    if kind.name not in kinds:
        raise AuditorError(
            f"{attack.name} is for models of the kind {', '.join(kinds)}, and this one is "
            f"{kind.name}."
        )
    evaluator = kind.evaluator(sets, metrics or usual_metrics(kind), AuxiliaryInputs())
    with TemporaryDirectory(prefix="auditor-") as scratch:
        context = AttackContext(evaluator, seed, Path(scratch), tuple(pool), donor=original)
        if searching:
            return attack.search(model, context) or Record()
        if not model.in_memory and (reason := attack.unavailable(model.location)):
            raise UnavailableError(reason)
        record = attack.measure(model, context)
    check_malformed(record)
    return record


def usual_metrics(kind: ModelKind) -> tuple[str, ...]:
    """Return the metrics of an audit by default, the primary one first.

    After it come those that decide beside it.
    """
    primary, *reported = kind.default_metrics
    return tuple(dict.fromkeys((primary, *kind.deciding(None), *reported)))


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the rows of a measurement as a table.

    Its columns are those of `FRAME`.
    """
    return pd.DataFrame([[getattr(row, name) for name in FRAME] for row in rows], columns=FRAME)


def _kind_of_network(network: nn.Module) -> ModelKind:
    found = [kind for kind in all_kinds() if kind.takes(network)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(kind.name for kind in found or all_kinds())
    raise AuditorError(
        f"a {type(network).__name__} is of {'several kinds' if found else 'no known kind'} of "
        f"model; say which with `kind=`: {names}."
    )
