"""Sentences of messages: the only place in which a code becomes words.

Each table holds, by code, a template or a function whose arguments are the parameters that the
message carries. Both give a `Phrase`, so that what somebody else wrote stays a quotation. A message
may come from a file that anybody wrote: it may lack a parameter, or have one of another type. It is
then shown as its code with its parameters, as is a code that has no words here.

Reasons and remarks are parts of sentences: they begin with a small letter and have no full stop.
Everything else is a whole sentence.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from pydantic import JsonValue

from auditor.certificate.schema import ScopePart, VerdictPart
from auditor.core.errors import GB
from auditor.core.findings import Curve, SelfCheck, SideFigure
from auditor.core.messages import TEXT, Message, is_message, naming
from auditor.core.wording import WORDINGS
from reports.phrases import Phrase, Quoted, fill, join, plain, shown

Wording: TypeAlias = str | Callable[..., Phrase]
"""Template of `reports.phrases.fill`, or a function that makes a phrase of the parameters."""


@WORDINGS.register("english")
def sentence(message: Message) -> str:
    """Return a message as text.

    Quotation marks stand around what somebody else wrote.
    """
    return str(phrase(message))


def phrase(message: Message) -> Phrase:
    """Return a message as a sentence.

    A reason or a remark is a part of a sentence.
    """
    return _phrase(SENTENCES, message.code, message.params, message.quoted)


def phrases(messages: Iterable[Message]) -> tuple[Phrase, ...]:
    """Return the phrase of each message."""
    return tuple(phrase(message) for message in messages)


def counted(messages: Iterable[Message]) -> tuple[Phrase, ...]:
    """Return the phrase of each message, facts counted and not named."""
    return tuple(phrase(naming(message, 0)) for message in messages)


def remark(messages: Iterable[Message]) -> Phrase:
    """Return several remarks as one."""
    return join("; ", (phrase(message) for message in messages))


def scope_statement(scope: ScopePart) -> str:
    """Return what the claim is about."""
    forget = scope.sets.get("forget")
    if forget is None:
        return "No forget set was recorded."
    template = {
        "census": "Census: the claim is about the audited {facts:fact|facts} on "
        "{entities:entity|entities}, and no others. Each fact counts once.",
        "sampled": "Sample: {entities:audited entity stands|audited entities stand} for a larger "
        "forget set. Each entity counts once, however many of the {facts:fact|facts} are about it.",
    }[scope.scope]
    return str(fill(template, facts=forget.facts, entities=forget.entities))


def headline_of(verdict: VerdictPart) -> str:
    """Return the one line that stands above a verdict's claim."""
    return HEADLINES_BY_CLAIM.get(verdict.claim.code) or HEADLINES[verdict.verdict]


def check_name(check: SelfCheck) -> Phrase:
    """Return what a self-check is about."""
    return _phrase(CHECKS, check.code, check.params, check.quoted)


def check_result(check: SelfCheck) -> Phrase:
    """Return what a self-check found."""
    params = {**check.params, "passed": check.passed}
    return _phrase(CHECK_RESULTS, check.code, params, check.quoted)


def figure_name(figure: SideFigure) -> str:
    """Return the name of a side figure, with its unit."""
    return str(_phrase(FIGURES, figure.name, figure.params))


def figure_arms(figure: SideFigure) -> str:
    """Return the arm of a side figure.

    The arm with which it is compared follows, if there is one.
    """
    return figure.of if figure.against is None else f"{figure.of} against {figure.against}"


def curve_name(code: str) -> str:
    """Return the name of curves."""
    return str(_phrase(CURVES, code, {}))


def axis_names(curve: Curve) -> tuple[str, str]:
    """Return the names of a curve's axes, with their units.

    The horizontal axis comes first.
    """
    return str(_phrase(AXES, curve.x, curve.params)), str(_phrase(AXES, curve.y, curve.params))


def measure_name(code: str) -> str:
    """Return what an explanation measures."""
    return str(_phrase(MEASURES, code, {}))


def gate_name(code: str) -> str:
    """Return the name of a gate."""
    return str(_phrase(GATES, code, {}))


def in_short(code: str, **params: Any) -> Phrase:
    """Return a sentence of what an audit found."""
    return _phrase(IN_SHORT, code, params)


def release_lacks(message: Message) -> Phrase:
    """Return what a release policy lacks, as part of a sentence."""
    return _phrase(RELEASE_LACKS, message.code, message.params)


def strength(code: str, **params: Any) -> Phrase:
    """Return what an audit rests on."""
    return _phrase(STRENGTH, code, params)


def _phrase(
    wordings: Mapping[str, Wording],
    code: str,
    params: Mapping[str, Any],
    quoted: Iterable[str] = (),
) -> Phrase:
    marked = set(quoted)
    values = {name: _value(value, name in marked) for name, value in params.items()}
    wording = wordings.get(code)
    if wording is None:
        return _without_words(code, values)
    try:
        return fill(wording, **values) if isinstance(wording, str) else wording(**values)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return _without_words(code, values)


