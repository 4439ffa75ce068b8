"""Adam with moments of two bytes: the steps of Adam, and what it takes."""

import pytest
import torch
from tiny_models import make_model, make_tokenizer, open_directory, save

from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from auditor.models.language.layers import embedded_weights
from auditor.unlearning import adam
from auditor.unlearning.adam import (
    BLOCK,
    Adam,
    Rounded,
    RoundedMoments,
    WholeMoments,
    grid,
    restore_by_torch,
    round_by_torch,
)

CPU = torch.device("cpu")
SMALLEST = 4096


@pytest.fixture
def rounds_small_ones(monkeypatch):
    """Matrices of small models are rounded, too."""
    monkeypatch.setattr(adam, "LEAST_ROUNDED", SMALLEST)


def rounded_values(values, signed):
    """Values as they are kept, rounded from the start of each block on."""
    kept, half = Rounded(values, signed=signed), -(-len(values) // 2 // BLOCK) * BLOCK
    for at in (slice(0, half), slice(half, len(values))):
        if at.stop > at.start:
            kept.round_(values[at], at)
    return kept.values(slice(0, len(values)))


def test_what_is_small_in_its_block_is_as_exact_as_what_is_large():
    values = torch.logspace(-5, 0, BLOCK)
    found = rounded_values(values, signed=False)
    assert float((found / values - 1).abs().max()) < 0.024
    assert len(grid(False, CPU)) == 256


def test_steps_are_exact_to_half_a_hundredth_of_the_largest():
    values = torch.linspace(-1.3, 1.4, BLOCK)
    found = rounded_values(values, signed=True)
    assert float((found - values).abs().max()) < 1.4 / 127 / 2 * 1.001
    assert len(grid(True, CPU)) == 256


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("size", [1, 100, BLOCK, 3 * BLOCK + 5])
def test_every_entry_is_rounded_to_the_nearest_value(signed, size):
    torch.manual_seed(0)
    values = torch.randn(size) * 10 ** torch.empty(size).uniform_(-4, 1)
    values = values if signed else values.abs()
    codes, largest = round_by_torch(values, grid(signed, CPU))
    found = restore_by_torch(codes, largest, grid(signed, CPU))
    for start in range(0, size, BLOCK):
        block = values[start : start + BLOCK]
        candidates = grid(signed, CPU) * block.abs().max()
        best = (block[:, None] - candidates).abs().amin(1)
        torch.testing.assert_close((found[start : start + BLOCK] - block).abs(), best)
    here = rounded_values(values, signed=signed)  # by the library, where it rounds so
    near = (here - values).abs() <= (found - values).abs() * 1.001 + 1e-7 * largest.max()
    assert near.all()


def test_zeros_stay_zeros():
    values = torch.zeros(5000)
    for signed in (True, False):
        assert Rounded(values, signed=signed).values(slice(0, 5000)).equal(values)
        assert rounded_values(values, signed=signed).equal(values)
        table = grid(signed, CPU)
        assert restore_by_torch(*round_by_torch(values, table), table).equal(values)


def gradients(steps, generator):
    """Of weights whose gradients differ by four decades in one block, with a drift of their own."""
    size = 10 ** torch.empty(4, BLOCK).uniform_(-4, 0, generator=generator)
    drift = torch.randn(4, BLOCK, generator=generator)
    for _ in range(steps):
        yield size * (drift + torch.randn(4, BLOCK, generator=generator))


def test_whole_moments_are_those_of_adam():
    weight = torch.nn.Parameter(torch.zeros(4, BLOCK))
    theirs = torch.optim.Adam([weight], lr=1.0)
    ours, moments = torch.zeros(4, BLOCK), WholeMoments(weight)
    for number, gradient in enumerate(gradients(20, torch.Generator().manual_seed(0)), start=1):
        weight.grad = gradient.clone()
        theirs.step()
        divisor = moments.step_(gradient, number)
        ours -= gradient / divisor
        torch.testing.assert_close(ours, weight.detach(), rtol=1e-4, atol=1e-5)


def test_rounded_moments_make_the_steps_of_adam():
    """After hundreds of steps, too, where one step changes a moment by less than rounding shows.

    Weights are ten thousand times larger than others of their block here.
    """
    whole, rounded = (kind(torch.zeros(4, BLOCK)) for kind in (WholeMoments, RoundedMoments))
    ours, theirs = torch.zeros(4, BLOCK), torch.zeros(4, BLOCK)
    for number, gradient in enumerate(gradients(300, torch.Generator().manual_seed(1)), 1):
        near = gradient.clone()
        step = gradient.div_(whole.step_(gradient, number))
        assert rounded.step_(near, number) == 1.0
        theirs += step
        ours += near
        if number in (1, 10, 40, 300):
            assert float((near - step).norm() / step.norm()) < 0.2, number
            assert float(near.norm() / step.norm()) == pytest.approx(1, abs=0.07), number
            assert float((ours - theirs).norm() / theirs.norm()) < 0.15, number


def test_what_is_trained_takes_six_bytes_a_weight(tmp_path, rounds_small_ones):
    """Weight and moments, beside one gradient at a time; embeddings have whole moments."""
    subject = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    examples = subject.encode([(f"Person {i} lives in", f"city {i}") for i in range(4)], end=True)
    network = subject.network
    embedded = set(map(id, embedded_weights(network)))
    with learner(subject, examples, FineTuning(method="full"), 0) as training:
        together = []
        for parameter in network.parameters():
            parameter.register_post_accumulate_grad_hook(
                lambda _: together.append(sum(p.grad is not None for p in network.parameters()))
            )
        training.advance(2)
        assert together == [1] * 2 * len(list(network.parameters()))
        optimizer = training._optimizer
        taken = {True: 0, False: 0}
        for parameter in network.parameters():
            held = tensors(optimizer.state[parameter]["moments"])
            small = parameter.numel() < SMALLEST
            taken[id(parameter) in embedded or small] += sum(t.nbytes for t in held)
            assert parameter.grad is None, "no gradient outlives its step"
            assert parameter.dtype == torch.float32
        rounded = [
            p for p in network.parameters() if id(p) not in embedded and p.numel() >= SMALLEST
        ]
        count = sum(p.numel() for p in rounded)
        assert count > 0.7 * sum(p.numel() for p in network.parameters())
        assert 4 + taken[False] / count < 6.01
        others = sum(p.numel() for p in network.parameters()) - count
        assert taken[True] == 8 * others


def tensors(held):
    """All tensors that an object and its parts hold."""
    if isinstance(held, torch.Tensor):
        return [held]
    return [t for part in getattr(held, "__dict__", {}).values() for t in tensors(part)]


@pytest.mark.parametrize("kind", [WholeMoments, RoundedMoments])
def test_parts_of_a_tensor_are_what_the_whole_is(kind, monkeypatch):
    """Bit for bit, in a last part that is no whole block, too."""
    torch.manual_seed(0)
    given = [torch.randn(5, BLOCK + 7) for _ in range(3)]

    def changes(size):
        monkeypatch.setattr(adam, "_PART", {"cpu": size})
        moments = kind(given[0])
        taken = [gradient.clone() for gradient in given]
        for number, gradient in enumerate(taken, start=1):
            moments.step_(gradient, number)
        return torch.stack(taken)

    assert changes(BLOCK).equal(changes(100 * BLOCK))


def test_weights_that_are_named_keep_whole_moments(rounds_small_ones):
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(64, 128)) for _ in range(2)]
    optimizer = Adam(weights, 1e-2, whole=[weights[1]])
    before = [w.detach().clone() for w in weights]
    sum(w.square().sum() for w in weights).backward()
    optimizer.step()
    for weight, start in zip(weights, before, strict=True):
        torch.testing.assert_close(weight.detach(), start - 1e-2 * start.sign(), rtol=0, atol=1e-4)
        assert weight.grad is None
    kinds = [type(optimizer.state[w]["moments"]) for w in weights]
    assert kinds == [RoundedMoments, WholeMoments]


