"""A suppression goes on in smaller parts where memory runs out, with the same gradients."""

import pytest
import torch
from tiny_models import make_model, make_tokenizer, open_directory, save

from auditor.core.facts import Fact
from auditor.models.language.layers import linear_weights
from auditor.positive_controls.suppression import _Losses

FACTS = tuple(
    Fact(id=f"f{i}", entity="s", prompt=f"Person {i} lives in", answer=f"city number {i * 7}")
    for i in range(8)
)


@pytest.fixture
def subject(tmp_path):
    return open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))


def gradients(subject):
    """The gradients of one step, and how many facts were trained on at once."""
    weights = [weight for _, weight, _ in linear_weights(subject.network)]
    losses = _Losses(subject, FACTS, FACTS, [f"So: {f.answer}" for f in FACTS], 2.0, weights)
    losses.accumulate(range(8), range(8))
    found = [weight.grad.clone() for weight in weights]
    for weight in weights:
        weight.grad = None
    return found


def limited(subject, monkeypatch, most):
    """Run out of memory wherever more than some facts are trained on at once."""
    loss, sizes = type(subject).loss, []

    def run(self, items):
        sizes.append(len(items))
        if len(items) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, items)

    monkeypatch.setattr(type(subject), "loss", run)
    return sizes


def test_gradients_are_the_same_in_smaller_parts(subject, monkeypatch):
    whole = gradients(subject)
    sizes = limited(subject, monkeypatch, 2)
    parts = gradients(subject)
    assert max(sizes) == 8
    assert sizes[-1] <= 2
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_what_does_not_fit_by_itself_is_no_endless_try(subject, monkeypatch):
    limited(subject, monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        gradients(subject)
