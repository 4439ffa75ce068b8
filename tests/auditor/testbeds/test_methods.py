import copy
import math

import pytest
import torch
from torch.nn import functional

from auditor.core.progress import SilentProgress
from auditor.models.language.layers import linear_layers
from auditor.models.language.scoring import IGNORED
from auditor.testbeds.people.training import TrainingSettings, train
from auditor.unlearning.examples import (
    answer_logits,
    answer_scores,
    collate,
    cross_entropy,
    encode,
    trained_pairs,
)
from auditor.unlearning.gradient_ascent import gradient_ascent_loss
from auditor.unlearning.negative_preference import BETA, negative_preference_loss
from auditor.unlearning.preference import BETA as PREFERENCE_BETA
from auditor.unlearning.preference import REFUSAL, preference_loss, refused_pairs
from auditor.unlearning.registry import EDITS, METHODS
from auditor.unlearning.relabelling import relabelled_pairs
from auditor.unlearning.retain_terms import divergence_retain, gradient_descent_retain
from auditor.unlearning.saliency_mask import saliency, salient_modules
from auditor.unlearning.self_distillation import STRENGTH, self_distillation_loss
from auditor.unlearning.simple_preference import BETA as SIMPLE_BETA
from auditor.unlearning.simple_preference import simple_preference_loss
from auditor.unlearning.training import UnlearningSettings, unlearn

# One sequence over two tokens: log-odds of the right token 0 and log 3, the third is unlabelled.
LOGITS = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)], [9.0, -9.0]]])
LABELS = torch.tensor([[0, 1, IGNORED]])
NLL = -(math.log(1 / 2) + math.log(3 / 4)) / 2


def test_gradient_ascent_is_the_negated_loss():
    assert gradient_ascent_loss(LOGITS, LABELS, None).item() == pytest.approx(-NLL)


def test_gdr_is_the_loss():
    assert gradient_descent_retain(LOGITS, LABELS, None).item() == pytest.approx(NLL)


def test_npo_equals_the_papers_formula():
    reference = torch.zeros_like(LOGITS)  # the reference gives the sequence 1/4, the model 3/8
    expected = (2 / BETA) * math.log(1 + ((3 / 8) / (1 / 4)) ** BETA)
    loss = negative_preference_loss(LOGITS, LABELS, reference)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_npo_at_the_reference_is_log_two_over_beta_twice():
    loss = negative_preference_loss(LOGITS, LABELS, LOGITS)
    assert loss.item() == pytest.approx(2 / BETA * math.log(2))


def test_npo_gradient_is_gradient_ascent_times_the_papers_weight():
    """The gradient of NPO is that of GA weighted by 2 p^b / (p^b + p_ref^b)."""
    reference = torch.zeros_like(LOGITS)
    logits = LOGITS.clone().requires_grad_()
    negative_preference_loss(logits, LABELS, reference).backward()
    ascent = LOGITS.clone().requires_grad_()
    (2 * gradient_ascent_loss(ascent, LABELS, None)).backward()  # summed over two tokens
    power = (3 / 8) ** BETA
    weight = 2 * power / (power + (1 / 4) ** BETA)
    torch.testing.assert_close(logits.grad, weight * ascent.grad)


def test_klr_equals_the_divergence_and_is_zero_at_the_original():
    reference = torch.zeros_like(LOGITS)
    second = functional.kl_div(
        torch.tensor([1 / 4, 3 / 4]).log(), torch.tensor([0.5, 0.5]), reduction="sum"
    )
    loss = divergence_retain(LOGITS, LABELS, reference)
    assert loss.item() == pytest.approx(second.item() / 2, rel=1e-6)  # the first position: zero
    assert divergence_retain(LOGITS, LABELS, LOGITS).item() == 0


