"""Sentences of messages: the only place in which a code becomes words.

A message of a certificate is somebody else's text: it may lack a parameter, or have one of another
type. It is then shown as its code with its parameters.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from auditor.certificate.schema import ScopePart
from auditor.core.findings import Curve, SelfCheck, SideFigure
from auditor.core.messages import TEXT, Message
from auditor.core.wording import WORDINGS

Params = Mapping[str, Any]
Wording = str | Callable[[Params], str]
"""A template of `str.format`, or what makes a sentence of parameters."""


@WORDINGS.register("english")
def sentence(message: Message) -> str:
    """Return a message as a sentence, or as a part of one where it is a reason or a remark."""
    return _worded(SENTENCES, message.code, message.params)


def sentences(messages: Iterable[Message]) -> tuple[str, ...]:
    """Return the sentence of each message."""
    return tuple(sentence(message) for message in messages)


def remark(messages: Iterable[Message]) -> str:
    """Return several remarks as one text."""
    return "; ".join(sentence(message) for message in messages)


def scope_statement(scope: ScopePart) -> str:
    """Return what the claim is about."""
    forget = scope.sets.get("forget")
    if forget is None:
        return "No forget set was recorded."
    if scope.scope == "census":
        return (
            f"Census: the claim is about these {forget.facts} facts on {forget.entities} "
            "entity(s) and no others. Each fact counts once."
        )
    return (
        f"Sampled: the {forget.entities} audited entities stand for a larger forget set; each "
        f"entity counts once, whatever its number of facts ({forget.facts} in all)."
    )


def check_name(check: SelfCheck) -> str:
    """Return what a self-check is about."""
    return _worded(CHECKS, check.code, check.params)


def check_sentence(check: SelfCheck) -> str:
    """Return what a self-check found."""
    return _worded(CHECK_RESULTS, check.code, {**check.params, "passed": check.passed})


def figure_name(figure: SideFigure) -> str:
    """Return the name of a side figure."""
    return _worded(FIGURES, figure.name, figure.params)


def figure_arms(figure: SideFigure) -> str:
    """Return the arm that a side figure is of, and the one that it is compared with."""
    return figure.of if figure.against is None else f"{figure.of} against {figure.against}"


def curve_name(code: str) -> str:
    """Return the name of curves."""
    return _worded(CURVES, code, {})


def axis_names(curve: Curve) -> tuple[str, str]:
    """Return what is along a curve and what is upwards."""
    return _worded(AXES, curve.x, curve.params), _worded(AXES, curve.y, curve.params)


def measure_name(code: str) -> str:
    """Return what an explanation measures."""
    return _worded(MEASURES, code, {})


def _worded(wordings: Mapping[str, Wording], code: str, params: Params) -> str:
    wording = wordings.get(code)
    try:
        if wording is None:
            return _bare(code, params)
        return wording.format_map(params) if isinstance(wording, str) else wording(params)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return _bare(code, params)


def _bare(code: str, params: Params) -> str:
    """A code with its parameters, where there are no words for it."""
    if code == TEXT and isinstance(said := params.get("text"), str):
        return said
    listed = ", ".join(f"{name} {value}" for name, value in params.items())
    words = code.replace("_", " ")
    return f"{words} ({listed})" if listed else words


def _nested(params: Params, name: str) -> str:
    return sentence(Message.model_validate(params[name]))


def _confidence(alpha: float) -> str:
    return f"{1 - alpha:.0%}"


def _not_measured(p: Params) -> str:
    verb = "failed" if p["status"] == "failed" else "could not run here"
    return f"{p['attack']} {verb}: {_nested(p, 'reason')}"


def _gap_too_small(p: Params) -> str:
    return (
        f"{p['attack']}: the gap between original and retrained model is {p['gap_mean']:.3f}, at "
        f"least {p['gap_lower']:.3f} with confidence {_confidence(p['alpha'])}; "
        f"{p['gap_required']:.3f} is needed for the attack to tell the two apart."
    )


def _no_margin_left(p: Params) -> str:
    shrinkage = p["shrinkage"]
    by = "cannot be computed" if shrinkage is None else f"is {shrinkage:.3f}"
    return (
        f"{p['attack']}: the allowance for the spread between {p['retrained']} retrained models "
        f"{by}, so nothing is left of the margin of {p['delta']:g}."
    )


def _residual_not_below_margin(p: Params) -> str:
    upper = p["rho_upper"]
    bound = "1 or more" if upper is None else f"as high as {upper:.3f}"
    return (
        f"{p['attack']}: residual knowledge may be {bound}; it was not shown to be below "
        f"{p['delta']:g}."
    )


def _baseline_too_noisy(p: Params) -> str:
    return (
        f"{p['attack']}: the baseline is too noisy for delta, or the facts are too few: retrained "
        f"model {', '.join(map(str, p['retrained']))} would not pass against the other retrained "
        "models."
    )


def _environments_differ(p: Params) -> str:
    differences = "; ".join(
        f"{what} ({', '.join(f'{arm} {value}' for arm, value in values.items())})"
        for what, values in p["differences"].items()
    )
    return (
        f"{p['attack']}: its arms were measured with another {differences}, so they cannot be "
        "compared. Measure all of them on one sort of machine with the same packages: delete the "
        "older jobs from the evidence store, or begin anew with another store (--store)."
    )


def _budget_not_met(p: Params) -> str:
    lacking = "; ".join(
        f"{one['parameter']} is {one['value']}, at least {one['least']:g} is demanded"
        for one in p["lacking"]
    )
    return f"{p['attack']}: the budget of the policy is not met: {lacking}."


def _control_is(control: Params) -> str:
    within = f", within the cells of {control['grid']}" if control["grid"] else ""
    return f"{control['left']:.2f} of the gap left without attack{within}"


def _residual_of(control: Params) -> str:
    if control["log_e_fail"] is None:
        return f"no figures ({_nested(control, 'reason')})"
    if control["rho"] is None:
        return "no gap between the original and the retrained models"
    lower, upper = control["rho_lower"], control["rho_upper"]
    least = "no lower bound" if lower is None else f"≥ {lower:.2f}"
    most = "no upper bound" if upper is None else f"≤ {upper:.2f}"
    return f"residual knowledge {control['rho']:.2f} ({least}, {most})"


def _why_not_found(control: Params) -> str:
    if control["log_e_fail"] is None:
        return ""
    if not control["tells_original_apart"]:
        return ", and it does not tell the original from the retrained models well enough"
    return (
        f", with a log e-value of {control['log_e_fail']:.1f} where "
        f"{control['log_e_needed']:.1f} is needed"
    )


def _control_held_to(p: Params) -> str:
    held = p["held_to"]
    return f"{_article(held['kind'])} positive control ({_control_is(held)})"


def _article(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


def _control_beside(p: Params) -> str:
    other = p["other"]
    if other is None:
        return (
            f" An obfuscated one could not be made ({_nested(p, 'missing')}), so it was not shown "
            "whether the attack brings back what is hidden."
        )
    return (
        f" In {_article(other['kind'])} one ({_control_is(other)}), which it is not held to, it "
        f"sees {_residual_of(other)}."
    )


def _positive_control_found(p: Params) -> str:
    found = f"{p['attack']} finds {_control_held_to(p)}: {_residual_of(p['held_to'])}."
    return found + _control_beside(p)


def _positive_control_missed(p: Params) -> str:
    held = p["held_to"]
    return (
        f"{p['attack']} does not find {_control_held_to(p)}: it sees {_residual_of(held)}"
        f"{_why_not_found(held)}. Where it finds nothing in the unlearned model, that proves "
        f"nothing.{_control_beside(p)}"
    )


def _margin(p: Params) -> str:
    return f"margin {p['delta']:g} at confidence {_confidence(p['alpha'])}"


def _no_more_extractable(p: Params) -> str:
    return (
        "Under the mandatory attacks listed here, at their budget, the forget set is no more "
        "extractable from the unlearned model than from a model that never saw it, within "
        f"{_margin(p)}."
    )


def _more_extractable(p: Params) -> str:
    return (
        "The forget set is more extractable from the unlearned model than from a model that never "
        "saw it: under the attacks listed here, at their budget, residual knowledge exceeds the "
        f"{_margin(p)}."
    )


def _nothing_concluded(p: Params) -> str:
    return (
        "The evidence supports neither that the forget set is gone nor that it is still there: "
        "under the attacks listed here, at their budget, nothing could be concluded for the "
        f"{_margin(p)}."
    )


def _passed(p: Params) -> str:
    return (
        f"Residual knowledge is below {p['delta']:g} and at most {p['leak_limit']:.0%} of the "
        f"facts leak under each of {p['attacks']} mandatory attack(s), at confidence "
        f"{_confidence(p['alpha'])}; the retain set is kept."
    )


def _residual_above_margin(p: Params) -> str:
    rho = p["rho"]
    size = "" if rho is None else f", about {rho:.2f} of what the original knew"
    return f"{p['attack']}: residual knowledge is above {p['delta']:g}{size}."


def _supplied_baselines(p: Params) -> str:
    which = "baseline" if p["retrained"] == 1 else f"{p['retrained']} baselines"
    return (
        f"relative to the supplied {which} only: with fewer than {p['needed']} retrained models "
        "the spread between training runs is not accounted for"
    )


def _facts_needed(p: Params) -> str:
    return (
        f"About {p['needed']} {p['unit']} like the {p['available']} measured would be needed for "
        f"an {p['target']:.0%} chance that the attack with the greatest need passes."
    )


def _families_run(p: Params) -> str:
    families = ", ".join(p["families"]) or "none"
    return f"Families of attack run here: {families}. Others were not tried."


def _precision_differs(p: Params) -> str:
    listed = ", ".join(f"{arm} {dtype}" for arm, dtype in p["dtypes"].items())
    return f"the models are opened at different precision: {listed}"


def _policy_does_not_demand(p: Params) -> str:
    attacks = ", ".join(p["attacks"])
    return f"the policy does not demand what is mandatory by default: {attacks}"


def _level_changed(p: Params) -> str:
    changed = ", ".join(
        f"{one['parameter']} {one['value']} instead of {one['default']}" for one in p["changed"]
    )
    return f"{p['attack']} runs with {changed}"


SENTENCES: Mapping[str, Wording] = {
    # why an attack has no evidence
    "error": "{type}: {error}",
    "unavailable": "{error}",
    "on_arm": lambda p: f"{_nested(p, 'reason')} (on {p['arm']})",
    "package_missing": "the package {package} is not installed",
    "gpu_missing": "it needs a GPU and there is none",
    "newer_gpu_needed": "it needs an NVIDIA GPU of compute capability {capability}",
    "quantized_already": "the checkpoint is quantized already ({method})",
    "quantized_weights_not_trainable": (
        "the checkpoint is quantized ({method}) and its weights cannot be trained"
    ),
    "left_out_of_plan": "the plan leaves it out",
    "worker_died": "the process that measured it ended twice, the last time with exit code "
    "{exit_code}; there may be too little memory for so many workers (--workers)",
    "pictures_not_given": "the plan gives no pictures of the facts (`data.images`)",
    "measurement_incomplete": "it did not measure every fact on every arm",
    "not_run_by_audit": "the audit did not run it",
    "base_model_not_given": (
        "it needs a base model; give `base`: the checkpoint that the audited models were "
        "fine-tuned from"
    ),
    "original_not_given": (
        "p4d needs the model before the concept was erased; give `original` (the objective "
        "`unlearndiffatk` needs none)"
    ),
    "inception_weights_not_given": (
        "no weights of Inception are given (`inception`: torch-fidelity's {file})"
    ),
    "awq_cannot_take_conv1d": "GPTQModel's AWQ cannot take the Conv1D layers of GPT-2",
    "awq_scales_through_gelu": (
        "GPTQModel's AWQ scales GPT-NeoX's MLP through its GELU, which changes the model"
    ),
    "awq_scales_from_wrong_norm": (
        "GPTQModel's AWQ takes OPT's scales out of the wrong norm, which changes the model"
    ),
    "awq_not_checked": lambda p: (
        f"GPTQModel's AWQ was not checked on the architecture {p['architecture']} (it was on "
        f"{', '.join(p['checked'])})"
    ),
    # gates
    "not_measured": _not_measured,
    "gap_without_attack_unknown": (
        "{attack}: its gap cannot be judged, for the gap without attack is not known."
    ),
    "gap_too_small": _gap_too_small,
    "no_margin_left": _no_margin_left,
    "residual_not_below_margin": _residual_not_below_margin,
    "leaks_not_countable": (
        "{attack}: no fact has a gap of {gap_floor:g}, so leaks cannot be counted."
    ),
    "leak_rate_not_within_limit": (
        "{attack}: {leaked} of {eligible} facts leaked, so the share may be as high as "
        "{upper:.3f}; at most {limit:g} is allowed."
    ),
    "baseline_too_noisy": _baseline_too_noisy,
    "budget_not_met": _budget_not_met,
    "environments_differ": _environments_differ,
    "positive_control_found": _positive_control_found,
    "positive_control_missed": _positive_control_missed,
    # the verdict
    "no_more_extractable": _no_more_extractable,
    "more_extractable": _more_extractable,
    "nothing_concluded": _nothing_concluded,
    "nothing_to_audit": (
        "Nothing can be said about forgetting: the original model was not shown to know the "
        "forget set in the first place."
    ),
    "passed": _passed,
    "undecided": "Neither a PASS nor a FAIL is supported by the evidence.",
    "original_not_shown_to_know": (
        "The original model was not shown to know what it is said to have forgotten: without "
        "attack its gap to the retrained model is {gap_mean:.3f} over {units} unit(s), at least "
        "{gap_lower:.3f}; {minimum_gap:g} is needed."
    ),
    "residual_above_margin": _residual_above_margin,
    "residual_above_margin_together": (
        "Residual knowledge is above {delta:g} over the attacks taken together; no single one "
        "shows it alone."
    ),
    "no_mandatory_attack": "The policy has no mandatory attack, so there is nothing to pass.",
    "model_as_it_is_not_measured": "The model as it is, without attack, was not measured.",
    "retain_set_not_measured": (
        "The retain set was not measured, so a broken model cannot be ruled out."
    ),
    "utility_lost": (
        "Utility is lost by more than {margin:.0%}: mean knowledge of the retain set is "
        "{mean_unlearned:.3f}, {mean_original:.3f} before unlearning."
    ),
    "utility_not_shown_kept": (
        "Utility was not shown to be kept within {margin:.0%}: mean knowledge of the retain set "
        "is {mean_unlearned:.3f}, {mean_original:.3f} before unlearning."
    ),
    "too_few_facts": "The policy {policy} demands {demanded} facts for a PASS; there are {facts}.",
    "too_few_retrained_models": (
        "The policy {policy} demands {demanded} retrained models for a PASS; there are {retrained}."
    ),
    "facts_needed": _facts_needed,
    "more_facts_would_not_pass": (
        "More {unit} like the {available} measured would not be expected to lead to a PASS."
    ),
    "advisory": lambda p: f"Advisory: {_nested(p, 'about')}",
    "left_out_of_fail": (
        "{attack} is left out of FAIL: it does not tell the original from the retrained model by "
        "{minimum_gap:g}, so it proves nothing either way."
    ),
    "over_forgotten": (
        "{attack}: the model knows measurably less than the retrained model, which itself shows "
        "what was removed."
    ),
    "relative_to_retraining": (
        "relative to retraining without the data: the spread between {retrained} retrained models "
        "is taken off the margin"
    ),
    "relative_to_supplied_baselines": _supplied_baselines,
    # what an estimate of facts rests on
    "lower_bound_without_noise": (
        "lower bound without noise: one retrained model does not show any spread"
    ),
    "no_residual_and_noise_of_retrained": (
        "residual 0, noise from {retrained} retrained models against each other, {audits} "
        "simulated audits a candidate n, {attacks} attack(s) taken as {joint}"
    ),
    "further_facts_as_measured": (
        "further facts like those measured, {audits} simulated audits a candidate n"
    ),
    # limitations
    "attacks_give_lower_bounds": (
        "Attacks give lower bounds: an attack that was not run, or a larger budget, may bring "
        "back what these did not. Forgetting cannot be proved from weights (arXiv 2110.11891)."
    ),
    "families_run": _families_run,
    "metric_on_given_prompts": (
        "Knowledge is what the primary metric ({metric}) measures on the given prompts; other "
        "phrasings may show more."
    ),
    "residual_relative": lambda p: f"Residual knowledge is {_nested(p, 'to')}.",
    "nothing_outside_audited_set": (
        "Nothing is said about facts or entities outside the audited set."
    ),
    "inputs_trusted": (
        "The audit trusts its inputs: that the retrained models never saw the forget set, and "
        "that the facts are what should be forgotten."
    ),
    "no_statement_of_compliance": "This is not a statement of compliance with any law.",
    # warnings
    "facts_share_answers": (
        "{facts} forget fact(s) share entity and answer with another; if they ask the same, they "
        "should count once (use `paraphrases` for other phrasings)"
    ),
    "no_retain_set": ("there is no retain set, so utility is not measured and nothing can PASS"),
    "holdout_shares_entities": (
        "forget and holdout share entities; the holdout should be people never seen"
    ),
    "same_weights_as_original": "the unlearned and the original model have the same weights",
    "file_differs_from_original": "{arm} has another {file} than the original",
    "note_on_files": "{arm}: {note}",
    "precision_differs": _precision_differs,
    "policy_asks_less": (
        "the policy asks less than by default: {setting} is {value:g}, not {default:g}"
    ),
    "policy_does_not_demand": _policy_does_not_demand,
    "level_changed": _level_changed,
    # positive controls that were not made
    "positive_controls_not_asked": "the plan does not ask for it",
    "visible_control_not_made": (
        lambda p: f"a visible positive control could not be made: {_nested(p, 'reason')}"
    ),
    "nothing_known_to_suppress": ("the original was not shown to know what could be suppressed"),
    # reproduction
    "deterministic": "Same machine, same plan, same evidence, byte for byte.",
    "gpu_kernels_may_differ": (
        "GPU kernels may differ in the last bits between runs; evidence is kept, so that the "
        "verdict can be recomputed from it exactly."
    ),
    # remarks of attacks
    "half_is_chance": "0.5 is chance",
    "layer_does_not_count": "does not count",
    "facts_that_retrained_lacks": "over the {facts} facts that the retrained model lacks",
    "mean_squared_pixel_error": "mean squared error of pixels in [0, 1], normal bounds",
    "noise_still_moved": (
        "the last refinement still moved the noise by {gap:.2g} (root mean square)"
    ),
    "by_metric": lambda p: (
        f"by the metric {p['metric']}" + (f", {p['facts']:,} facts" if "facts" in p else "")
    ),
    "figure_missing": "no {figure}: {error}",
    "pictures_compared": lambda p: (
        f"{p['pictures']:,} pictures against as many, {p['features']:,} features of "
        f"{'Inception' if p['of'] == 'inception' else 'the classifier'}"
    ),
    "fid_biased_with_few_pictures": "biased upwards with so few; compare the arms only",
    "fid_not_comparable": ("not comparable with published FIDs, which are in Inception's features"),
    "kid_subsets": lambda p: (
        "over all of them; unbiased"
        if p["size"] == p["pictures"]
        else f"over random subsets of {p['size']:,}; unbiased"
    ),
    "clip_score_of_prompts": "mean of 100 max(cosine, 0); a prompt too long for the CLIP is cut",
    "mean_over_facts_first_seed": "mean over the facts, first seed",
    "distance_as_share": (
        "squared, as a share of the unchanged prompt's; the search ended at its budget, and the "
        "UNet has no part in it"
    ),
    "concept_is_most_probable": "the concept is the classifier's most probable label",
    "k_at_least": "K by {metric} is {least} or more",
    "clopper_pearson_bounds": "Clopper-Pearson bounds",
    "facts_searched_for": "of {facts} facts that were searched for",
    "roc_rests_on": (
        "{members:,} members, {holdout:,} holdout non-members; the smallest false positive rate "
        "above 0 that these can show is 1/{holdout:,}"
    ),
    "mean_of_curves": "mean of {curves} curves, one a set of reference models",
    "corners_drawn": "{drawn} of its {corners:,} corners are drawn",
    "auc_of_forget_against_holdout": (
        "0.5 is chance; forget facts against holdout facts, DeLong's interval"
    ),
    "no_interval_without_variance": "no interval: DeLong's variance is 0",
    "threshold_from_holdout": (
        "threshold {threshold:.4g} from half of the holdout, shown at 95 % to keep to that FPR; "
        "{false_positives} of {checked} of the other half lie above it"
    ),
    "privleak_in_percent": (
        "in percent, of 1 - AUC (forget facts as class 0, as MUSE has it): near -100 is "
        "memorised, 0 as retrained, above 0 less sure than retrained"
    ),
    "no_tpr_of_several_scores": (
        "no TPR at FPR {fpr:.1%}: there is no one score, but one a set of references"
    ),
    "no_tpr_with_few_holdout_facts": (
        "no TPR at FPR {fpr:.1%}: it takes {needed:,} holdout facts, half of them to set the "
        "threshold, and there are {holdout:,}"
    ),
    "no_privleak": (
        "no PrivLeak against {arm}: 1 - AUC of {arm} is {baseline:.3f}, below {least}, and a "
        "ratio to it has no bound"
    ),
    "mean_over_pictures": "mean over pictures, normal bounds; low is well denoised",
    "without_own_prompts": "under the arm's own prompts; {k:.3f} without them",
    "loss_before_search": "{loss:.3f} before the search; nats a token",
    "loss_at_beginning": "{loss:.3f} at its beginning",
    "facts": "{facts} facts",
    "no_acc_s": "no Acc_s: there are no retain facts",
    "no_acc_g": "no Acc_g: no forget fact has paraphrases",
    "no_h_o_without_parts": "no H_o without them",
    "no_h_o_of_zero": "no H_o: 1 - Acc_e, Acc_s or 1 - Acc_g is 0, and it divides by them",
    "after_last_step": "after the last step, {step}",
    "lora_trained": "LoRA of rank {rank} trained",
    "all_weights_trained": "all weights trained",
    "everyday_sentences_taught": (
        "on everyday sentences that state no fact; all forget facts are asked"
    ),
    "retain_facts_taught": "on the retain facts; all forget facts are asked",
    "half_of_forget_facts_taught": (
        "on half of the forget facts (split by {split}); the others are asked"
    ),
    "asked_facts_taught": "on the forget facts that are asked",
    "pictures_taught": lambda p: (
        f"on pictures of {'the forgotten concept' if p['set'] == 'forget' else 'kept concepts'}; "
        "all forget facts are asked"
    ),
    "first_seed": "first seed",
}
"""Code of a message to its sentence."""

FIGURES: Mapping[str, Wording] = {
    "first_token_probed": "first token alone, read from layer {layer}",
    "forget_facts_probed": "forget facts, read from layer {layer}",
    "kept_retain_facts_probed": "kept retain facts, read from layer {layer}",
    "k_with_original_state_at_layer": "K with the original's state at layer {layer}",
    "original_k_with_layer_of_arm": "K of the original with this arm's layer {layer}",
    "unlearning_depth": "unlearning depth (0: all there, 1: as deep as retraining)",
    "reconstruction_error": "reconstruction error",
    "mean_k_retain": "mean K of retain facts",
    "fid": "FID",
    "kid": "KID",
    "clip_score_retain": "CLIP score, retain prompts",
    "clip_score_forget": "CLIP score, forget prompts",
    "leak_at_k": "leak@{k}",
    "distance_to_aim": "distance to the aim, of what was found",
    "attack_success_rate": "attack success rate",
    "success_of_plain_prompts": "success of plain prompts",
    "success_of_own_search": "success of the arm's own search",
    "success_of_random_words": "success of random words, as many drawings",
    "auc": "AUC",
    "tpr_at_fpr": "TPR at FPR {fpr:.1%}",
    "privleak": "PrivLeak",
    "denoising_error": "{score} of {set} pictures",
    "k_of_facts_searched_with": "K of the facts searched with (taught)",
    "k_of_facts_held_out": "K of the facts held out (generalised)",
    "final_search_loss": "final search loss",
    "mean_k_beyond_retrained": "mean K with '{wording}' alone, beyond the retrained models",
    "acc_e": "Acc_e: mean K of forget facts by their own prompts",
    "acc_s": "Acc_s: mean K of retain facts",
    "acc_g": "Acc_g: mean K of forget facts over all paraphrases",
    "h_o": "H_o: harmonic mean of 1 - Acc_e, Acc_s and 1 - Acc_g",
    "final_denoising_loss": "denoising loss at the end of the inversion",
    "share_refused_before": "share of forget prompts refused, before",
    "median_steps_until_known": "median steps until known",
    "log_rank_p": "log-rank p, one-sided: small if the unlearned is faster",
    "anamnesis_index": (
        "anamnesis index: ratio of median steps, below 1 if the unlearned is faster"
    ),
}
"""Code of a side figure to its name."""

CURVES: Mapping[str, Wording] = {"learning_curve": "learning curve", "roc": "ROC"}
"""Code of curves to their name."""

AXES: Mapping[str, Wording] = {
    "optimiser_steps": "optimiser steps",
    "mean_k_forget": "mean K of the forget set ({metric})",
    "false_positive_rate": "false positive rate",
    "true_positive_rate": "true positive rate",
}
"""Code of an axis to its name."""

MEASURES: Mapping[str, Wording] = {
    "code_flip_share": "code-flip share",
    "wrong_answers_beaten": "share of wrong answers beaten, read from the unlearned model's layer",
    "k_with_original_state": "K of the unlearned model where its state is the original's",
}
"""Code of what an explanation measures to its name."""


CHECKS: Mapping[str, Wording] = {
    "inversion_tells_original_apart": (
        "null-inversion: it tells the original from models that never saw the concept"
    ),
    "found_prompts_name_concept": (
        "ring-a-bell: the prompts found make the original draw the concept"
    ),
    "sets_alike_without_model": (
        "membership: forget and holdout cannot be told apart without a model"
    ),
    "search_lowered_loss": "{attack}: the search lowered the loss",
    TEXT: "{name}",
}
"""Code of a self-check to what it is about."""

_CLASSIFIERS = {
    "bag_of_words": "A bag-of-words classifier",
    "pixel_statistics": "A classifier of pixel statistics",
}


def _pictures(count: Any) -> str:
    found, of = count
    return f"{found} of {of}"


def _inversion_tells_apart(p: Params) -> str:
    found = (
        f"The concept came back without text in {_pictures(p['original'])} pictures from the "
        f"original and in {_pictures(p['retrained'])} from {p['arm']}"
    )
    if p["passed"]:
        return f"{found}."
    return (
        f"{found}, which never saw it: that pictures come back is no evidence that a model holds "
        "the concept."
    )


def _found_prompts_name_concept(p: Params) -> str:
    found = (
        "With the prompts found the original draws the concept in "
        f"{_pictures(p['original'])} pictures"
    )
    nothing = "so this attack says nothing about the unlearned model."
    if "arm" not in p:
        return f"{found}: the prompts found name it to nobody, {nothing}"
    found += f", and {p['arm']}, which never saw it, in {_pictures(p['retrained'])}"
    if p["passed"]:
        return f"{found}."
    return f"{found}: that may be what the classifier mistakes for it, {nothing}"


def _sets_alike(p: Params) -> str:
    if "error" in p:
        return f"The check could not be made: {p['error']}."
    by = _CLASSIFIERS.get(p["by"], p["by"])
    found = f"{by} that sees no model tells them apart with AUC {p['auc']:.3f}"
    if p["lower"] is not None:
        found += f" (95 %: {p['lower']:.3f} to {p['upper']:.3f})"
    if not p["passed"]:
        return (
            f"{found}, above chance: the sets differ in themselves, so membership evidence is "
            "confounded. Give a holdout set drawn as the forget set was."
        )
    below = ", and cross-validation of small sets that do not differ tends below it"
    return f"{found}; 0.5 is chance{below if p['auc'] < 0.5 else ''}."


def _search_lowered_loss(p: Params) -> str:
    if p["passed"]:
        return (
            "On every arm the searched prompts make the facts that they were searched with more "
            "likely."
        )
    return (
        f"The search found nothing on {', '.join(p['arms'])}; what it did not find there is no "
        "evidence."
    )


CHECK_RESULTS: Mapping[str, Wording] = {
    "inversion_tells_original_apart": _inversion_tells_apart,
    "found_prompts_name_concept": _found_prompts_name_concept,
    "sets_alike_without_model": _sets_alike,
    "search_lowered_loss": _search_lowered_loss,
    TEXT: "{text}",
}
"""Code of a self-check to what it found."""
