"""Knowledge of the rest of an answer, once its beginning is given away."""

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, make_model, make_tokenizer, open_directory, save

from attacks.prompting.prefill import Prefill, PrefillParameters
from auditor.attack import AttackContext
from auditor.core.facts import Fact, FactSets
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.spec import PromptFormat

FACTS = (
    Fact(id="a", entity="s", prompt="Person 1 lives in", answer="city number 71."),
    Fact(id="b", entity="s", prompt="The quick brown", answer="fox jumps over the lazy dog"),
    Fact(id="c", entity="s", prompt="Person 77", answer="lives"),
)


def rest(subject, before, answer, shown):
    """Geometric mean of the probabilities of the answer's tokens after the shown ones."""
    ids = subject.tokenizer(before + answer)["input_ids"]
    start = len(subject.tokenizer(before.rstrip(" "))["input_ids"])
    with torch.inference_mode():
        logits = subject.network(torch.tensor([ids])).logits[0].double().numpy()
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    each = [p[t - 1, ids[t]] for t in range(start, len(ids))]
    left = each[min(shown, len(each) - 1) :]
    return float(np.prod(left) ** (1 / len(left)))


def measure(subject, shown, tmp_path):
    evaluator = TextEvaluator(FactSets(forget=FACTS), ["answer-probability"])
    return Prefill(PrefillParameters(tokens=shown)).measure(
        subject, AttackContext(evaluator, 0, tmp_path)
    )


@pytest.mark.parametrize("shown", [1, 2, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_k_is_the_geometric_mean_over_the_rest(architecture, shown, subjects, tmp_path):
    subject = subjects[architecture]
    record = measure(subject, shown, tmp_path)
    expected = {f.id: rest(subject, f"{f.prompt} ", f.answer, shown) for f in FACTS}
    assert {row.fact: row.k for row in record.rows} == pytest.approx(expected, rel=1e-3)
    assert record.notes["answers_too_short"] == 1 + (shown >= 4)
    given = {row.fact: row.prompt for row in record.rows}
    assert given["b"].startswith("The quick brown f")
    assert "lazy dog" not in given["b"]


def test_it_works_in_a_chat_template(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}<assistant>"
    )
    folder = save(tmp_path / "m", make_model("llama"), tokenizer)
    subject = open_directory(folder, prompt_format=PromptFormat(chat=True))
    found = {row.fact: row.k for row in measure(subject, 1, tmp_path).rows}
    for fact in FACTS:
        before = f"<user> {fact.prompt}\n<assistant>"
        assert found[fact.id] == pytest.approx(rest(subject, before, fact.answer, 1), rel=1e-3)