def test_simnpo_is_normalised_by_the_answers_length():
    mean = (math.log(1 / 2) + math.log(3 / 4)) / 2
    expected = (2 / SIMPLE_BETA) * math.log(1 + math.exp(SIMPLE_BETA * mean))
    loss = simple_preference_loss(LOGITS, LABELS, None)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_preference_compares_the_first_half_of_the_batch_with_the_second():
    logits = torch.cat([LOGITS, torch.zeros_like(LOGITS)])  # preferred, then rejected
    labels, reference = LABELS.repeat(2, 1), torch.zeros_like(logits)
    margin = PREFERENCE_BETA * math.log((3 / 8) / (1 / 4))
    expected = (2 / PREFERENCE_BETA) * math.log(1 + math.exp(-margin))
    loss = preference_loss(logits, labels, reference)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_undial_teaches_the_original_without_its_true_tokens():
    true = math.exp(-STRENGTH) / (1 + math.exp(-STRENGTH))  # the reference had one half
    second = -(true * math.log(3 / 4) + (1 - true) * math.log(1 / 4))
    loss = self_distillation_loss(LOGITS, LABELS, torch.zeros_like(LOGITS))
    assert loss.item() == pytest.approx((math.log(2) + second) / 2, rel=1e-5)


def test_refusals_stand_in_the_place_of_all_answers(people):
    pairs = refused_pairs(people.forget)
    assert [prompt for prompt, _ in pairs] == [prompt for prompt, _ in trained_pairs(people.forget)]
    assert {answer for _, answer in pairs} == {REFUSAL}


@pytest.mark.parametrize(
    "loss",
    [negative_preference_loss, divergence_retain, preference_loss, self_distillation_loss],
)
def test_a_missing_reference_is_refused(loss):
    with pytest.raises(ValueError, match="original"):
        loss(LOGITS, LABELS, None)


def test_relabelling_never_teaches_the_truth(people):
    truth = dict(trained_pairs(people.forget))
    false = relabelled_pairs(people.forget)
    assert {prompt for prompt, _ in false} == truth.keys()
    assert all(truth[prompt] != answer for prompt, answer in false)


@pytest.fixture(scope="module")
def original(people, tokenizer):
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    settings = TrainingSettings(steps=40, batch_size=16, learning_rate=3e-3)
    examples = encode(tokenizer, trained_pairs((*people.forget, *people.retain)))
    return train(config, tokenizer, examples, settings, 0, SilentProgress())


def settings_for(name: str, **changes) -> UnlearningSettings:
    fields = {"method": name, "learning_rate": 1e-3, "max_steps": 3, "check_every": 0}
    return UnlearningSettings(**{**fields, "forget_batch": 8, "retain_batch": 8, **changes})


def run(model, people, tokenizer, settings):
    return unlearn(model, tokenizer, people.forget, people.retain, settings, 0, SilentProgress())


def moved(before, after) -> set[str]:
    new = dict(after.named_parameters())
    return {name for name, old in before.named_parameters() if not torch.equal(old, new[name])}


def test_saliency_is_the_norm_of_the_whole_forget_gradient(original, people, tokenizer):
    examples = encode(tokenizer, trained_pairs(people.forget))[:6]
    norms = saliency(original, examples, batch_size=6)
    model = copy.deepcopy(original)
    ids, labels = collate(examples)
    cross_entropy(*answer_logits(model, ids, labels)).backward()
    for name, parameter in model.named_parameters():
        assert norms[name] == pytest.approx(parameter.grad.norm().item(), rel=1e-4)
    assert all(parameter.grad is None for parameter in original.parameters())


def test_mask_takes_the_modules_at_or_above_the_percentile():
    norms = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}
    assert salient_modules(norms, 75) == {"d", "e"}
    assert salient_modules(norms, 100) == {"e"}
    assert salient_modules(norms, 0) == set(norms)


