"""The model card, as Hugging Face's own library reads it."""

import pytest
from hand_made_certificates import honest_certificate
from hand_made_rows import NO_READING
from hostile_texts import hostile_certificate
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from markdown_it import MarkdownIt

from auditor.core.errors import AuditorError
from reports.model_card import BEGIN, END, METRIC, insert, render

VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE")
EVERY = [*map(honest_certificate, VERDICTS), hostile_certificate()]
EACH = pytest.mark.parametrize("certificate", EVERY, ids=[*VERDICTS, "hostile"])
CARD = """---
license: llama3.2
tags:
- text-generation
model-index:
- name: my model
  results:
  - task:
      type: text-generation
    dataset:
      name: HellaSwag
      type: hellaswag
    metrics:
    - type: accuracy
      value: 0.61
---
# My model

What it is for.
"""


def results(text):
    return ModelCard(text).data.eval_results or []


@EACH
def test_the_library_reads_what_was_written(certificate, tmp_path):
    text = render(certificate)
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert "unlearning-audit" in metadata_load(tmp_path / "README.md")["tags"]
    known = [row.figures.rho for row in certificate.matrix if row.figures]
    known = [rho for rho in known if rho is not None]
    assert [r.metric_value for r in results(text)] == known
    assert {r.metric_type for r in results(text)} <= {METRIC}
    assert str(ModelCard(text)) == text


@EACH
def test_equal_certificates_give_equal_text(certificate):
    again = type(certificate).model_validate_json(certificate.model_dump_json())
    assert render(certificate) == render(again)


@EACH
def test_one_block_with_nothing_hostile_in_it(certificate):
    text = render(certificate)
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    body = ModelCard(text).text
    inside = MarkdownIt("commonmark").enable("table").parse(body)
    tokens = [t for token in inside for t in (token, *(token.children or ()))]
    html = [t.content.strip() for t in tokens if t.type.startswith("html")]
    assert html == [BEGIN, END]
    assert not [t for t in tokens if t.type in ("link_open", "image", "fence", "code_block")]
    assert [t.type for t in tokens].count("tr_open") == len(certificate.matrix) + 1


@EACH
def test_inserting_again_changes_nothing(certificate):
    once = insert(CARD, certificate)
    assert insert(once, certificate) == once


def test_another_audit_replaces_the_first_and_nothing_else():
    first = insert(CARD, honest_certificate("FAIL"))
    text = insert(first + "\nAfterword.\n", honest_certificate("PASS"))
    assert honest_certificate("FAIL").certificate_id not in text
    assert honest_certificate("PASS").certificate_id in text
    assert "What it is for." in text
    assert text.endswith("\nAfterword.\n")
    card = ModelCard(text)
    assert card.data.license == "llama3.2"
    assert card.data.tags == ["text-generation", "unlearning-audit"]
    assert card.data.model_name == "my model"
    assert [r.metric_value for r in results(text) if r.metric_type == "accuracy"] == [0.61]


def test_an_audit_without_figures_leaves_no_results():
    certificate = honest_certificate("NOT AUDITABLE")
    rows = tuple(row.model_copy(update=NO_READING) for row in certificate.matrix)
    text = insert(
        render(honest_certificate("FAIL")), certificate.model_copy(update={"matrix": rows})
    )
    assert results(text) == []
    assert "model-index" not in text
    assert "not measured" in text


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdict_is_said_in_words(verdict):
    text = render(honest_certificate(verdict))
    assert f"{verdict}**" in text
    assert "does not say" in text


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (f"# x\n{BEGIN}\n", "once each"),
        (f"# x\n{BEGIN}\n{END}\n{BEGIN}\n{END}\n", "once each"),
        (f"# x\n{END}\n{BEGIN}\n", "stands before"),
        ("---\n- a\n---\n", "metadata cannot be read"),
        ("---\na: [\n---\n", "metadata cannot be read"),
        ("---\nmodel-index: 7\n---\n", "metadata cannot be read"),
    ],
)
def test_a_card_that_cannot_be_mended_is_refused(card, words):
    with pytest.raises(AuditorError, match=words):
        insert(card, honest_certificate("PASS"))