def _value(value: Any, quoted: bool) -> Any:
    """Return a parameter as templates take it.

    Messages become phrases, and foreign texts become quotations.
    """
    if quoted and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [Quoted(item) for item in value]
    if quoted and value is not None:
        return Quoted(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    if is_message(value):
        return phrase(Message.model_validate(value))
    if isinstance(value, list):
        return [_value(item, quoted=False) for item in value]
    if isinstance(value, dict):
        return {name: _value(item, quoted=False) for name, item in value.items()}
    return value


def _without_words(code: str, values: Mapping[str, Any]) -> Phrase:
    """Return a code with its parameters.

    It is shown where there are no words for it or they do not fit.
    """
    name = plain(code.replace("_", " "))
    if not values:
        return name
    listed = join(", ", (plain(f"{each}: ") + shown(value) for each, value in values.items()))
    return name + plain(" (") + listed + plain(")")


def _does_not_fit(needed: int, free: int) -> Phrase:
    return fill(
        "its weights take {needed} GB of memory, and {free} GB were free; open the models in a "
        "smaller type (`dtype: bfloat16`) or over several devices (`device_map: auto`), run fewer "
        "workers, or take a larger machine",
        needed=f"{needed / GB:.2f}",
        free=f"{free / GB:.2f}",
    )


def _not_measured(attack: str, status: str, reason: Phrase) -> Phrase:
    template = {
        "failed": "{attack} failed: {reason}.",
        "unavailable": "{attack} could not be run here: {reason}.",
    }[status]
    return fill(template, attack=attack, reason=reason)


def _no_margin_left(
    attack: str, metric: str, retrained: int, shrinkage: float | None, delta: float
) -> Phrase:
    template = (
        "{attack} by {metric}: the original is not ahead of the retrained models, so the spread "
        "between training runs cannot be taken off the margin of {delta:set}."
        if shrinkage is None
        else "{attack} by {metric}: the spread between {retrained:retrained model|retrained "
        "models} takes {shrinkage:number} off the margin of {delta:set}, which leaves nothing of "
        "it."
    )
    return fill(
        template,
        attack=attack,
        metric=metric,
        retrained=retrained,
        shrinkage=shrinkage,
        delta=delta,
    )


def _residual_not_below_margin(
    attack: str, metric: str, rho_upper: float | None, delta: float
) -> Phrase:
    template = (
        "{attack} by {metric}: residual knowledge may be 1 or more; it was not shown to be below "
        "{delta:set}."
        if rho_upper is None
        else "{attack} by {metric}: residual knowledge may be as high as {rho_upper:number}; it "
        "was not shown to be below {delta:set}."
    )
    return fill(template, attack=attack, metric=metric, rho_upper=rho_upper, delta=delta)


def _baseline_too_noisy(attack: str, metric: str, retrained: list[int]) -> Phrase:
    template = (
        "{attack} by {metric}: {names} would not pass against the other retrained models. They "
        "differ too much for this margin, or the facts are too few."
    )
    names = [f"retrained-{number}" for number in retrained]
    return fill(template, attack=attack, metric=metric, names=names)


def _reported_metric_contradicts(attack: str, found: list[dict[str, Any]], delta: float) -> Phrase:
    each = "{metric} ({rho:short})"
    template = (
        "{attack}: the deciding metrics do not show it, but by {found}, which {count} only "
        "reported, residual knowledge is above {delta:set}. Find out what they see, or let them "
        "decide (`metrics.deciding`)."
    )
    return fill(
        template,
        attack=attack,
        found=join(", ", (fill(each, **one) for one in found)),
        count="is" if len(found) == 1 else "are",
        delta=delta,
    )


def _budget_not_met(attack: str, lacking: list[dict[str, Any]]) -> Phrase:
    each = "{parameter} is {value}, and at least {least:set} is demanded"
    return fill(
        "{attack}: the budget is smaller than the policy demands: {lacking}.",
        attack=attack,
        lacking=join("; ", (fill(each, **one) for one in lacking)),
    )


def _moved(effect: str, before: float, after: float, needed: float) -> Phrase:
    """Return how far an attack moved what it must move.

    How far it should have moved it is said, too.
    """
    return fill(
        "{what} went from {before:number} to {after:number}, and {needed:number} was to be reached",
        what=EFFECTS.get(effect, effect),
        before=before,
        after=after,
        needed=needed,
    )


def _no_effect_on_baseline(
    attack: str, effect: str, before: float, after: float, needed: float
) -> Phrase:
    return fill(
        "{attack} had no effect where it should have: on the retrained models, {moved}. It shows "
        "nothing of the unlearned model then; give it more steps or another learning rate.",
        attack=attack,
        moved=_moved(effect, before, after, needed),
    )


def _no_effect_on_unlearned(
    attack: str, effect: str, before: float, after: float, needed: float
) -> Phrase:
    return fill(
        "{attack} had no grip on the unlearned model: {moved}. That it finds no knowledge there is "
        "no evidence of forgetting.",
        attack=attack,
        moved=_moved(effect, before, after, needed),
    )


def _effect_not_noted(attack: str, effect: str, arms: list[str]) -> Phrase:
    return fill(
        "{attack}: it is not known whether the attack had an effect, because its evidence on "
        "{arms} does not state {what}.",
        attack=attack,
        arms=arms or "the models",
        what=EFFECTS.get(effect, effect),
    )


def _read_otherwise(attack: str, arms: dict[str, int], facts: int) -> Phrase:
    return fill(
        "{attack}: models turn facts into other tokens than the original does ({counts}), so the "
        "other attacks did not ask all of them alike. Give every model with the original's "
        "tokenizer files and chat template.",
        attack=attack,
        counts=join(
            ", ",
            (
                fill("{arm} {n:count} of {facts:count}", arm=arm, n=n, facts=facts)
                for arm, n in arms.items()
            ),
        ),
    )


def _text_engine_wrote(
    engine: str,
    texts: int,
    network: int,
    read: int,
    jobs: int,
    refused: list[Phrase],
) -> Phrase:
    said = fill(
        "{engine} wrote {texts:text|texts} of models whose weights are those of their files, but "
        "for adapters that it was given; the models read {read:token|tokens} of them, and found "
        "them their own. transformers wrote {network:text|texts}.",
        engine=engine,
        texts=texts,
        read=read,
        network=network,
    )
    if not refused:
        return said
    reasons = join("; ", refused)
    return fill(
        "{said} In {jobs:job|jobs} {engine} was refused: {reasons}.",
        said=said,
        jobs=jobs,
        engine=engine,
        reasons=reasons,
    )


def _text_engine_unsuited(reason: str) -> Phrase:
    return fill(
        {
            "quantized": "the model's own weights are quantized, and its kernels are others",
            "gguf": "the model is a GGUF file, which it does not read as the audit does",
            "own_code": "the model brings code of its own",
            "replaced": "some of the model's weights are from another file",
            "spread": "the model is spread over several devices",
        }[reason]
    )


def _environments_differ(attack: str, differences: dict[str, dict[str, str]]) -> Phrase:
    found = (
        fill(
            "{what} ({values})",
            what=what,
            values=join(", ", (fill("{arm} {value}", arm=a, value=v) for a, v in values.items())),
        )
        for what, values in differences.items()
    )
    return fill(
        "{attack}: the models were measured in different environments, so they cannot be compared: "
        "{differences}. Measure all of them on one kind of machine with the same packages: delete "
        "the older jobs from the evidence store, or begin anew with another store (--store).",
        attack=attack,
        differences=join("; ", found),
    )


def _control(
    kind: str,
    grid: str | None,
    left: float,
    rescaled: bool = False,
    **_: JsonValue,
) -> Phrase:
    template = "the {kind} positive control ({left:share} of the gap left without attack)"
    if kind == "head":
        template = template[:-1] + ", suppressed in output head and last norm alone)"
    if kind == "wording":
        template = template[:-1] + ", its answers said after other words)"
    if rescaled:
        template = template[:-1] + ", weights rescaled)"
    if grid is not None:
        template = template[:-1] + ", weights within the rounding cells of {grid})"
    return fill(template, kind=kind, grid=grid, left=left)


def _seen_in_control(
    log_e_fail: float | None,
    reason: Phrase | None,
    rho: float | None,
    rho_lower: float | None,
    rho_upper: float | None,
    **_: JsonValue,
) -> Phrase:
    if log_e_fail is None:
        return fill("no figures, because {reason}", reason=reason or plain("none were recorded"))
    if rho is None:
        return plain("no gap between the original and the retrained models")
    lower = "no lower bound" if rho_lower is None else "at least {lower:short}"
    upper = "no upper bound" if rho_upper is None else "at most {upper:short}"
    template = "residual knowledge {rho:short} (" + lower + ", " + upper + ")"
    return fill(template, rho=rho, lower=rho_lower, upper=rho_upper)


def _why_missed(
    log_e_fail: float | None, log_e_needed: float, tells_original_apart: bool, **_: JsonValue
) -> Phrase:
    if log_e_fail is None:
        return Phrase()
    if not tells_original_apart:
        return plain(", and it cannot tell the original from the retrained models")
    template = ", with a log e-value of {found:short} where {needed:short} is needed"
    return fill(template, found=log_e_fail, needed=log_e_needed)


def _other_control(other: dict[str, Any] | None, missing: Phrase | None) -> Phrase:
    if other is not None:
        template = " In {control}, which it is not required to find, it measures {seen}."
        return fill(template, control=_control(**other), seen=_seen_in_control(**other))
    if missing is None:
        return Phrase()
    template = (
        " No control that hides all could be made ({missing}), so it was not shown whether the "
        "attack brings back knowledge that is hidden."
    )
    return fill(template, missing=missing)


def _positive_control_found(
    attack: str, held_to: dict[str, Any], other: dict[str, Any] | None, missing: Phrase | None
) -> Phrase:
    found = fill(
        "{attack} found {control}: {seen}.",
        attack=attack,
        control=_control(**held_to),
        seen=_seen_in_control(**held_to),
    )
    return found + _other_control(other, missing)


def _positive_control_missed(
    attack: str, held_to: dict[str, Any], other: dict[str, Any] | None, missing: Phrase | None
) -> Phrase:
    missed = fill(
        "{attack} missed {control}: it measures {seen}{why}. Where it finds nothing in the "
        "unlearned model, that is no evidence of forgetting.",
        attack=attack,
        control=_control(**held_to),
        seen=_seen_in_control(**held_to),
        why=_why_missed(**held_to),
    )
    return missed + _other_control(other, missing)


_GRAFTS = {
    "none": "no graft",
    "head": "output head and last norm",
    "embeddings": "embeddings",
    "norms": "norms and biases",
    "routers": "routers",
    "experts": "experts",
    "others": "everything else",
    "interface": "all of these",
    "own_embeddings": "its own embeddings as output head",
    "refitted_head": "output head refitted on the retain facts",
    "first_third": "first third of the blocks",
    "middle_third": "middle third of the blocks",
    "last_third": "last third of the blocks",
    "attention": "attention",
    "mlp": "MLPs",
    "convolutions": "first and last convolution",
    "outer_layers": "first and last layers",
    "vae": "autoencoder",
    "unet": "UNet",
    "transformer": "transformer",
    "text_encoder": "text encoder",
    "text": "whole text encoder",
}
"""Code of a group of tensors to its name."""


def _grafts_left_out(attack: str, groups: list[str]) -> Phrase:
    template = (
        "{attack}: the unlearned model's tensors have other shapes than the original's, so these "
        "could not be exchanged: {groups}."
    )
    return fill(template, attack=attack, groups=", ".join(_GRAFTS[group] for group in groups))


def _grafted_k(group: str) -> Phrase:
    if group == "none":
        return plain("mean K of forget facts without a graft")
    return fill("mean K of forget facts, graft: {group}", group=_GRAFTS[group])


_REVIVALS = {
    "layer_mean": "shifted by layer to the mean of other units",
    "unit_mean": "shifted to the mean of other units",
    "token_mean": "shifted by token to the mean of other units",
    "token_below": "shifted by token to one standard deviation below the mean of other units",
    "token_share": "shifted by token and in proportion to the mean of other units",
    "token_share_below": (
        "shifted by token and in proportion to one standard deviation below the mean of other units"
    ),
    "rate_0.1": "acting on 10 % of tokens",
    "rate_0.3": "acting on 30 % of tokens",
    "held_off": "and units held off on facts to forget, shifted to the mean of other units",
}
"""Way of making dormant units act to words for it."""


def _revived_k(revival: str) -> Phrase:
    if revival == "none":
        return plain("mean K of forget facts, dormant units as they are")
    return fill(
        "mean K of forget facts, dormant units {revival}", revival=_REVIVALS.get(revival, revival)
    )


_STEERINGS = {
    "none": "without steering",
    "found": "steered along the directions found",
    "random": "steered along random directions of equal norm",
}
"""Direction of steering to words for it."""


def _steered_k(direction: str) -> Phrase:
    return fill("mean K of forget facts, {how}", how=_STEERINGS.get(direction, direction))


_CHECKPOINTS = {"old": "the old checkpoint alone", "pair": "the old and the new checkpoint"}
"""What decodes to words for it."""


def _pair_probability(of: str) -> Phrase:
    return fill(
        "probability per token of true answers, {checkpoints}", checkpoints=_CHECKPOINTS.get(of, of)
    )


def _pair_extracted(of: str) -> Phrase:
    return fill("share of answers extracted, {checkpoints}", checkpoints=_CHECKPOINTS.get(of, of))


def _weight_change(group: str, equal: int, tensors: int) -> Phrase:
    template = (
        "relative change of weights, {group} ({equal:count} of {tensors:tensor|tensors} equal)"
    )
    return fill(template, group=_GRAFTS[group], equal=equal, tensors=tensors)


def _residual_above_margin(attack: str, metric: str, delta: float, rho: float | None) -> Phrase:
    size = "" if rho is None else ", about {rho:short} of what the original knew"
    template = "{attack} by {metric}: residual knowledge is above {delta:set}" + size + "."
    return fill(template, attack=attack, metric=metric, delta=delta, rho=rho)


def _leans_to_fail(
    attack: str,
    metric: str,
    basis: str,
    rho: float | None,
    rho_lower: float | None,
    rho_upper: float | None,
    delta: float,
    alpha: float,
    leaked: int,
    allowed: int | None,
    others: list[str],
) -> Phrase:
    template = {
        "evidence": "Leans to FAIL: {attack} by {metric} alone shows residual knowledge above "
        "{delta:set}",
        "leaks": "Leans to FAIL: {attack} by {metric} brings back {leaked:fact|facts} whole, and "
        "{allowed} may leak",
        "estimate": "Leans to FAIL: {attack} by {metric} puts residual knowledge above {delta:set}",
    }[basis]
    if rho is not None:
        lower = "no lower bound" if rho_lower is None else "at least {lower:short}"
        upper = "no upper bound" if rho_upper is None else "at most {upper:short}"
        template += " ({rho:short}; " + lower + ", " + upper + " at {alpha:confidence})"
    template += ", not enough for a FAIL once all families of attacks share the error."
    if others:
        template += " So do {others}."
    return fill(
        template,
        attack=attack,
        metric=metric,
        delta=delta,
        alpha=alpha,
        rho=rho,
        lower=rho_lower,
        upper=rho_upper,
        leaked=leaked,
        allowed=allowed,
        others=others,
    )


def _leans_to_pass(
    attack: str, metric: str, rho: float | None, rho_upper: float | None, delta: float
) -> Phrase:
    template = (
        "Leans to PASS: no attack puts residual knowledge above {delta:set}, and nothing but facts "
        "is missing. {attack} by {metric} needs most"
    )
    if rho is not None:
        upper = "no upper bound" if rho_upper is None else "at most {upper:short}"
        template += ": {rho:short}, " + upper
    return fill(template + ".", attack=attack, metric=metric, rho=rho, upper=rho_upper, delta=delta)


def _leans_to_neither(obstacles: int) -> Phrase:
    if not obstacles:
        return plain("The evidence leans to neither side.")
    return fill(
        "The evidence leans to neither side: no attack shows residual knowledge above the margin, "
        "and {obstacles:condition|conditions} of a PASS, which more facts would not meet, "
        + ("is" if obstacles == 1 else "are")
        + " not met.",
        obstacles=obstacles,
    )


def _facts_needed_to_fail(
    attack: str, unit: str, available: int, needed: int | None, target: float, leaks: int | None
) -> Phrase:
    template = (
        "More {unit} like the {available:count} that were measured would not be expected to make "
        "{attack} a FAIL by its residual"
        if needed is None
        else "If further {unit} were like the {available:count} that were measured, about "
        "{needed:count} would make {attack} a FAIL (chance {target:percent})"
    )
    if leaks is not None:
        template += (
            ", but {leaks:leak|leaks} among these would"
            if needed is None
            else "; so would {leaks:leak|leaks} among these"
        )
    return fill(
        template + ".",
        attack=attack,
        unit=unit,
        available=available,
        needed=needed,
        target=target,
        leaks=leaks,
    )


def _facts_leak(
    leaked: int, facts: int, ids: list[str], attacks: list[str], baseline: int | None = None
) -> Phrase:
    template = "{leaked:count} of {facts:fact|facts} " + ("leaks" if leaked == 1 else "leak")
    template += " whole"
    if ids:
        template += ": {ids}"
        template += " and {more:count} more" if len(ids) < leaked else ""
    template += " (under {attacks})."
    template += (
        " How many do so by chance, a second retrained model would show."
        if baseline is None
        else " By chance, up to {baseline:fact does|facts do} so under one of these attacks where "
        "they were never seen."
    )
    if not ids:
        template += " Their ids stand in the certificate and on its HTML page."
    return fill(
        template,
        leaked=leaked,
        facts=facts,
        ids=ids,
        more=leaked - len(ids),
        attacks=attacks,
        baseline=baseline,
    )


def _likewise(about: Phrase, others: list[dict[str, str]]) -> Phrase:
    each = (
        fill("{attack} by {metric}" if "metric" in other else "{attack}", **other)
        for other in others
    )
    return fill("{about} Likewise: {others}.", about=about, others=join(", ", each))


def _retrained_found(retrained: list[int]) -> Phrase:
    names = [f"retrained-{number}" for number in retrained]
    return fill(
        "against the other retrained models, {names} would be taken for trained on the forget set",
        names=names,
    )


def _relative_to_supplied_baselines(retrained: int, needed: int) -> Phrase:
    template = (
        "relative to {retrained:supplied retrained model|supplied retrained models} only: with "
        "fewer than {needed} of them, the spread between training runs is not accounted for"
    )
    return fill(template, retrained=retrained, needed=needed)


def _facts_needed(needed: int, available: int, unit: str, target: float) -> Phrase:
    template = (
        "A PASS would need about {needed:count} {unit} like the {available:count} that were "
        "measured. With so many, its chance is {target:percent} under the attack that needs most."
    )
    return fill(template, needed=needed, available=available, unit=unit, target=target)


def _simulated(
    retrained: int,
    audits: int,
    attacks: int,
    joint: str,
) -> Phrase:
    template = (
        "residual 0, with the noise of {retrained:retrained model|retrained models} against each "
        "other; {audits:simulated audit|simulated audits} for each number of facts; "
        "{attacks:attack|attacks}"
    )
    if attacks > 1:
        template += ", taken as {joint}"
    return fill(template, retrained=retrained, audits=audits, attacks=attacks, joint=joint)


def _changed(attack: str, changed: list[dict[str, Any]]) -> Phrase:
    each = "{parameter} {value} instead of {default}"
    return fill(
        "{attack} is not run at its preset: {changed}.",
        attack=attack,
        changed=join(", ", (fill(each, **one) for one in changed)),
    )


def _columns_not_read(of: str, columns: list[str], meant: dict[str, str]) -> Phrase:
    said = fill(
        "Nothing is read from {count:column|columns} of the {of} set: {columns}.",
        count=len(columns),
        columns=columns,
        of=of,
    )
    if not meant:
        return said
    mapping = ", ".join(f"{field}: {column}" for field, column in meant.items())
    return said + fill(" Where it is meant, map it: `fields: {{{mapping}}}`.", mapping=mapping)


def _by_metric(metric: str, facts: int | None = None) -> Phrase:
    template = "by {metric}" if facts is None else "by {metric}, {facts:fact|facts}"
    return fill(template, metric=metric, facts=facts)


def _pictures_compared(pictures: int, features: int, of: str) -> Phrase:
    source = {"inception": "Inception", "classifier": "the classifier"}[of]
    template = (
        "{pictures:picture|pictures} against as many, in {features:feature|features} of {source}"
    )
    return fill(template, pictures=pictures, features=features, source=source)


def _kid_subsets(size: int, pictures: int) -> Phrase:
    if size == pictures:
        return plain("over all of them; unbiased")
    return fill("over random subsets of {size:count}; unbiased", size=size)


def _pictures_taught(data: str) -> Phrase:
    concept = {"forget": "the forgotten concept", "retain": "concepts to be kept"}[data]
    return fill("trained on pictures of {concept}; all forget facts are asked", concept=concept)


def _pairing_needs_same(aspects: list[str]) -> Phrase:
    *others, last = aspects
    named = f"{', '.join(others)} and {last}" if others else last
    return fill("it needs the same {named} in both", named=named)


def _logs_lack(arms: dict[str, list[str]]) -> Phrase:
    told = join("; ", (fill("{arm}: {names}", arm=arm, names=names) for arm, names in arms.items()))
    return fill("Logs do not hold all that their layout may: {told}.", told=told)


SENTENCES: Mapping[str, Wording] = {
    # why an attack has no evidence
    "error": "{type}: {error}",
    "unavailable": "{error}",
    "on_arm": "{reason} (on {arm})",
    "package_missing": "the package {package} is not installed",
    "gpu_missing": "it needs a GPU, and none was found",
    "newer_gpu_needed": "it needs an NVIDIA GPU of compute capability {capability} or higher",
    "gguf_architecture_unknown": (
        "how GGUF files hold the weights of a model of the type {model_type} is not known here"
    ),
    "ggml_not_callable": (
        "the installed package {package} gives no access to ggml's quantizer; its wheels for the "
        "processor alone do"
    ),
    "quantized_already": "the checkpoint is quantized already ({method})",
    "quantized_weights_not_trainable": (
        "the checkpoint is quantized ({method}), so its weights cannot be trained"
    ),
    "left_out_of_plan": "the plan leaves it out",
    "left_out_for_time": (
        "left out, for it was taken to need {needed:seconds} and all had to end within "
        "{limit:seconds} (`--within`)"
    ),
    "experts_not_rounded": (
        "the experts of this mixture hold {weights:count} weights ({share:share}), and the "
        "quantizer rounds linear layers alone; nearly all of the model would stay at full precision"
    ),
    "models_are_not_there": (
        "logs stand in for the models, and an attack needs the models themselves"
    ),
    "asked_as_the_original": (
        "it does not apply: tokenizer, templates and generation settings of every model are the "
        "original's"
    ),
    "no_mixture_of_experts": (
        "it does not apply: no model is a mixture whose experts hold a large part of its weights"
    ),
    "no_reasoning_model": (
        "it does not apply: the format leaves no model a place for a trace of thought before its "
        "answers"
    ),
    "does_not_fit": _does_not_fit,
    "worker_lost": "the workers that measured it were lost, one after the other ({error})",
    "worker_died": "the process that measured it ended twice, the last time with exit code "
    "{exit_code}; there may be too little memory for so many workers (--workers)",
    "pictures_not_given": "the plan gives no pictures of the facts (`data.images`)",
    "measurement_incomplete": "not every fact was measured on every model",
    "not_run_by_audit": "the audit did not run it",
    "base_model_not_given": (
        "no base model was given; set `base` to the checkpoint that the audited models were "
        "fine-tuned from"
    ),
    "attacker_model_not_given": (
        "no instruct model was given to propose prompts; set `attacker` to one that knows nothing "
        "of the forget set"
    ),
    "translations_not_given": (
        "no translated questions were given; set `translations` to a file of them, or `translator` "
        "to a model that makes them"
    ),
    "original_not_given": (
        "the objective `p4d` needs the model before the concept was erased; set `original`, or use "
        "the objective `unlearndiffatk`"
    ),
    "inception_weights_not_given": (
        "no weights of Inception were given; set `inception` to torch-fidelity's {file}"
    ),
    "awq_cannot_take_conv1d": (
        "GPTQModel's AWQ does not support the Conv1D layers of {architecture}"
    ),
    "awq_scales_through_gelu": (
        "GPTQModel's AWQ scales the MLP of {architecture} through its GELU, which changes the model"
    ),
    "awq_scales_from_wrong_norm": (
        "GPTQModel's AWQ takes the scales of {architecture} from the wrong norm, which changes the "
        "model"
    ),
    "awq_not_checked": (
        "GPTQModel's AWQ was not checked on the architecture {architecture} (only on {checked})"
    ),
    # gates
    "not_measured": _not_measured,
    "gap_without_attack_unknown": (
        "{attack} by {metric}: the gap without attack is not known, so the gap under the attack "
        "has nothing to be compared with."
    ),
    "gap_too_small": (
        "{attack} by {metric}: the gap between the original and the retrained models is "
        "{gap_mean:number}, and at least {gap_lower:number} at {alpha:confidence} confidence. A "
        "lower bound of {gap_required:number} is needed to tell them apart."
    ),
    "no_margin_left": _no_margin_left,
    "residual_not_below_margin": _residual_not_below_margin,
    "leaks_not_countable": (
        "{attack} by {metric}: {eligible:fact has|facts have} a gap of {gap_floor:set} or more, "
        "too few for leaks to be counted."
    ),
    "leaks_above_limit": (
        "{attack} by {metric}: {leaked:count} of {eligible:fact leaks|facts leak} whole, and "
        "{allowed:count} may, by the policy or for the noise of the baseline."
    ),
    "placements_decide_nothing": "{attack} is only reported: {reason}.",
    "too_few_holdout_entities": (
        "forget and holdout facts are of {blocks:entity|entities} each, and {needed:count} are "
        "needed for facts to be placed among others independently"
    ),
    "no_other_retrained_model": (
        "one retrained model has no other to be tested against, so a difference between the two "
        "sets of facts could not be told from training"
    ),
    "retrained_found_to_be_trained": _retrained_found,
    # baselines without a retrained model
    "null_too_small": (
        "{attack} by {metric} decides nothing: its baseline is {facts:fact|facts}, and "
        "{needed:count} are needed."
    ),
    "null_not_checked": (
        "{attack} by {metric} decides nothing: whether the answers can be guessed from the prompts "
        "was not checked. Give facts that no model saw (`data.holdout`), or a reference model."
    ),
    "null_easier_to_guess": (
        "{attack} by {metric} decides nothing: where no model can know them, the facts to forget "
        "are known by {advantage:number} more than those that stand for what is not known, and "
        "{allowed:number} is allowed."
    ),
    "null_raised": (
        "{attack} by {metric}: the unlearned model knows the facts that stand for what is not "
        "known ({known:number}, and {level:number} where it cannot), which would hide as much "
        "residual knowledge; {allowed:number} more is allowed."
    ),
    "sets_told_apart": (
        "The facts that no model saw are of another kind than those to forget: without any model, "
        "their words alone tell them apart with an AUC of {auc:number} (at least {lower:number}; "
        "0.5 is chance). Neither a PASS nor a FAIL can rest on them. Give facts made in the same "
        "way, of others of the same kind."
    ),
    "sets_not_compared": (
        "Whether the facts that no model saw are of the same kind as those to forget cannot be "
        "checked: one of the sets is of {entities:entity|entities}, and {needed:count} are needed."
    ),
    "reference_not_checked": (
        "Whether the reference models know as much as a model that forgot cannot be checked: there "
        "are {facts:fact|facts} that no model saw, and {needed:count} are needed "
        "(`data.holdout`)."
    ),
    "reference_knows_otherwise": (
        "The reference models are no baseline: of facts that no model saw the unlearned model "
        "knows {unlearned:number} and they know {reference:number}; they may differ by "
        "{allowed:number}. What they lack is not what was forgotten. Give a model that was trained "
        "alike, or leave `reference` out."
    ),
    "baseline_too_weak": (
        "For a PASS, the policy {policy} demands the baseline {demanded} or a stronger one; this "
        "is {baseline}."
    ),
    "leak_rate_not_within_limit": (
        "{attack} by {metric}: {leaked:count} of {eligible:fact|facts} leaked. The leak rate may "
        "be as high as {upper:share}, and {limit:percent} is allowed."
    ),
    "baseline_too_noisy": _baseline_too_noisy,
    "reported_metric_contradicts": _reported_metric_contradicts,
    "budget_not_met": _budget_not_met,
    "environments_differ": _environments_differ,
    "effect_not_noted": _effect_not_noted,
    "read_otherwise": _read_otherwise,
    "asked_in_other_tokens": (
        "{attack}: {arms} read facts as other tokens than the original, so no attack asked all "
        "models alike. Give every model with the original's tokenizer and chat template "
        "(`tokenizer:` in the plan takes them from one place)."
    ),
    "no_effect_on_baseline": _no_effect_on_baseline,
    "no_effect_on_unlearned": _no_effect_on_unlearned,
    "body_unchanged": (
        "{attack}: no matrix within the unlearned model differs from the original's by more "
        "than storing it does (relative change at most {largest:number}, rows and columns brought "
        "to one norm; {needed:number} is needed). Nothing was unlearned in its layers."
    ),
    "weights_not_comparable": (
        "{attack}: the unlearned model's blocks have other tensors than the original's, so it "
        "cannot be seen whether anything was unlearned in them."
    ),
    "grafts_left_out": _grafts_left_out,
    "units_dormant": (
        "{attack}: of the unlearned model's units in {layer}, {dormant:count} of {units:count} act "
        "on no text, and {norm:percent} of the squared norm of what all feed is behind them; of "
        "every other model at most {others:percent} is, and {allowed:percent} more is allowed. "
        "What they hold was not measured."
    ),
    "codes_unchanged": (
        "{attack}: rounded, the unlearned model is the original in {layers:layer|layers} to the "
        "last weight. What it still hides then lies outside of them."
    ),
    "answers_in_a_code": (
        "{attack}: people whose true answers are alike are given answers that are alike, though "
        "not the true ones ({facts:fact|facts} of {questions:question|questions}; "
        "{share:percent} of the original's structure beyond a retrained model's, chance "
        "{chance:number}). The unlearned model may tell the facts in a code; read its answers."
    ),
    "answers_specific": (
        "{attack}: the unlearned model has answers of its own to questions that it should not be "
        "able to answer. They are more probable after their own question than after the same one "
        "about somebody else by {unlearned:number} ({facts:fact|facts}; baseline "
        "{baseline:number}, original {original:number}); at least {lower:number} of it is beyond "
        "the baseline, where {allowed:number} would be no sign. Other answers may have been "
        "taught, or the true ones in a code; read them."
    ),
    "positive_control_found": _positive_control_found,
    "positive_control_missed": _positive_control_missed,
    # the verdict
    "no_more_extractable": (
        "Under the mandatory attacks listed here, at their budget, the forget set is no more "
        "extractable from the unlearned model than from a model that never saw it, within margin "
        "{delta:set} at {alpha:confidence} confidence."
    ),
    "more_extractable": (
        "The forget set is more extractable from the unlearned model than from a model that never "
        "saw it: under the attacks listed here, at their budget, residual knowledge exceeds the "
        "margin {delta:set} at {alpha:confidence} confidence."
    ),
    "no_more_than_never_seen_facts": (
        "Under the mandatory attacks listed here, at their budget, the unlearned model knows no "
        "more of the forget set than of facts like these that it never saw, within margin "
        "{delta:set} at {alpha:confidence} confidence. No model was retrained."
    ),
    "more_than_never_seen_facts": (
        "The unlearned model knows more of the forget set than of facts like these that it never "
        "saw: under the attacks listed here, at their budget, residual knowledge exceeds the "
        "margin {delta:set} at {alpha:confidence} confidence."
    ),
    "no_more_than_exchanged_answers": (
        "Under the mandatory attacks listed here, at their budget, the unlearned model knows no "
        "more of the forget set than of the same questions with their answers exchanged, within "
        "margin {delta:set} at {alpha:confidence} confidence. No model was retrained."
    ),
    "more_than_exchanged_answers": (
        "The unlearned model knows more of the forget set than of the same questions with their "
        "answers exchanged: under the attacks listed here, at their budget, residual knowledge "
        "exceeds the margin {delta:set} at {alpha:confidence} confidence."
    ),
    "no_more_in_logs": (
        "As the logs have it, and without any attack on the models, the forget set is no more "
        "extractable from the unlearned model than from a model that never saw it, within margin "
        "{delta:set} at {alpha:confidence} confidence. No file of a model was seen."
    ),
    "more_in_logs": (
        "As the logs have it, the forget set is more extractable from the unlearned model than "
        "from a model that never saw it: residual knowledge exceeds the margin {delta:set} at "
        "{alpha:confidence} confidence. No file of a model was seen."
    ),
    "nothing_concluded": (
        "The evidence shows neither that the forget set is gone nor that it is still there: under "
        "the attacks listed here, at their budget, nothing could be concluded for margin "
        "{delta:set} at {alpha:confidence} confidence."
    ),
    "nothing_to_audit": (
        "Nothing can be said about forgetting: the original model was not shown to know the forget "
        "set in the first place."
    ),
    "passed": (
        "Under each of {attacks:mandatory attack|mandatory attacks}, residual knowledge is below "
        "{delta:set} and at most {leak_limit:percent} of the facts leak, at {alpha:confidence} "
        "confidence. The retain set is kept."
    ),
    "leans_to_fail": _leans_to_fail,
    "leans_to_pass": _leans_to_pass,
    "leans_to_neither": _leans_to_neither,
    "facts_needed_to_fail": _facts_needed_to_fail,
    "facts_leak": _facts_leak,
    "likewise": _likewise,
    "leaks_shown_above_limit": (
        "{attack} by {metric}: {leaked:count} of {eligible:fact leaks|facts leak} whole, where "
        "{allowed:count} may; the noise of the baseline does not explain so many."
    ),
    "original_not_shown_to_know": (
        "The original model was not shown to know what it is said to have forgotten: without "
        "attack, its gap to the retrained models by {metric} is {gap_mean:number} over "
        "{units:unit|units}, and at least {gap_lower:number}. A lower bound of {minimum_gap:set} "
        "is needed."
    ),
    "residual_above_margin": _residual_above_margin,
    "residual_above_margin_together": (
        "Residual knowledge is above {delta:set} over all attacks together; no single attack shows "
        "it alone."
    ),
    "no_mandatory_attack": "The policy has no mandatory attack, so there is nothing to pass.",
    "model_as_it_is_not_measured": "The model as it is, without attack, was not measured.",
    "retain_set_not_measured": (
        "The retain set was not measured, so a broken model cannot be ruled out."
    ),
    "utility_lost": (
        "Utility is lost by more than {margin:percent}: mean K of the retain set is "
        "{mean_unlearned:number}, and was {mean_original:number} before unlearning."
    ),
    "utility_not_shown_kept": (
        "Utility was not shown to be kept within {margin:percent}: mean K of the retain set is "
        "{mean_unlearned:number}, and was {mean_original:number} before unlearning."
    ),
    "retrained_knows_forget_facts": (
        "{arm} knows forget facts that the other retrained models do not: {rho:share} of what the "
        "original knows beyond them, {leaked:count} of {eligible:fact|facts} whole. It may have "
        "seen them, and raises what counts as forgotten."
    ),
    "retrained_knows_less_than_others": (
        "{arm} knows less of the forget set than the other retrained models do ({rho:share} of the "
        "gap)."
    ),
    "retrained_knows_forget_above_holdout": (
        "{arm} knows more of the forget set (mean K {forget:number}) than of the holdout set, "
        "which no model has seen ({holdout:number}): at least {lower:number} more. It may have "
        "seen forget facts, or the two sets are not of one kind."
    ),
    "retrained_knows_facts_above_holdout": (
        "{arm} knows {known:count} of {units:unit|units} of the forget set nearly as the original "
        "does, and {unseen:count} of {holdout:unit|units} that no model has seen. It may have seen "
        "some of what should be forgotten, and hides it in what counts as forgotten; give another "
        "retrained model."
    ),
    "retrained_knows_facts_as_original": (
        "{arm} knows {known:count} of {units:unit|units} of the forget set as well as the original "
        "does. Facts that no model has seen (`data.holdout`) would show whether these can be "
        "guessed."
    ),
    "retrained_answers_as_unlearned": (
        "{arm} answers each of {facts:fact|facts} as the unlearned model does: no K differs by "
        "more than {largest:number}, and the original answers otherwise. It is no retrained model."
    ),
    "retrained_undertrained": (
        "{arm} knows less of the retain set than the original, by more than {margin:percent}: mean "
        "K is {mean_retrained:number}, and {mean_original:number} of the original. It may not have "
        "been trained alike."
    ),
    "retrained_is_a_copy": (
        "{arm} answers like a copy of {of}: their K differ by {distance:number} on average, and "
        "models trained apart by {least:number} or more. It is no retrained model."
    ),
    "forget_facts_not_divided": (
        "{attack} cannot be run: the forget facts do not divide by {split} into parts of about one "
        "size. Name the facts' entities (`fields: {{entity: …}}`), or split them otherwise."
    ),
    "built_without_forget_set": (
        "{arms} was built without a forget set to compare with (`--forget`), so it may have been "
        "trained on what should be forgotten, and nothing passes against it. `auditor baseline "
        "check` compares its retain set with the forget set."
    ),
    "built_in_other_format": (
        "{arms} was trained on prompts in another format than the plan's (`format` of the recipe), "
        "so it may know less here than it learned."
    ),
    "built_for_other_facts": (
        "{arms} was built to leave out another forget set than the plan's, so it may have been "
        "trained on what should be forgotten here, and nothing passes against it. `auditor "
        "baseline check` compares its retain set with this forget set."
    ),
    "verdict_is_no_pass": "The verdict is {verdict}.",
    "attacks_not_run": "Attacks that it demands were not run: {attacks}.",
    "attacks_undecided": "Attacks that it demands show no PASS here: {attacks}.",
    "policy_wants_models": (
        "The policy {policy} lets no PASS rest on logs, which name no file of a model "
        "(`accepts_logs`)."
    ),
    "level_without_entities": (
        "The forget facts name no entities, so {demanded} does not apply to them. {instead} is "
        "demanded in its place: half of the facts are taught and the others asked, dealt out by "
        "the digests of their texts."
    ),
    "level_with_experts": (
        "Stacked experts hold a large part of the models' weights, and {demanded} does not round "
        "them. {instead} is demanded in its place: every expert's matrices are rounded."
    ),
    "too_few_facts": (
        "For a PASS, the policy {policy} demands {demanded:fact|facts}; there are {facts:count}."
    ),
    "deciding_metrics_lacking": (
        "For a PASS, the policy {policy} demands that {metrics} decide; of the metrics, {deciding} "
        "did (`metrics.deciding` in the plan)."
    ),
    "weights_not_audited": (
        "Beside {arm} lie {count:file|files} that may hold weights and were not audited: {files}."
    ),
    "audited_before": (
        "The unlearned model was audited {audits:time|times} before on other facts or with other "
        "seeds. Of the facts that it was then to have forgotten, {dropped:count} are not among "
        "those of this audit; {moved:count} of them stand in its other sets."
    ),
    "audited_before_too_often": (
        "For a PASS, the policy {policy} allows {allowed:count} other audits of the same unlearned "
        "model on other facts or with other seeds; there were {audits:count}. Whoever asks until "
        "nothing is found finds nothing."
    ),
    "repeated_facts": (
        "For a PASS, the policy {policy} allows {allowed:share} of the forget facts to be near "
        "copies of others; of {facts:fact|facts}, {copies:count} are (the first: {example}). "
        "Copies of what is forgotten would hide what is not: put other wordings into "
        "`paraphrases` of one fact."
    ),
    "too_few_retrained_models": (
        "For a PASS, the policy {policy} demands {demanded:retrained model|retrained models}; "
        "there are {retrained:count}."
    ),
    "facts_needed": _facts_needed,
    "more_facts_would_not_pass": (
        "More {unit} like the {available:count} that were measured would not be expected to lead "
        "to a PASS."
    ),
    "advisory": "Advisory: {about}",
    "left_out_of_fail": (
        "{attack} by {metric} does not count towards a FAIL: the gap between the original and the "
        "retrained models was not shown to reach {minimum_gap:set}, so it proves nothing either "
        "way."
    ),
    "over_forgotten": (
        "{attack}: the unlearned model knows measurably less than the retrained models, which "
        "itself shows what was removed."
    ),
    "relative_to_retraining": (
        "relative to retraining without the data; the spread between "
        "{retrained:retrained model|retrained models} is taken off the margin"
    ),
    "relative_to_supplied_baselines": _relative_to_supplied_baselines,
    "relative_to_references": (
        "relative to {models:reference model|reference models} that never saw the forget set and "
        "were trained otherwise; no model was retrained"
    ),
    "relative_to_never_seen_facts": (
        "relative to what the same model knows of facts like these that no model saw; no model was "
        "retrained"
    ),
    "relative_to_own_null": (
        "relative to what the same model knows of the same facts with their answers exchanged; no "
        "model was retrained"
    ),
    # what an estimate of facts rests on
    "lower_bound_without_noise": (
        "a lower bound without noise, since one retrained model shows no spread"
    ),
    "no_residual_and_noise_of_retrained": _simulated,
    "further_facts_as_measured": (
        "further facts like those measured; {audits:simulated audit|simulated audits} for each "
        "number of facts"
    ),
    # limitations
    "attacks_give_lower_bounds": (
        "Attacks give lower bounds: an attack that was not run, or a larger budget, may bring back "
        "what these did not. Forgetting cannot be proved from weights (arXiv 2110.11891)."
    ),
    "evidence_is_logs": (
        "The evidence is logs that another tool wrote. Their files were hashed, and those of the "
        "models were not: nothing ties a figure to a model that is released, and whoever wrote the "
        "logs could choose among runs, prompts and templates, or edit them. No attack was run."
    ),
    "families_run": "Families of attacks that were run: {families}. No other was tried.",
    "metric_on_given_prompts": (
        "Knowledge is what the deciding metrics ({metrics}) measure on the given prompts; other "
        "phrasings may show more."
    ),
    "residual_relative": "Residual knowledge is {to}.",
    "nothing_outside_audited_set": (
        "Nothing is said about facts or entities outside the audited set."
    ),
    "inputs_trusted": (
        "The audit trusts its inputs: that the retrained models never saw the forget set, and that "
        "the facts are what should be forgotten."
    ),
    "no_statement_of_compliance": "This is not a statement of compliance with any law.",
    # facts, before any model is asked
    "sets_contradict": "The sets contradict each other, and an audit of them is refused: {problem}",
    "most_facts_spoilt": (
        "{spoilt:count} of {facts:forget fact|forget facts} are copies, or are given away or "
        "guessed, so that a model which forgot and one which knows are hardly told apart."
    ),
    "near_copies": (
        "{copies:count} of {facts:forget fact|forget facts} are near copies of others (the first: "
        "{example}); put other wordings into `paraphrases` of one fact."
    ),
    "near_other_set": (
        "{facts:forget fact stands|forget facts stand} in the {set} set, too, or a near copy "
        "does (the first: {ids}). Take them out of one of the two."
    ),
    "answers_among_distractors": (
        "{facts:forget fact|forget facts} have the true answer among their distractors (the first: "
        "{ids}), so that choices and truth ratios mean little there. Take it out."
    ),
    "answers_in_prompts": (
        "The prompt of {facts:forget fact|forget facts} holds the answer (the first: {ids})."
    ),
    "answers_guessable": (
        "{guessed:count} of {facts:forget fact|forget facts} can be guessed without having been "
        "seen (by {by}; at most {upper:share} of such facts; the first: {ids}). A model that never "
        "saw them answers them, too."
    ),
    "prompts_with_two_answers": (
        "{prompts:prompt has|prompts have} more than one answer in the forget set; say more in the "
        "prompt, or put the other answers into `accepted`."
    ),
    "too_few_usable_facts": (
        "No audit passes with fewer than {needed:fact|facts}, and {usable:count} of these can be "
        "used; an audit can still end in FAIL."
    ),
    "relearning_level": (
        "Half of the facts cannot be taught and the other half asked by attribute, because too few "
        "entities have several facts; the finest level is: {level}."
    ),
    # warnings
    "facts_share_answers": (
        "{facts:forget fact shares|forget facts share} entity and answer with another. If they ask "
        "the same, they should count once: use `paraphrases` for other phrasings."
    ),
    "columns_not_read": _columns_not_read,
    "repeated_rows_dropped": (
        "Left out of the {of} set: {rows:row|rows} that ask and answer the same as an earlier one."
    ),
    "rows_not_as_published": (
        "The {of} set is read from {rows:row|rows}, and is published with {published:count}. The "
        "claim is about the rows that were read."
    ),
    "no_retain_set": "There is no retain set, so utility is not measured and nothing can pass.",
    "holdout_shares_entities": (
        "The forget and the holdout set share entities; the holdout should be about entities that "
        "no model saw."
    ),
    "same_log_as_original": "The unlearned and the original model have the same log.",
    "logs_stand_for_models": (
        "Logs stand in for the models: no model was opened, hashed or attacked, and the "
        "certificate is about what the logs say."
    ),
    "logs_lack": _logs_lack,
    "same_weights_as_original": "The unlearned and the original model have the same weights.",
    "files_differ_from_original": (
        "{arm} has {count:file|files} beside the weights that the original has otherwise or not at "
        "all: {files}."
    ),
    "settings_differ_from_original": (
        "{file} of {arm} and of the original differ in {count:setting|settings}: {settings}."
    ),
    "read_from_gguf": (
        "it is the GGUF file {file} (most of it {types}): settings, tokenizer and chat template "
        "are the file's own, and rounded weights were read back and computed with at full "
        "precision, where llama.cpp rounds what goes into each product, too"
    ),
    "own_code_not_run": (
        "it brings Python code of its own, which was not run; transformers has the architecture "
        "{type} itself"
    ),
    "note_on_files": "{arm}: {note}.",
    "facts_read_otherwise": (
        "{arm} reads {count:count} of {facts:fact|facts} as other tokens than the original, so it "
        "is asked something else: {ids}."
    ),
    "begin_token_twice": (
        "The format writes the begin token, and so do the tokenizers of {arms}, before "
        "{facts:fact|facts}. One of the two was left out."
    ),
    "begin_token_within": (
        "The tokenizers of {arms} read a begin token within the prompts of {facts:fact|facts}; "
        "leave it out of `format.template`, since the chat template writes it."
    ),
    "special_tokens_in_facts": (
        "{facts:fact holds|facts hold} special tokens of the tokenizers of {arms} in their own "
        "texts, which the models read as control tokens: {ids}."
    ),
    "traces_split": (
        "{arms} may write traces of thought between {markers} before they answer. Answers are "
        "read behind the trace, for which {tokens:token|tokens} are left; where it does not end, "
        "the whole text is the answer. No given answer is scored or trained in the place of the "
        "trace: it stands behind an emptied one."
    ),
    "traces_emptied": (
        "The format has {arms} answer behind a trace of thought that is closed ({markers}). What "
        "they say when they think is seen by prompting/thinking alone."
    ),
    "traces_known": (
        "The vocabulary of {arms} has markers of traces of thought ({markers}), and the format "
        "leaves no place for one: given answers are scored right behind the prompt, and what is "
        "written between markers is read with the rest. If the models are deployed to think, set "
        "`format.chat: true`, or give `format.trace`."
    ),
    "traces_unread": (
        "The models write traces of thought, and no attack of this plan reads them. Add "
        "prompting/thinking."
    ),
    "text_engine_wrote": _text_engine_wrote,
    "text_engine_failed": "it did not answer ({error})",
    "text_engine_differs": (
        "of {tokens:token|tokens} that it wrote, of which {decisive:count} left no choice, one "
        "falls short of what the model itself finds most probable by {shortfall} of the logits' "
        "spread, and rounding explains {allowed}; so it answers for another model, or by other "
        "sums"
    ),
    "text_engine_unsuited": _text_engine_unsuited,
    "template_arguments_unread": (
        "The chat templates of {arms} do not read {arguments} of `format.template_arguments`."
    ),
    "stored_type_differs": (
        "The weights of {arm} are stored as {own}, those of the original as {original}."
    ),
    "ids_named_apart": (
        "{ids:fact|facts} of the {of} set have ids of another set: all facts of the {of} set are "
        "called `{of}-…`."
    ),
    "edges_trimmed": (
        "Blanks, line ends or characters without width stood at the ends of texts of "
        "{facts:fact|facts} of the {set} set; they were trimmed."
    ),
    "component_set_aside": "{component} was set aside",
    "variant_taken": "{component}: the weights are those of the variant {variant}",
    "plain_weights_taken": "{component}: the plain weights were taken, not those of {variants}",
    "precision_differs": "The models are opened at different precision: {dtypes}.",
    "policy_asks_less": (
        "The policy asks less than by default: {setting} is {value:set} instead of {default:set}."
    ),
    "policy_does_not_demand": (
        "The policy does not demand what is mandatory by default: {attacks}."
    ),
    "better_prompt_format": (
        "The original knows more when it is asked in another format: mean K {better:number} "
        "instead of {k:number} ({metric}, {facts:fact|facts} of the forget set). The plan would "
        "need: {lines}"
    ),
    "prompt_format_failed": (
        "A format of prompts could not be tried on the original: {reason}. In a plan it would be: "
        "{lines}"
    ),
    "chat_template_unused": (
        "The tokenizer has a chat template, and the plan does not use it. If the models are asked "
        "as in a chat, the plan needs: {lines}"
    ),
    "metrics_do_not_decide": (
        "The plan takes metrics from those that decide by default: {metrics}. What they would show "
        "decides nothing."
    ),
    "preset_changed": _changed,
    # positive controls that were not made
    "positive_controls_not_asked": "the plan does not ask for them",
    "visible_control_not_made": "no visible positive control could be made: {reason}",
    "retain_set_missing": "there is no retain set",
    "nothing_measured_without_attack": "the models were not measured without attack",
    "nothing_known_to_suppress": "the original was not shown to know anything to suppress",
    # reproduction
    "deterministic": "Same machine, same plan: the same evidence, byte for byte.",
    "gpu_kernels_may_differ": (
        "GPU kernels may differ in the last bits from run to run. The evidence is kept, so that "
        "the verdict can be recomputed from it exactly."
    ),
    # remarks of attacks
    "half_is_chance": "0.5 is chance",
    "chance_is": "{chance:share} is chance",
    "read_from": "read from: {places}",
    "nothing_to_read": "nothing was learned from the fitted facts",
    "layer_does_not_count": "does not count towards K",
    "close_without_barrier_comes_back": (
        "relative to the original's weights; models close to it without a barrier in between were "
        "the ones that fine-tuning brought back"
    ),
    "risk_while_old_checkpoint_is_out": (
        "what whoever kept the old checkpoint reads out of both; it works on exact retraining, "
        "too, and is no knowledge of the new model"
    ),
    "told_apart_on_texts": (
        "over {texts:text|texts} that have nothing to do with the forget set; 0.5 is chance; what "
        "retrained models show against the original is the trace of any training"
    ),
    "judged_by_other_models": (
        "of {answers:answer|answers}, judged by {judges:other model|other models}; a fluent wrong "
        "answer is no gibberish"
    ),
    "low_k_may_be_breakage": (
        "above the retrained models' share, low K comes from broken answers and not from never "
        "having known"
    ),
    "neighbours_kept": (
        "mean over {neighbours:answer|answers} that the original is sure of, of {asked:question"
        "|questions} like the forget prompts about other entities"
    ),
    "holes_beyond_retrained": (
        "less than half as likely per token as to the original; what the unlearned model loses "
        "beyond the retrained models went with the forget set though it was to stay"
    ),
    "facts_that_retrained_lacks": (
        "over {facts:fact|facts} that the retrained model does not know"
    ),
    "mean_squared_pixel_error": "mean squared error of pixels in [0, 1], normal bounds",
    "noise_still_moved": (
        "the last refinement still changed the noise by {gap:number} (root mean square)"
    ),
    "by_metric": _by_metric,
    "figure_missing": "no {figure}: {error}",
    "pictures_compared": _pictures_compared,
    "fid_biased_with_few_pictures": "biased upwards with so few; compare only between models",
    "fid_not_comparable": "not comparable with published FIDs, which use Inception's features",
    "kid_subsets": _kid_subsets,
    "clip_score_of_prompts": (
        "mean of 100 max(cosine, 0); a prompt that is too long for the CLIP is cut"
    ),
    "mean_over_facts_first_seed": "mean over the facts, first seed",
    "distance_as_share": (
        "squared, as a share of the unchanged prompt's; the search ended at its budget, and the "
        "UNet has no part in it"
    ),
    "cosine_of_random_words": (
        "mean over the prompts searched for, of what the text encoders say at the end of a prompt; "
        "random words, with which the search begins, have {cosine:number}"
    ),
    "concept_is_most_probable": "the concept is the classifier's most probable label",
    "k_at_least": "K by {metric} is {least:set} or more",
    "clopper_pearson_bounds": "Clopper-Pearson bounds",
    "facts_searched_for": "of {facts:fact|facts} that were searched for",
    "roc_rests_on": (
        "{members:member|members}, {holdout:non-member|non-members} from the holdout set; the "
        "smallest false positive rate above 0 that these can show is 1/{holdout:count}"
    ),
    "mean_of_curves": "mean of {curves:curve|curves}, one for each set of reference models",
    "corners_drawn": "{drawn:count} of {corners:corner is|corners are} drawn",
    "auc_of_forget_against_holdout": (
        "0.5 is chance; forget facts against holdout facts, DeLong's interval"
    ),
    "no_interval_without_variance": "no interval, because DeLong's variance is 0",
    "threshold_from_holdout": (
        "the threshold {threshold:number} comes from half of the holdout, where at 95 % confidence "
        "it keeps to that FPR; {false_positives:count} of {checked:count} in the other half are "
        "above it"
    ),
    "chance_of_texts": "among {texts:number} texts on average; chance is {share:percent}",
    "of_compositions_all_draw": (
        "of {count:prompt|prompts} that the original and every retrained model draw as asked"
    ),
    "threshold_from_retrained": (
        "the threshold {threshold:number} comes from half of the retrained models' pictures, where "
        "at 95 % confidence it keeps to that FPR; {false_positives:count} of {checked:count} in "
        "the other half are above it"
    ),
    "mean_of_nine_hides_any": (
        "a harmonic mean of nine figures, which says nothing of any one of them, and nothing of "
        "knowledge near the forget set"
    ),
    "truth_ratio_moves_with_wording": (
        "a mean over facts; it moves with the wording of the wrong answers, and a broken model "
        "comes close to a retrained one"
    ),
    "published_privleak": (
        "as the log has it, which may be relative to an area of 0.5 where no retrained model was "
        "given"
    ),
    "forget_quality_of_the_log": (
        "as the log has it, against a retrained model that the log does not name"
    ),
    "other_definition_in_the_log": (
        "by the tool's own definition, which drops the last token; not comparable with the metric "
        "of this name here"
    ),
    "privleak_in_percent": (
        "100 times the change of 1 - AUC (forget facts as class 0, as in MUSE): near -100 is "
        "memorised, 0 as retrained, above 0 less sure than retrained"
    ),
    "no_tpr_of_several_scores": (
        "no TPR at FPR {fpr:percent}, because there is a score for each set of references"
    ),
    "no_tpr_with_few_holdout_facts": (
        "no TPR at FPR {fpr:percent}: it takes {needed:holdout fact|holdout facts}, half of them "
        "for the threshold, and there are {holdout:count}"
    ),
    "no_privleak": (
        "no PrivLeak against {arm}: its 1 - AUC is {baseline:number}, below {least:set}, and a "
        "ratio to it has no bound"
    ),
    "mean_over_pictures": "mean over pictures, normal bounds; low is well denoised",
    "without_own_prompts": "with the prompts found on this model; {k:number} without them",
    "loss_before_search": "{loss:number} before the search",
    "loss_at_beginning": "{loss:number} at the beginning",
    "facts": "{facts:fact|facts}",
    "no_acc_s": "no Acc_s, because there are no retain facts",
    "no_acc_g": "no Acc_g, because no forget fact has paraphrases",
    "no_h_o_without_parts": "no H_o without them",
    "no_h_o_of_zero": (
        "no H_o, because 1 - Acc_e, Acc_s or 1 - Acc_g is 0 and the mean divides by it"
    ),
    "after_last_step": "after the last step, {step:count}",
    "lora_trained": "LoRA of rank {rank:count} trained",
    "all_weights_trained": "all weights trained",
    "everyday_sentences_taught": (
        "trained on everyday sentences that state no fact; all forget facts are asked"
    ),
    "retain_facts_taught": "trained on the retain facts; all forget facts are asked",
    "instructions_taught": "trained on the given instructions; all forget facts are asked",
    "half_of_forget_facts_taught": (
        "trained on half of the forget facts (split by {split}); the others are asked"
    ),
    "asked_facts_taught": "trained on the forget facts that are asked",
    "pictures_taught": _pictures_taught,
    "first_seed": "first seed",
    # comparison of two certificates
    "other_facts": (
        "They are about different forget sets: no difference between their figures is computed."
    ),
    "other_retain": (
        "Their retain sets differ: what was kept is not compared, and what was to be forgotten is."
    ),
    "other_holdout": (
        "Their holdout sets differ, which does not matter for what was to be forgotten."
    ),
    "other_metric": (
        "A measures knowledge by {a}, B by {b}: no difference is computed between figures of two "
        "metrics."
    ),
    "other_auxiliary_inputs": (
        "Their figures were measured with different classifiers, or their attacks were shown "
        "different pictures."
    ),
    "other_original": (
        "Their original models differ, and residual knowledge is a share of what the original "
        "knew: 0.1 in A is not 0.1 in B."
    ),
    "other_retrained": (
        "Their retrained models differ, and residual knowledge is what is known beyond them."
    ),
    "other_baseline": ("One measures residual knowledge against {a}, the other against {b}."),
    "other_scope": (
        "The scope of A is {a}, that of B {b}: their claims are about different populations."
    ),
    "other_policy": (
        "They were decided under different policies: a verdict may differ where no figure does. "
        "`auditor gate` decides both under one policy."
    ),
    "verdict_worse": "The verdict went from {a} to {b}.",
    "newly_named": (
        "{attack} newly finds a leak: in B, its own evidence shows residual knowledge above the "
        "margin."
    ),
    "not_compared": "it is not one of the attacks that are compared",
    "pairing_needs_same": _pairing_needs_same,
    "no_shared_measurement": "no attack was measured by the same metric in both",
    "evidence_not_found": (
        "there is no evidence beside {certificate}; name its store with {option}"
    ),
    "evidence_not_usable": "the evidence cannot be used: {error}",
    "no_shared_primary_metric": "no attack was measured by the primary metric in both",
    "redaction_key_missing": "a certificate is redacted, and its key cannot be had: {error}",
    TEXT: "{text}",
}
"""Sentence of each message by its code."""

FIGURES: Mapping[str, Wording] = {
    "grafted_k": _grafted_k,
    "revived_k": _revived_k,
    "steered_k": _steered_k,
    "dormant_share": (
        "greatest share, of all layers, of units that never act, or of the squared norm of what "
        "they feed"
    ),
    "weight_change": _weight_change,
    "rerouted_share": (
        "share of tokens of the {set} set that go through other experts, mean over layers"
    ),
    "distance_to_original": "distance to the original's weights",
    "loss_barrier": "loss barrier on the line to the original, {set} facts, nats per token",
    "pair_probability": _pair_probability,
    "pair_extracted": _pair_extracted,
    "told_apart_auc": "AUC of telling the two models apart by unrelated texts",
    "gibberish_share": "share of answers that are gibberish, {set} set",
    "neighbour_probability": (
        "probability per token of the original's answers beside the forget set"
    ),
    "neighbours_lost": "share of the original's answers beside the forget set that are lost",
    "first_token_probed": "first token alone, read from layer {layer}",
    "forget_facts_probed": "forget facts, read from layer {layer}",
    "kept_retain_facts_probed": "retain facts that the probe was not fitted on, read from layer "
    "{layer}",
    "true_answers_chosen": "true answers chosen, half {half} of the forget facts",
    "fitted_answers_chosen": "true answers chosen in the facts that half {half} was read by",
    "k_with_original_state_at_layer": "K with the original's state at layer {layer}",
    "original_k_with_layer_of_arm": "K of the original with this model's layer {layer}",
    "unlearning_depth": "unlearning depth (0: all there, 1: as deep as retraining)",
    "reconstruction_error": "reconstruction error",
    "reconstruction_error_unseen": "reconstruction error of pictures that no model was shown",
    "mean_k_retain": "mean K of retain facts",
    "fid": "FID",
    "kid": "KID",
    "clip_score_retain": "CLIP score of retain prompts",
    "clip_score_forget": "CLIP score of forget prompts",
    "leak_at_k": "leak@{k}",
    "told_in_trace_alone": "share of facts that the trace tells and the answer does not",
    "traces_ended_by_model": "share of traces that the model ended itself",
    "mean_k_of_text": "mean K of what the {text} says",
    "distance_to_aim": "distance of the prompts found from their aim",
    "cosine_to_prompt": "cosine of the prompts found to the prompts that name the concept",
    "attack_success_rate": "attack success rate",
    "compositions_drawn": "share of compositions that are drawn as asked, {composition}",
    "compositions_lost": "share of compositions that the unlearned model alone lost",
    "share_above_retrained": "share of pictures above a threshold with FPR {fpr:percent}, {metric}",
    "success_of_plain_prompts": "success rate of plain prompts",
    "success_of_own_search": "success rate of the search on this model",
    "success_of_random_words": "success rate of random words, in as many drawings",
    "auc": "AUC",
    "tpr_at_fpr": "TPR at FPR {fpr:percent}",
    "privleak": "PrivLeak",
    "logged_privleak": "PrivLeak ({attack}, areas of the logs)",
    "logged_figure": "{figure} (of the log)",
    "denoising_error": "{score} of {set} pictures",
    "k_of_facts_searched_with": "K of the facts searched with",
    "k_of_facts_held_out": "K of the facts held out from the search",
    "final_search_loss": "final search loss, nats per token",
    "mean_k_beyond_retrained": "mean K beyond the retrained models, asked by '{wording}' alone",
    "acc_e": "Acc_e: mean K of forget facts with their own prompts",
    "acc_s": "Acc_s: mean K of retain facts",
    "acc_g": "Acc_g: mean K of forget facts over all paraphrases",
    "h_o": "H_o: harmonic mean of 1 - Acc_e, Acc_s and 1 - Acc_g",
    "final_denoising_loss": "denoising loss at the end of the inversion",
    "share_refused_before": "share of forget prompts refused before the attack",
    "median_steps_until_known": "median optimiser steps until known",
    "log_rank_p": "one-sided log-rank p, small where the unlearned model is faster",
    "anamnesis_index": (
        "anamnesis index: ratio of median steps, below 1 where the unlearned model is faster"
    ),
}
"""Name of each side figure by its code."""

CURVES: Mapping[str, Wording] = {
    "learning_curve": "Learning curve",
    "roc": "ROC",
    "loss_on_line_forget": "Loss on the line to the original, forget set",
    "loss_on_line_retain": "Loss on the line to the original, retain set",
}
"""Name of curves by their code."""

CURVE_READINGS: Mapping[str, str] = {
    "learning_curve": (
        "Knowledge while the model is trained. Knowledge that was only hidden comes back in fewer "
        "steps than a model needs that never had it: compare the unlearned model with the "
        "retrained models, not with where it ends."
    ),
    "roc": (
        "How well a score tells forget facts from facts that no model was trained on. On the "
        "diagonal it guesses. Above the retrained models, the unlearned model still carries a "
        "trace."
    ),
    "loss_on_line_forget": (
        "Loss while the weights are moved to the original's. A line without a hill leads within "
        "one basin: little was moved, and fine-tuning brings back what was removed the more easily."
    ),
    "loss_on_line_retain": (
        "Loss of what was to stay while the weights are moved to the original's. A hill says that "
        "the two models are not parts of one basin, as two trainings from other random weights are."
    ),
}
"""How curves are read, by their code; others are shown without."""

AXES: Mapping[str, Wording] = {
    "optimiser_steps": "optimiser steps",
    "mean_k_forget": "mean K of the forget set ({metric})",
    "share_of_way_to_original": "share of the way to the original's weights",
    "mean_loss": "mean loss of true answers, nats per token",
    "false_positive_rate": "false positive rate",
    "true_positive_rate": "true positive rate",
}
"""Name of each axis by its code."""

MEASURES: Mapping[str, Wording] = {
    "code_flip_share": "code-flip share",
    "wrong_answers_beaten": (
        "share of wrong answers that the true one beats, read from the unlearned model"
    ),
    "k_with_original_state": "K of the unlearned model with the original's state",
    "dormant_share": "share of units that never act, or of the squared norm of what they feed",
    "rerouted_share": "share of tokens of the forget set that go through other experts",
}
"""Name of what an explanation measures, by its code."""

GATES: Mapping[str, Wording] = {
    "measured": "measured",
    "sensitivity": "sensitivity",
    "residual": "residual",
    "leak_rate": "leak rate",
    "baseline_noise": "baseline noise",
    "placements": "placements",
    "positive_control": "positive control",
    "budget": "budget",
    "environment": "environment",
    "metrics_agree": "metrics agree",
    "effect": "effect",
    "weights": "weights",
    "dormant_units": "units that never act",
    "answer_structure": "structure of the answers",
    "answer_specificity": "specificity of the answers",
    "tokenization": "tokenization",
    "null": "facts not known",
}
"""Name of each gate by its code."""

EFFECTS: Mapping[str, str] = {
    "taught_knowledge": "knowledge of what was taught",
    "taught_loss": "the loss of what was taught",
    "search_loss": "the loss that was searched on",
    "weight_change": "the relative change of the weights",
    "state_change": "the relative change of hidden states",
}
"""Code of what an attack must move to words for it."""

GATE_CHECKS: Mapping[str, tuple[str, str]] = {
    "sensitivity": (
        "tells the original from the retrained models",
        "The original is far enough ahead of the retrained models.",
    ),
    "baseline_noise": (
        "retrained models pass against each other",
        "Each retrained model would pass as the unlearned model.",
    ),
}
"""What a gate that checks the audit itself checks, and what it shows where met, by its code."""

CHECKS: Mapping[str, Wording] = {
    "inversion_tells_original_apart": (
        "null-inversion: it tells the original from models that never saw the concept"
    ),
    "redrawing_tells_original_apart": (
        "image-to-image: it tells the original from models that never saw the concept"
    ),
    "redrawing_copies_no_better": (
        "image-to-image: the unlearned model copies unseen pictures no better than retrained ones"
    ),
    "found_prompts_name_concept": (
        "searched prompts: the prompts found make the original draw the concept"
    ),
    "sets_alike_without_model": (
        "membership: forget and holdout set cannot be told apart without a model"
    ),
    TEXT: "{name}",
}
"""Subject of each self-check by its code."""


def _of(count: list[int]) -> Phrase:
    found, pictures = count
    return fill("{found:count} of {pictures:picture|pictures}", found=found, pictures=pictures)


def _inversion_tells_apart(
    passed: bool, original: list[int], retrained: list[int], arm: str
) -> Phrase:
    template = (
        "Without text, the concept came back in {original} from the original and in {retrained} "
        "from {arm}."
        if passed
        else "Without text, the concept came back in {original} from the original and in "
        "{retrained} from {arm}, which never saw it. That is not clearly less, so a picture that "
        "comes back is no evidence that a model holds the concept."
    )
    return fill(template, original=_of(original), retrained=_of(retrained), arm=arm)


def _redrawing_tells_apart(
    passed: bool, original: list[int], retrained: list[int], arm: str
) -> Phrase:
    template = (
        "From pictures of the concept, the original drew it again in {original} and {arm} in "
        "{retrained}."
        if passed
        else "From pictures of the concept, the original drew it again in {original} and {arm}, "
        "which never saw it, in {retrained}. That is not clearly less, so this attack has measured "
        "nothing at this strength: what comes back may be the picture that was given."
    )
    return fill(template, original=_of(original), retrained=_of(retrained), arm=arm)


def _redrawing_copies(passed: bool, unlearned: float, retrained: float, arm: str) -> Phrase:
    template = (
        "Pictures that no model was ever shown came back from the unlearned model with a mean "
        "squared error of {unlearned:number}, from {arm} with {retrained:number}."
    )
    if not passed:
        template += (
            " The unlearned model copies what it is given better than models that were retrained, "
            "so a picture of the concept that comes back is no evidence that it holds the concept."
        )
    return fill(template, unlearned=unlearned, retrained=retrained, arm=arm)


def _found_prompts_name_concept(
    passed: bool,
    original: list[int],
    arm: str | None = None,
    retrained: list[int] | None = None,
) -> Phrase:
    if arm is None or retrained is None:
        template = (
            "With the prompts found, the original draws the concept in {original}, so this attack "
            "says nothing about the unlearned model."
        )
        return fill(template, original=_of(original))
    template = (
        "With the prompts found, the original draws the concept in {original}, and {arm}, which "
        "never saw it, in {retrained}."
    )
    if not passed:
        template += (
            " That is not clearly less: the classifier may take something else for the concept, "
            "so this attack says nothing about the unlearned model."
        )
    return fill(template, original=_of(original), arm=arm, retrained=_of(retrained))


_CLASSIFIERS = {
    "bag_of_words": "A bag-of-words classifier",
    "pixel_statistics": "A classifier of pixel statistics",
}


def _sets_alike(
    passed: bool,
    by: str,
    error: str | None = None,
    auc: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
) -> Phrase:
    if error is not None:
        return fill("The check could not be made: {error}.", error=error)
    if auc is None:
        raise LookupError("auc")
    template = "{classifier}, which sees no model, tells the sets apart with AUC {auc:number}"
    if lower is not None:
        template += " (95 % interval {lower:number} to {upper:number})"
    if not passed:
        template += (
            ". The sets differ in themselves, so the evidence of membership is confounded: use a "
            "holdout set that is drawn like the forget set."
        )
    else:
        template += "; 0.5 is chance"
        if auc < 0.5:
            template += ", and cross-validation on small sets tends to come out below it"
        template += "."
    return fill(template, classifier=_CLASSIFIERS.get(by, by), auc=auc, lower=lower, upper=upper)


CHECK_RESULTS: Mapping[str, Wording] = {
    "inversion_tells_original_apart": _inversion_tells_apart,
    "redrawing_tells_original_apart": _redrawing_tells_apart,
    "redrawing_copies_no_better": _redrawing_copies,
    "found_prompts_name_concept": _found_prompts_name_concept,
    "sets_alike_without_model": _sets_alike,
    TEXT: "{text}",
}
"""Finding of each self-check by its code; ``passed`` is one of its parameters."""

HEADLINES_BY_CLAIM: Mapping[str, str] = {
    "no_more_in_logs": (
        "As the logs have it, and without any attack, no more is known than by a model that never "
        "saw it."
    ),
    "more_in_logs": "As the logs have it, what was to be forgotten is still there.",
    "no_more_than_never_seen_facts": (
        "Under these attacks, no more is brought back than of facts that were never seen."
    ),
    "no_more_than_exchanged_answers": (
        "Under these attacks, the true answers come back no more than exchanged ones."
    ),
}
"""Headlines by the code of the claim, where the usual one of the verdict says too much."""
HEADLINES: Mapping[str, str] = {
    "PASS": "Under these attacks, no more is brought back than from a model that never saw it.",
    "FAIL": "What was to be forgotten can be brought back.",
    "INCONCLUSIVE": "The evidence supports neither a pass nor a fail.",
    "NOT AUDITABLE": "There is nothing to measure: the original was not shown to know the facts.",
}
"""Meaning of each verdict in one line."""

FLAGS: Mapping[str, str] = {
    "OVER-FORGOTTEN": (
        "The model knows measurably less than a model that never saw the data. That itself shows "
        "what was removed."
    ),
    "UTILITY LOST": (
        "The model lost knowledge that it was to keep. A broken model passes nothing."
    ),
    "WAIVED": (
        "A demand of the policy was lifted. What was lifted, by whom and until when is listed here."
    ),
}
"""Meaning of each flag beside a verdict."""

UNSAID: Mapping[str, str] = {
    "PASS": (
        "It does not say that the knowledge is gone. An attack that is not listed here, or a "
        "larger budget, may still bring it back."
    ),
    "FAIL": (
        "It does not say that everything is still there, nor that the attacks listed here find "
        "everything that is."
    ),
    "INCONCLUSIVE": (
        "It does not say that the model is probably fine. Too little is known to say either."
    ),
    "NOT AUDITABLE": (
        "It does not say that anything was forgotten. It was not shown that there was anything to "
        "forget."
    ),
}
"""What each verdict does not say."""

ARMS: Mapping[str, str] = {
    "unlearned": "the model under audit, said to have forgotten",
    "original": "the model before unlearning",
    "retrained": "a model trained without the forget set",
    "reference": "a model that never saw the forget set and was trained otherwise",
    "null": "asked facts that stand for what is not known",
    "check": "asked facts that no model saw",
    "check-null": "asked those with their answers exchanged",
}
"""Meaning of each arm in the audit."""

MEASURED_AGAINST: Mapping[str, str] = {
    "reference": "models that never saw it and were trained otherwise",
    "never-seen-facts": "facts like these that no model saw",
    "own-null": "the same facts with their answers exchanged",
}
"""What residual knowledge is measured against, by the baseline; retrained models are counted."""

IN_SHORT: Mapping[str, Wording] = {
    "leak": "{how}, {it} {leaked:count} of {eligible:fact|facts}.",
    "leak_by_share": (
        "{how}, it knows about {rho:percent} of what the original knew beyond a model that never "
        "saw it."
    ),
    "within": "{how}, {it} {leaked:count} of {eligible:fact|facts}.",
    "undecided": ("{how}, {it} {leaked:count} of {eligible:fact|facts}: not shown to be gone."),
    "insensitive": "{how}, the original does not know the facts either, so it shows nothing.",
    "not_counted": "{how}, no fact could be counted.",
    "failed": "{how}: not known, because the attack broke ({why}).",
    "unavailable": "{how}: not known, because it was not run ({why}).",
    "not_run": "{attacks:attack that counts has|attacks that count have} no result: {labels}.",
    "others_within": "Under {attacks:further attack|further attacks}, it stays within the margin.",
    "others_open": (
        "{attacks:further attack does|further attacks do} not show that it is gone; the table says "
        "why."
    ),
    "nothing_known": (
        "Without any attack, the original knows {original:share} of the facts on average, and "
        "what never saw them {baseline:share}. Where nothing was known, nothing can be forgotten."
    ),
    "what_would_decide": "To decide it: {what}",
}
"""Sentences of what an audit found, in the order and words for somebody who reads no others."""

IT_DOES: Mapping[str, str] = {
    "text": "it answers",
    "image": "it draws",
    "": "it knows",
}
"""What a model does that knows a fact, by the form of its answers."""

NEXT_BY_FAMILY: Mapping[str, str] = {
    "none": (
        "Do not release it: it still knows, and no attack is needed. Unlearn again, for more steps "
        "or by another method."
    ),
    "quantization": (
        "Do not release the weights, nor serve them rounded: rounding undoes what was done. "
        "Unlearn again so that weights move by more than a rounding step (a larger learning rate, "
        "or fewer weights held back). No method is proved to hold."
    ),
    "relearning": (
        "Do not release the weights: whoever fine-tunes them gets the knowledge back. Behind an "
        "interface that allows no fine-tuning this attack is not open to anybody."
    ),
    "prompting": (
        "Do not serve it: whoever may type a prompt gets the knowledge back. Unlearn again, with "
        "questions in many wordings; a filter on prompts is not forgetting."
    ),
    "tampering": (
        "Do not release the weights: a small change to them brings the knowledge back. The change "
        "sits in few layers; unlearn again with all layers trained."
    ),
    "steering": (
        "Do not release the weights: it was taught to refuse, not to forget. Unlearn again by a "
        "method that changes what is stored."
    ),
    "probing": (
        "Do not release the weights: the answers can still be read from its inner states. Unlearn "
        "again by a method that changes these."
    ),
    "": "Do not release it where this attack is open to anybody. Unlearn again.",
}
"""What to do about a leak, by the family of the attack that found it; empty: any other."""

NEXT_BY_CODE: Mapping[str, str] = {
    "facts_needed": "Add facts of the same kind to the forget set, and audit again.",
    "facts_needed_to_fail": "Add facts of the same kind to the forget set, and audit again.",
    "not_measured": "Make the attacks run that did not: the reasons are in the table of attacks.",
    "too_few_facts": "Add facts: the policy demands more than there are.",
    "too_few_retrained_models": (
        "Give further retrained models; `auditor baseline build` trains them."
    ),
    "baseline_too_weak": (
        "Give a stronger baseline: `auditor baseline build` trains a model without the forget set."
    ),
    "baseline_too_noisy": (
        "Retrained models differ too much: give models trained alike, or more facts."
    ),
    "budget_not_met": "Run the attacks at the budget that the policy demands.",
    "environments_differ": "Measure all models on one machine with the same packages.",
    "retain_set_not_measured": "Give facts that must stay (`data.retain`).",
    "utility_lost": (
        "Unlearn again with more weight on what must stay: the model lost other things."
    ),
    "utility_not_shown_kept": "Add facts that must stay: it was not shown that the rest is kept.",
    "gap_too_small": (
        "Ask the facts in the form in which the original learned them (`format`), so that it can "
        "be told from a model that never saw them."
    ),
    "null_not_checked": "Give facts that no model saw (`data.holdout`), or a reference model.",
    "null_too_small": "Give more facts that no model saw (`data.holdout`).",
    "policy_wants_models": "Audit the model itself: logs alone pass under no such policy.",
    "deciding_metrics_lacking": "Let the metrics decide that the policy demands.",
    "positive_control_missed": "Give the attacks more budget: they missed a positive control.",
    "read_otherwise": "Give every model with the original's tokenizer and chat template.",
    "asked_in_other_tokens": "Give every model with the original's tokenizer and chat template.",
    "repeated_facts": "Take near copies out of the forget set.",
    "audited_before_too_often": "Say why this model was audited before on other facts.",
}
"""What to do about what blocks a PASS, by the code of the reason."""

NEXT_BY_VERDICT: Mapping[str, tuple[str, ...]] = {
    "PASS": (
        "Release these files and no others: `auditor verify` compares a folder with them. "
        "Rounding, merging or further training makes another model.",
    ),
    "FAIL": (
        "Audit the next model with the same plan; `auditor compare` says what changed. What "
        "repairs a model is not known in general, so trust the next audit and no recipe.",
    ),
    "INCONCLUSIVE": (
        "Treat it as not forgotten until an audit decides. Audited again by the same plan, only "
        "what is new is measured.",
    ),
    "NOT AUDITABLE": (
        "Ask as the original was trained to be asked: `auditor plan` tries formats of prompts on "
        "it and names the better one (`format` in the plan).",
        "Look at the facts: are they what the original was trained on, and not known to everybody? "
        "`auditor facts check` counts those that can be guessed.",
        "Look at the models: `original` must be the one before unlearning.",
    ),
}
"""What to do next, by the verdict."""

NEXT_AGAIN: Mapping[str, str] = {
    "expires": "Audit again when the certificate expires, and after every change of the model.",
    "for ever": "Audit again after every change of the model.",
}
"""When to audit a model again that passed, by whether its certificate expires."""

NEXT_UNSIGNED = "Sign it: `auditor sign certificate.json --key KEY`."
"""What to do with a certificate without a signature."""

FURTHER_UNSAID: tuple[str, ...] = (
    "It holds for the audited facts, as the deciding metrics measure them.",
    "It is not a statement of compliance with any law.",
)
"""What no certificate says."""

HOLDS_FOR: Mapping[str, str] = {
    "files": (
        "It holds for the files whose digests it lists, and for no other copy, fine-tune or "
        "rounding of the model."
    ),
    "logs": "It holds for the logs whose digests it lists. They name no file of a model.",
}
"""What a certificate is about."""

STRENGTH: Mapping[str, Wording] = {
    "policy": "{policy}: margin {delta:set} at {alpha:confidence} confidence",
    "attacks": (
        "{run:attack|attacks} run at {levels:level|levels}, of {installed:count} known here"
        "; profile {profile}"
    ),
    "attacks_without_profile": (
        "{run:attack|attacks} run at {levels:level|levels}, of {installed:count} known here"
    ),
    "retrained": "{models:retrained model|retrained models}",
    "reference": "{models:reference model|reference models}; no model was retrained",
    "never-seen-facts": "facts like these that no model saw; no model was retrained",
    "own-null": "the same facts with their answers exchanged; no model was retrained",
    "facts": "{facts:fact|facts} on {entities:entity|entities}; {scope}",
    "census": "the claim is about these and no others",
    "sampled": "they stand for a larger set",
    "expires": "{days:day|days}, until {until}",
    "never_expires": "no end was set",
    "release_yes": "yes, this was decided under {policy}",
    "release_no": "no, by {policy}: {lacking}",
    "release_open": (
        "nothing written here speaks against it; `auditor gate CERT --policy {policy}` decides "
        "from the evidence"
    ),
}
"""What an audit rests on."""


def _attacks_lacking(attacks: list[str]) -> Phrase:
    return fill(
        "{attacks:attack that it demands was|attacks that it demands were} not run",
        attacks=len(attacks),
    )


def _attacks_open(attacks: list[str]) -> Phrase:
    return fill(
        "{attacks:attack that it demands shows|attacks that it demands show} no PASS",
        attacks=len(attacks),
    )


RELEASE_LACKS: Mapping[str, Wording] = {
    "verdict_is_no_pass": "the verdict is {verdict}",
    "baseline_too_weak": "it demands the baseline {demanded}",
    "policy_wants_models": "no model was seen, only logs",
    "too_few_facts": "it demands {demanded:fact|facts}",
    "too_few_retrained_models": "it demands {demanded:retrained model|retrained models}",
    "deciding_metrics_lacking": "{metrics} did not decide",
    "audited_before_too_often": "the model was audited before on other facts or with other seeds",
    "attacks_not_run": _attacks_lacking,
    "attacks_undecided": _attacks_open,
    "budget_not_met": "{attack} had too small a budget",
}
"""What a release policy lacks, as part of one sentence, by the code of the message."""

STRENGTH_NAMES: Mapping[str, str] = {
    "policy": "Policy",
    "attacks": "Attacks",
    "baseline": "Measured against",
    "facts": "Facts",
    "valid": "Valid",
    "release": "Fit for release",
}
"""What each line on what an audit rests on is about."""

ABOUT_NAMES: Mapping[str, str] = {
    "organisation": "Organisation",
    "method": "Unlearned by",
    "forget": "To be forgotten",
    "prepared_by": "Audit by",
    "contact": "Contact",
}
"""What each statement of whoever made the audit is about; the title heads the page."""

AS_STATED = "as stated, not checked"
"""What stands beside everything that is stated and not measured."""


PICTURE: Mapping[str, str] = {
    "PASS": (
        "Mean knowledge of what was to be forgotten, from 0 to 1. Under every attack the unlearned "
        "model (filled) stays with the models that never saw it."
    ),
    "FAIL": (
        "Mean knowledge of what was to be forgotten, from 0 to 1. The hollow mark is the unlearned "
        "model before any attack, the filled one under it: what lies between was hidden, not gone."
    ),
    "INCONCLUSIVE": (
        "Mean knowledge of what was to be forgotten, from 0 to 1. The hollow mark is the unlearned "
        "model before any attack, the filled one under it; how far they may be off, the figure of "
        "residual knowledge shows."
    ),
    "NOT AUDITABLE": (
        "Mean knowledge of what was to be forgotten, from 0 to 1. The original does not know "
        "clearly more than what never saw it, so there is nothing that an attack could bring back."
    ),
}
"""Caption of the picture of each model's knowledge, by the verdict."""