def test_mask_is_fixed_from_the_first_step_to_the_last(original, people, tokenizer):
    norms = saliency(original, encode(tokenizer, trained_pairs(people.forget)))
    salient = salient_modules(norms, 80)
    assert 1 < len(salient) < len(norms)
    for steps in (1, 8):
        model = copy.deepcopy(original)
        settings = settings_for("sure", changes="all", mask_percentile=80, max_steps=steps)
        run(model, people, tokenizer, settings)
        assert moved(original, model) == salient


@pytest.mark.parametrize("name", METHODS)
def test_every_method_changes_linear_layers_only_when_told_so(name, original, people, tokenizer):
    model = copy.deepcopy(original)
    assert run(model, people, tokenizer, settings_for(name)) == 3
    changed = moved(original, model)
    assert changed
    assert changed <= {f"{layer}.weight" for layer, _ in linear_layers(model).items()}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_adapters_change_linear_layers_alone_and_leave_none_behind(original, people, tokenizer):
    model = copy.deepcopy(original)
    run(model, people, tokenizer, settings_for("npo", changes="lora"))
    assert set(model.state_dict()) == set(original.state_dict())
    assert moved(original, model) == {f"{layer}.weight" for layer in linear_layers(original)}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_takes_the_answers_away(name, original, people, tokenizer):
    answers = encode(tokenizer, trained_pairs(people.forget))
    pairs = relabelled_pairs(people.forget) if EDITS[name].relabels else None
    forget = answers if pairs is None else encode(tokenizer, pairs)
    retain = encode(tokenizer, trained_pairs(people.retain))
    models = [copy.deepcopy(original) for _ in range(2)]
    for model in models:
        EDITS[name].apply(model, forget, retain, 0)
    before, after = answer_scores(original, answers), answer_scores(models[0], answers)
    assert after.mean_probability < before.mean_probability / 2
    assert not moved(*models)


def test_a_rank_one_edit_changes_one_matrix_and_says_something_else(original, people, tokenizer):
    model = copy.deepcopy(original)
    retain = encode(tokenizer, trained_pairs(people.retain))
    false = encode(tokenizer, relabelled_pairs(people.forget))
    EDITS["rank_one"].apply(model, false, retain, 0)
    assert moved(original, model) == {"model.layers.0.mlp.down_proj.weight"}
    ids, labels = collate(false)
    rows = torch.arange(len(false))  # one layer: later tokens do not see the edit

    def said(model):
        with torch.no_grad():
            logits, answers = answer_logits(model, ids, labels)
        return logits[:, 0].log_softmax(-1)[rows, answers[:, 0]].exp().mean()

    assert said(original) < 0.1
    assert said(model) > 0.8


def test_a_task_vector_is_subtracted_to_scale(original, people, tokenizer):
    model = copy.deepcopy(original)
    forget = encode(tokenizer, trained_pairs(people.forget))
    EDITS["task_vector"].apply(model, forget, (), 0)
    assert moved(original, model) == {name for name, _ in original.named_parameters()}


def test_unlearning_is_deterministic(original, people, tokenizer):
    first, second = copy.deepcopy(original), copy.deepcopy(original)
    for model in (first, second):
        run(model, people, tokenizer, settings_for("npo_klr"))
    assert not moved(first, second)


def test_stops_when_the_forget_answers_are_gone(original, people, tokenizer):
    watched = encode(tokenizer, [(fact.prompt, fact.answer) for fact in people.forget])
    assert answer_scores(original, watched).exact_rate > 0.5
    model = copy.deepcopy(original)
    settings = settings_for("ga", max_steps=100, check_every=1, learning_rate=2e-3)
    steps = run(model, people, tokenizer, settings)
    assert steps < 100
    scores = answer_scores(model, watched)
    assert scores.exact_rate <= settings.stop_exact
    assert scores.mean_probability <= settings.stop_probability


def test_sources_are_arxiv_ids():
    for method in (*METHODS.values(), *EDITS.values()):
        assert method.sources
        assert all(len(source) == 10 and source[4] == "." for source in method.sources)
