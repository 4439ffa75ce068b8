"""Membership attacks on tiny models of six architectures: what is scored, kept and compared."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, CONTEXT, make_model, make_tokenizer, open_directory, save
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from attacks.membership.family import privleak
from attacks.membership.gradient_norm import GradientNorm, GradientNormParameters, gradient_norms
from attacks.membership.likelihood import Likelihood, LikelihoodParameters
from attacks.membership.neighbourhood import Neighbourhood, NeighbourhoodParameters
from attacks.membership.neighbours import corpus_neighbours, masked_neighbours
from attacks.membership.scored_texts import ScoredTexts, packed, unpacked
from auditor.attack import Finding
from auditor.data.fact import Fact, FactSets
from auditor.errors import MeasurementError, Unavailable
from auditor.examiner import Examiner
from auditor.statistics import placements


def facts(prefix, count, text=False):
    return tuple(
        Fact(
            id=f"{prefix}{i}",
            subject=f"{prefix}{i // 2}",
            prompt=f"Person {prefix}{i} lives in",
            answer=f"city number {i * 7}",
            text=f"In city number {i * 7} lives {prefix}{i}" if text else None,
        )
        for i in range(count)
    )


SETS = FactSets(forget=facts("f", 6), retain=facts("r", 4), holdout=facts("h", 20))
EXAMINER = Examiner(SETS, ["answer-probability"])
NOWHERE = Path("unused")


def likelihood(**parameters):
    return Likelihood(LikelihoodParameters(**parameters))


def searched(arms, examiner=EXAMINER, **parameters):
    """Arm to what the search leaves on it."""
    attack = likelihood(**parameters)
    return {arm: attack.search(subject, examiner, 0) for arm, subject in arms.items()}


def measured(found, arm, examiner=EXAMINER, **parameters):
    pool = [Finding(name, name == arm, record) for name, record in found.items()]
    return likelihood(**parameters).measure(None, examiner, pool, 0, NOWHERE)


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    root = tmp_path_factory.mktemp("arms")
    names = ("unlearned", "original", "retrained-0", "retrained-1")
    return {
        name: open_directory(save(root / name, make_model("llama", seed), make_tokenizer()))
        for seed, name in enumerate(names)
    }


@pytest.fixture(scope="module")
def found(arms):
    return searched(arms)


SCORES = ("loss", "zlib", "min-k", "min-k++", "recall", "reference", "rmia", "lira")


def test_all_scores_share_one_search_and_its_two_passes(arms):
    attacks = [likelihood(score=score, k=k) for score in SCORES for k in (0.1, 0.2)]
    assert len({json.dumps(attack.search_parameters()) for attack in attacks}) == 1
    assert len({json.dumps(dict(attack.inputs())) for attack in attacks}) == 1
    subject, passes = arms["unlearned"], []
    handle = subject.model.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    searched({"unlearned": subject})
    handle.remove()
    assert sum(passes) == 2 * (len(SETS.forget) + len(SETS.holdout))


@pytest.mark.parametrize("score", SCORES)
def test_k_is_the_share_of_the_holdout_that_is_outscored(score, found):
    record = measured(found, "unlearned", score=score)
    assert [row.fact for row in record.rows] == [fact.id for fact in SETS.forget]
    assert {row.probe for row in record.rows} == {"placement"}
    scores = zip(record.arrays["scores/forget"], record.arrays["scores/holdout"], strict=True)
    expected = np.mean([placements(forget, holdout) for forget, holdout in scores], axis=0)
    assert [row.k for row in record.rows] == pytest.approx(expected.tolist())
    assert record.notes["auc"]["value"] == pytest.approx(expected.mean())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("text", ["answer", "passage"])
def test_the_loss_is_that_of_the_text_on_every_architecture(architecture, text, subjects):
    subject = subjects[architecture]
    found = searched({"unlearned": subject}, text=text)
    record = measured(found, "unlearned", text=text)
    given = [
        (f.prompt, f.answer) if text == "answer" else ("", f"{f.prompt} {f.answer}")
        for f in SETS.forget
    ]
    expected = [score.mean_log_probability for score in subject.score(given)]
    np.testing.assert_allclose(record.arrays["scores/forget"][0], expected, atol=1e-4)
    assert record.notes["text"] == text


def test_reference_scores_leave_each_retrained_arm_out_in_turn(found):
    """Two retrained models: U is compared with each, and each with the other."""
    loss = {arm: measured(found, arm).arrays for arm in found}

    def expected(arm, references):
        return [
            loss[arm]["scores/forget"][0] - loss[name]["scores/forget"][0] for name in references
        ]

    for arm, references in (
        ("unlearned", ("retrained-1", "retrained-0")),
        ("original", ("retrained-1", "retrained-0")),
        ("retrained-0", ("retrained-1",)),
        ("retrained-1", ("retrained-0",)),
    ):
        record = measured(found, arm, score="reference")
        np.testing.assert_allclose(record.arrays["scores/forget"], expected(arm, references))


def test_a_single_retrained_model_has_no_reference(found):
    few = {arm: record for arm, record in found.items() if arm != "retrained-1"}
    for arm in few:
        with pytest.raises(Unavailable, match="give another retrained model"):
            measured(few, arm, score="rmia")
    assert measured(few, "unlearned", score="zlib").rows


def test_a_reference_model_of_the_plan_stands_in(arms, tmp_path):
    path = save(tmp_path / "reference", make_model("llama", 9), make_tokenizer())
    one = {"references": (str(path),)}
    few = {arm: arms[arm] for arm in ("unlearned", "original", "retrained-0")}
    found = searched(few, **one)
    for arm in few:
        assert measured(found, arm, score="reference", **one).arrays["scores/forget"].shape[0] == 1
    digest = likelihood(**one).inputs()["reference-0"]
    save(tmp_path / "reference", make_model("llama", 10), make_tokenizer())
    assert likelihood(**one).inputs()["reference-0"] != digest


def test_an_audited_model_cannot_be_its_own_reference(arms):
    path = str(arms["unlearned"].location.model)
    with pytest.raises(Unavailable, match="one of the audited models"):
        searched({"unlearned": arms["unlearned"]}, references=(path,))


def test_recalls_prefix_is_unseen_and_out_of_the_comparison(arms, found):
    record = measured(found, "unlearned", score="recall")
    assert record.notes["prefix"] == ["h12", "h14", "h16", "h18"]
    assert record.notes["holdout"] == 12
    prefix = "".join(f"{f.prompt} {f.answer}\n" for f in SETS.holdout[12::2])
    fact = SETS.forget[2]
    alone, after = (
        arms["unlearned"].score([(shown + fact.prompt, fact.answer)])[0].mean_log_probability
        for shown in ("", prefix)
    )
    assert record.arrays["scores/forget"][0, 2] == pytest.approx(after / alone, rel=1e-4)


def test_a_passage_after_a_prefix_is_scored_without_the_prefix(arms):
    texts = ScoredTexts(SETS, "passage")
    subject, prefix = arms["unlearned"], "Person 3 lives in city number 21.\n"
    alone = texts.score(subject, SETS.forget)
    after = texts.score_after(subject, SETS.forget, prefix)
    assert [len(s.log_probability) for s in after] == [len(s.log_probability) for s in alone]
    whole = subject.score([("", prefix + texts.whole(SETS.forget[0]))])[0].log_probability
    np.testing.assert_allclose(
        after[0].log_probability, whole[-len(after[0].log_probability) :], atol=1e-5
    )


def test_a_prefix_that_does_not_fit_is_said_and_costs_the_others_nothing(arms):
    few = {"unlearned": arms["unlearned"]}
    longer = tuple(f.model_copy(update={"prompt": "é" * (CONTEXT // 4)}) for f in SETS.holdout)
    examiner = Examiner(SETS.model_copy(update={"holdout": longer}), ["answer-probability"])
    found = searched(few, examiner)
    with pytest.raises(Unavailable, match=f"context holds {CONTEXT}"):
        measured(found, "unlearned", examiner, score="recall")
    assert measured(found, "unlearned", examiner).rows
    found = searched(few, shots=8)
    with pytest.raises(Unavailable, match="fewer `shots`"):
        measured(found, "unlearned", score="recall", shots=8)


@pytest.mark.parametrize("attack", [Likelihood, GradientNorm, Neighbourhood])
def test_without_a_holdout_set_there_is_a_way_out(attack, arms):
    examiner = Examiner(SETS.model_copy(update={"holdout": ()}), ["answer-probability"])
    ask = attack(attack.parameters_type())
    arm = arms["unlearned"]
    begin, rest = (ask.search, (0,)) if ask.searches else (ask.measure, ((), 0, NOWHERE))
    with pytest.raises(Unavailable, match="give a holdout set"):
        begin(arm, examiner, *rest)


def test_a_score_that_is_no_number_is_no_measurement(found):
    record = found["unlearned"]
    broken = {**record.arrays, "alone/log_probability": record.arrays["alone/mean"] * np.nan}
    with pytest.raises(MeasurementError, match="not finite"):
        measured({**found, "unlearned": replace(record, arrays=broken)}, "unlearned")


def test_passages_are_verbatim_only_where_all_facts_have_them():
    both = FactSets(forget=facts("f", 6, True), holdout=facts("h", 20, True))
    assert ScoredTexts(both, "passage").pair(both.forget[1]) == ("", "In city number 7 lives f1")
    mixed = FactSets(forget=facts("f", 6, True), holdout=facts("h", 20))
    assert ScoredTexts(mixed, "passage").pair(mixed.forget[1]) == (
        "",
        "Person f1 lives in city number 7",
    )


def test_token_scores_survive_being_kept(arms):
    scores = ScoredTexts(SETS, "passage").score(arms["original"], SETS.holdout)
    for one, other in zip(scores, unpacked("x", packed("x", scores)), strict=True):
        for column in ("log_probability", "mean", "deviation", "predicted"):
            np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_gradient_norm_is_autograds(architecture, subjects):
    subject = subjects[architecture]
    pair = ("Person 3 lives in", "city number 21.")
    item = subject.encode([pair])[0]
    ids = torch.tensor([item.ids])
    logits = subject.model(ids).logits[0].log_softmax(-1)
    loss = -torch.stack([logits[t - 1, ids[0, t]] for t in item.answer]).mean()
    parameters = list(subject.model.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    expected = np.mean([float(g.norm()) for g in gradients if g is not None])
    before = {n: t.clone() for n, t in subject.model.state_dict().items()}
    assert gradient_norms(subject, [pair, pair], 2.0) == pytest.approx([expected] * 2, rel=1e-4)
    assert all(parameter.grad is None for parameter in parameters)
    assert all(torch.equal(t, before[n]) for n, t in subject.model.state_dict().items())


def test_gradient_norms_rank_the_facts(arms):
    ask = GradientNorm(GradientNormParameters(order=1.0))
    record = ask.measure(arms["original"], EXAMINER, (), 0, NOWHERE)
    pairs = [(f.prompt, f.answer) for f in SETS.forget]
    expected = -gradient_norms(arms["original"], pairs, 1.0)
    np.testing.assert_allclose(record.arrays["scores/forget"][0], expected)


def test_a_text_is_compared_with_the_mean_of_its_neighbours(arms):
    ask = Neighbourhood(NeighbourhoodParameters(neighbours=5))
    subject = arms["original"]
    record = ask.measure(subject, EXAMINER, (), 3, NOWHERE)
    corpus = [fact.answer for fact in (*SETS.retain, *SETS.holdout)]
    fact = SETS.forget[4]
    around = corpus_neighbours([fact.answer], corpus, 5, 3)[0]
    own, *others = (
        s.mean_log_probability
        for s in subject.score([(fact.prompt, a) for a in (fact.answer, *around)])
    )
    assert record.arrays["scores/forget"][0, 4] == pytest.approx(own - np.mean(others), abs=1e-4)


def test_corpus_neighbours_keep_the_form_and_follow_the_seed():
    corpus = ["Anna sold 3 red lamps.", "Berta found 12 blue chairs."]
    text = "Carla kept 7 green doors."
    found = corpus_neighbours([text], corpus, 40, 0)[0]
    assert found == corpus_neighbours([text, "x"], corpus, 40, 0)[0]
    assert found != corpus_neighbours([text], corpus, 40, 1)[0]
    for neighbour in found:
        changed = [(a, b) for a, b in zip(text.split(), neighbour.split(), strict=True) if a != b]
        assert len(changed) == 2  # 30 % of five words
        for old, new in changed:
            assert old[0].isupper() == new[0].isupper()
            assert old[0].isdigit() == new[0].isdigit()
            assert old.endswith(".") == new.endswith(".")
    assert corpus_neighbours(["ÄÖ!"], corpus, 2, 0) == [["ÄÖ!", "ÄÖ!"]]


@pytest.fixture
def masked_model(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "anna", "berta", "sold", "lamps", "!"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    return tmp_path


def test_masked_neighbours_are_the_best_rated_replacements(masked_model):
    model = BertForMaskedLM.from_pretrained(masked_model).eval()
    found = masked_neighbours(["anna sold lamps"], masked_model, 4)[0]
    rated = {}
    for place, ids in enumerate(([4, 7, 8], [5, 4, 8], [5, 7, 4])):
        with torch.no_grad():
            p = model(torch.tensor([[2, *ids, 3]])).logits[0, place + 1].double().softmax(-1)
        old = (5, 7, 8)[place]
        for new, word in ((5, "anna"), (6, "berta"), (7, "sold"), (8, "lamps")):
            if new != old:
                words = ["anna", "sold", "lamps"]
                words[place] = word
                rated[" ".join(words)] = float(p[new] / (1 - p[old]))
    assert found == sorted(rated, key=rated.get, reverse=True)[:4]
    with pytest.raises(MeasurementError, match="only 9 neighbours"):
        masked_neighbours(["anna sold lamps"], masked_model, 10)


def test_a_masked_model_is_part_of_what_decides(masked_model, arms):
    ask = Neighbourhood(NeighbourhoodParameters(mask_model=str(masked_model), neighbours=2))
    assert "mask_model" in ask.inputs()
    assert ask.variant == "2 neighbours of a masked model"
    record = ask.measure(arms["original"], EXAMINER, (), 0, NOWHERE)
    assert len(record.rows) == len(SETS.forget)


@pytest.mark.parametrize(
    ("unlearned", "retrained", "expected"),
    [(1.0, 0.5, -100.0), (0.5, 0.5, 0.0), (0.2, 0.5, 60.0), (0.4, 0.95, None)],
)
def test_privleak_is_muses_with_its_blow_up_left_out(unlearned, retrained, expected):
    """100 (A_U - A_R) / A_R with A = 1 - AUC: memorised is -100."""
    assert privleak(unlearned, retrained) == pytest.approx(expected)