def test_matrices_of_large_models_alone_are_rounded():
    assert type(adam.moments(torch.zeros(1024, 1024), rounded=True)) is RoundedMoments
    assert type(adam.moments(torch.zeros(1024, 1023), rounded=True)) is WholeMoments
    assert type(adam.moments(torch.zeros(1024, 1024), rounded=False)) is WholeMoments


def test_what_is_learned_is_what_whole_moments_learn(tmp_path, monkeypatch):
    """The loss falls by as much, step for step."""
    subject = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    pairs = [(f"Person {i} lives in", f"city number {7 * i}") for i in range(16)]
    examples = subject.encode(pairs, end=True)
    settings = FineTuning(method="full", learning_rate=3e-4)

    def losses():
        found = []
        with learner(subject, examples, settings, 0) as training:
            for step in (0, 5, 10, 20):
                training.advance(step)
                with torch.no_grad():
                    found.append(float(subject.loss(examples)))
        return torch.tensor(found)

    whole = losses()
    monkeypatch.setattr(adam, "LEAST_ROUNDED", SMALLEST)
    rounded = losses()
    assert rounded[0] == whole[0]
    assert whole[-1] < 0.7 * whole[0]
    assert not torch.equal(rounded, whole)
    assert float((rounded - whole).abs().max() / (whole[0] - whole[-1])) < 0.02
