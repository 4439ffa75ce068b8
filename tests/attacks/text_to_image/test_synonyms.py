"""Synonyms: the strongest of a fact's paraphrases, and MACE's figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hmean
from tiny_pipelines import make_pipeline, open_pipeline

from attacks.generation.erasure_metrics import ErasureAccuracies
from attacks.prompting.concepts.synonyms import Synonyms
from auditor.attack import AttackContext, Parameters
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.models.text_to_image.classifiers import open_classifier
from auditor.models.text_to_image.convolutional_classifier import (
    ClassifierConfig,
    ConvolutionalClassifier,
)
from auditor.models.text_to_image.evaluator import ImageEvaluator

FORGET = (
    Fact(id="a", entity="c", prompt="circle", answer="circle", paraphrases=("disc", "ring")),
    Fact(id="b", entity="c", prompt="a circle", answer="circle", paraphrases=("a disc",)),
    Fact(id="c", entity="c", prompt="red circle", answer="circle"),
)
RETAIN = (Fact(id="s", entity="s", prompt="square", answer="square"),)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    labels = ("circle", "square", "none")
    ConvolutionalClassifier(ClassifierConfig(labels=labels, channels=(6, 6))).save(folder)
    return open_classifier(folder, ["circle", "square"])


def examiner_of(classifier, forget=FORGET, retain=RETAIN, metrics=("concept", "concept-top-1")):
    return ImageEvaluator(FactSets(forget=forget, retain=retain), metrics, classifier)


def measured(subject, evaluator, tmp_path):
    return Synonyms(Parameters()).measure(subject, AttackContext(evaluator, 0, tmp_path))


def test_a_fact_keeps_its_strongest_paraphrase(subject, classifier, tmp_path):
    evaluator = examiner_of(classifier)
    record = measured(subject, evaluator, tmp_path)
    k = {row.fact: row.k for row in record.rows if row.metric == "concept"}

    def drawn(fact, prompt):
        rewrite = lambda f: f.model_copy(update={"prompt": prompt})  # noqa: E731
        rows = evaluator.evaluate(subject, ("forget", "retain"), rewrite, only=[fact])
        return next(row.k for row in rows if row.metric == "concept")

    first = [drawn("a", "disc"), drawn("a", "ring")]
    assert first[0] != first[1]
    second, third = drawn("b", "a disc"), drawn("c", "red circle")
    expected = {"a": max(first), "b": second, "c": third, "s": drawn("s", "square")}
    assert k == pytest.approx(expected, rel=1e-4)
    notes = record.notes
    assert notes["acc_g"] == pytest.approx((sum(first) + second) / 3, rel=1e-4)
    own = [drawn("a", "circle"), drawn("b", "a circle"), drawn("c", "red circle")]
    assert notes["acc_e"] == pytest.approx(sum(own) / 3, rel=1e-4)
    assert notes["acc_s"] == pytest.approx(k["s"])
    assert notes["pictures_by_paraphrase"] == [2, 1]
    assert notes["facts_drawn_from_their_own_prompt"] == 1
    assert {row.set for row in record.rows} == {"forget", "retain"}


def test_measuring_twice_gives_the_same(subject, classifier, tmp_path):
    evaluator = examiner_of(classifier)
    assert measured(subject, evaluator, tmp_path) == measured(subject, evaluator, tmp_path)


@pytest.mark.parametrize("layout", ["sd1", "sdxl"])
def test_it_runs_on_latents(classifier, tmp_path, layout):
    make_pipeline(layout).save_pretrained(tmp_path / layout)
    record = measured(open_pipeline(tmp_path / layout), examiner_of(classifier), tmp_path)
    assert len(record.rows) == 2 * len(FORGET + RETAIN)


def test_without_paraphrases_there_is_nothing_to_ask(subject, classifier, tmp_path):
    with pytest.raises(UnavailableError, match="paraphrases"):
        measured(subject, examiner_of(classifier, forget=FORGET[2:]), tmp_path)


def test_figures_of_every_arm(subject, classifier, tmp_path):
    record = measured(subject, examiner_of(classifier), tmp_path)
    attack = Synonyms(Parameters())
    figures = attack.side_figures({"unlearned": record.notes, "original": record.notes})
    for arm in ("unlearned", "original"):
        of = {figure.name: figure.value for figure in figures if figure.of == arm}
        assert {"attack_success_rate", "acc_e", "acc_s", "acc_g", "h_o"} <= of.keys()
        assert of["h_o"] == pytest.approx(
            3 / (1 / (1 - of["acc_e"]) + 1 / of["acc_s"] + 1 / (1 - of["acc_g"]))
        )


def test_without_retain_facts_acc_s_and_h_o_are_absent(subject, classifier, tmp_path):
    record = measured(subject, examiner_of(classifier, retain=()), tmp_path)
    figures = Synonyms(Parameters()).side_figures({"unlearned": record.notes})
    named = {figure.name: figure for figure in figures}
    assert not {"acc_s", "h_o"} & named.keys()
    codes = {remark.code for remark in named["acc_e"].remarks}
    assert {"no_acc_s", "no_h_o_without_parts"} <= codes


def test_the_mean_is_of_probabilities_where_the_audit_has_them(subject, classifier, tmp_path):
    evaluator = examiner_of(classifier, metrics=("concept-top-1", "concept"))
    assert measured(subject, evaluator, tmp_path).notes["metric"] == "concept"
    evaluator = examiner_of(classifier, metrics=("concept-top-1",))
    assert measured(subject, evaluator, tmp_path).notes["metric"] == "concept-top-1"


@given(st.tuples(*[st.floats(0.01, 0.99)] * 3))
def test_the_harmonic_mean_is_of_what_is_gone_what_stays_and_what_synonyms_do_not_draw(parts):
    gone, stays, silent = parts
    found = ErasureAccuracies(1 - gone, stays, 1 - silent)
    assert found.harmonic_mean == pytest.approx(hmean(parts))
    assert not list(found.missing())


@pytest.mark.parametrize(
    "accuracies", [(1.0, 0.9, 0.1), (0.1, 0.0, 0.1), (0.1, 0.9, 1.0), (0.1, None, 0.1)]
)
def test_a_harmonic_mean_that_is_not_defined_is_absent(accuracies):
    found = ErasureAccuracies(*accuracies)
    assert found.harmonic_mean is None
    assert any(reason.code.startswith("no_h_o") for reason in found.missing())
