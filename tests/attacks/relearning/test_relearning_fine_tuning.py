"""Fine-tuning on loan: what is trained, in which order, and that nothing of it is left."""

import accelerate
import pytest
import torch
from accelerate.hooks import add_hook_to_module
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, make_model, make_tokenizer, open_directory, save
from transformers.pytorch_utils import Conv1D

from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.models.causal_lm.model import CausalLM
from auditor.models.preserve import weights_digest
from auditor.unlearning.batches import shuffled_batches

PAIRS = [(f"Person {i} lives in", f"city number {i * 7 % 100}.") for i in range(8)]


def loss(subject):
    """Mean negative log-likelihood of the pairs' answers."""
    return -sum(score.mean_log_probability for score in subject.score(PAIRS)) / len(PAIRS)


def state(model):
    """All that an attack could leave behind, weights aside."""
    return {
        name: (
            type(module),
            module.training,
            id(module),
            sorted(vars(module)),
            {
                n: (id(p), p.requires_grad, p.dtype, p.grad)
                for n, p in module._parameters.items()
                if p is not None
            },
        )
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns_and_leaves_nothing_behind(architecture, method, subjects):
    subject = subjects[architecture]
    before = loss(subject)
    digest, kept = weights_digest(subject.network), state(subject.network)
    examples = subject.encode(PAIRS, end=True)
    with learner(subject, examples, FineTuning(method=method, batch_size=8), 0) as taught:
        assert loss(subject) == pytest.approx(before, abs=1e-6)  # LoRA starts from nothing
        taught.advance(12)
        assert loss(subject) < before - 0.5
    assert weights_digest(subject.network) == digest
    assert state(subject.network) == kept
    assert loss(subject) == before


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_error_in_the_middle_leaves_nothing_behind_either(method, subjects):
    subject = subjects["gpt2"]
    digest, kept = weights_digest(subject.network), state(subject.network)

    def interrupted():
        with learner(subject, subject.encode(PAIRS), FineTuning(method=method), 0) as taught:
            taught.advance(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert weights_digest(subject.network) == digest
    assert state(subject.network) == kept


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lora_is_on_every_matrix(architecture, subjects):
    """Head and embeddings too; OPT's positions are no lookup by ids, so they are left out."""
    model = subjects[architecture].network
    expected = {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D | torch.nn.Embedding)
        and not name.endswith("embed_positions")
    }
    assert {"lm_head", "embed_out"} & expected
    examples = subjects[architecture].encode(PAIRS)
    with learner(subjects[architecture], examples, FineTuning(rank=4), 0):
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        assert {name.partition(".lora_")[0] for name in trained} == expected
        assert all(4 in parameter.shape for parameter in trained.values())


def test_lora_starts_alike_on_all_arms_and_leaves_the_random_state_alone(subjects):
    def start(architecture, seed):
        subject = subjects[architecture]
        with learner(subject, subject.encode(PAIRS), FineTuning(rank=4), seed):
            return [p.detach().clone() for p in subject.network.parameters() if p.requires_grad]

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = start("llama", 0)
    assert torch.equal(torch.rand(3), expected)
    again, other = start("llama", 0), start("llama", 1)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def headed_by_hand(weight, width):
    """Left matrix and columns' scale of heads in rows, whose quotient has orthogonal rows."""
    heads = weight.detach().double().unflatten(0, (-1, width))
    columns = torch.ones(heads.shape[2]).double()
    for _ in range(200):
        basis = torch.linalg.svd(heads / columns, full_matrices=False).Vh
        columns = columns * (basis.square().mean((0, 1)) * len(columns)).sqrt()
    fixed = torch.randn(width, len(columns), generator=torch.Generator().manual_seed(0)).double()
    left, _, right = torch.linalg.svd(fixed @ basis.mT)
    basis = left @ right @ basis
    left = (heads / columns) @ basis.mT / len(columns) ** 0.5 / 0.02
    return torch.block_diag(*left), columns


def frame_by_hand(name, parameter, width):
    """The map from a value in the frame to the parameter, and the value."""
    if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
        left, columns = headed_by_hand(parameter, width)
        value = torch.linalg.inv(left) @ (parameter.detach() / columns)
        return (lambda v: left @ v * columns), value
    if name.endswith("o_proj.weight"):
        back, value = frame_by_hand("q_proj.weight", parameter.T, width)
        return (lambda v: back(v.T).T), value.T.contiguous()
    matrix = parameter.ndim == 2
    factor = equilibrated_by_hand(parameter) if matrix else parameter.detach().abs() / 0.02
    return (lambda v: v * factor), parameter.detach() / factor


def equilibrated_by_hand(weight):
    """Factors of a weight matrix whose quotient has rows and columns of root mean square 0.02."""
    squares = weight.detach().double().square()
    rows, columns = torch.ones(len(squares), 1).double(), torch.ones(1, squares.shape[1]).double()
    for _ in range(200):
        rows = (squares / columns).mean(1, keepdim=True)
        columns = (squares / rows).mean(0, keepdim=True)
    return (rows * columns).sqrt() / 0.02


def test_full_fine_tuning_is_adamw_on_the_mean_loss_in_the_frame(directories, subjects):
    """Against a plain loop over the same batches, written without the code under test.

    Every parameter is a linear map of a value in the frame; AdamW trains the values.
    """
    subject, settings = subjects["llama"], FineTuning(method="full", batch_size=3)
    examples = subject.encode(PAIRS, end=True)
    with learner(subject, examples, settings, 4) as taught:
        taught.advance(3)
        found = {n: p.detach().clone() for n, p in subject.network.named_parameters()}
    model = open_directory(directories["llama"]).network.double()
    width = model.model.layers[0].self_attn.head_dim
    frames = {name: frame_by_hand(name, p, width) for name, p in model.named_parameters()}
    values = {name: value.requires_grad_() for name, (_, value) in frames.items()}
    optimizer = torch.optim.AdamW(values.values(), lr=6e-5, weight_decay=0)
    generator = torch.Generator().manual_seed(4)
    order = torch.cat([torch.randperm(8, generator=generator) for _ in range(2)])

    def weights():
        return {name: frames[name][0](value) for name, value in values.items()}

    for step in range(3):
        losses = []
        for i in order[3 * step : 3 * step + 3].tolist():
            ids = torch.tensor([examples[i].ids])
            output = torch.func.functional_call(model, weights(), kwargs={"input_ids": ids})
            log_p = output.logits[0].log_softmax(-1)
            losses += [-log_p[t - 1, ids[0, t]] for t in examples[i].answer]
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    for name, weight in weights().items():
        torch.testing.assert_close(found[name].double(), weight.detach(), rtol=0, atol=5e-6)
        assert not torch.equal(
            found[name], dict(subjects["llama"].network.named_parameters())[name]
        )


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 5))
def test_every_example_comes_once_a_pass_whatever_the_batch(count, size, seed):
    drawn = shuffled_batches(count, size, torch.Generator().manual_seed(seed))
    order = [i for _ in range(count) for i in next(drawn)]
    for start in range(0, len(order) - count + 1, count):
        assert sorted(order[start : start + count]) == list(range(count))
    again = shuffled_batches(count, size, torch.Generator().manual_seed(seed))
    assert order == [i for _ in range(count) for i in next(again)]


def test_the_order_of_examples_is_the_same_on_every_arm(directories, monkeypatch):
    seen = []
    plain = CausalLM.loss
    monkeypatch.setattr(CausalLM, "loss", lambda s, items: seen.append(items) or plain(s, items))
    arms = []
    for architecture in ("llama", "opt"):
        subject = open_directory(directories[architecture])
        with learner(subject, subject.encode(PAIRS), FineTuning(batch_size=3), 7) as taught:
            taught.advance(6)
        arms.append([[item.ids for item in items] for items in seen])
        seen.clear()
    assert arms[0] == arms[1]  # both have the same tokenizer


def test_smaller_parts_where_memory_runs_out_change_nothing_but_rounding(subjects, monkeypatch):
    subject, settings = subjects["llama"], FineTuning(method="full", batch_size=8)
    examples = subject.encode(
        PAIRS[:4] + [("Person 5", "lives in city number 35, and likes it")] * 4
    )

    def trained():
        with learner(subject, examples, settings, 0) as taught:
            taught.advance(2)
            return {n: p.detach().clone() for n, p in subject.network.named_parameters()}

    whole, plain, sizes = trained(), CausalLM.loss, []

    def scarce(self, items):
        sizes.append(len(items))
        found = plain(self, items)
        if len(items) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return found

    monkeypatch.setattr(CausalLM, "loss", scarce)
    parts = trained()
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0, atol=5e-6)


def test_memory_that_runs_out_halfway_does_not_count_gradients_twice(subjects, monkeypatch):
    subject = subjects["llama"]
    examples, plain, calls = subject.encode(PAIRS[:4]), CausalLM.loss, []

    def second_fails(self, items):
        calls.append(len(items))
        if calls == [4, 2, 2]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if calls == [4]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(self, items)

    def gradients(patched):
        found = {}
        settings = FineTuning(method="full", batch_size=4)
        with learner(subject, examples, settings, 0) as taught:
            if patched:
                monkeypatch.setattr(CausalLM, "loss", second_fails)
            for parameter in subject.network.parameters():
                parameter.register_post_accumulate_grad_hook(
                    lambda p: found.update({p: p.grad.clone()})
                )
            taught.advance(1)
        return found.values()

    for a, b in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert calls == [4, 2, 2, 1, 1, 1, 1]


def test_memory_that_runs_out_once_a_parameter_moved_ends_the_training(subjects):
    """The batch cannot be read again: some weights are a step ahead of the others."""
    subject = subjects["llama"]
    digest = weights_digest(subject.network)
    settings = FineTuning(method="full", batch_size=8)
    with learner(subject, subject.encode(PAIRS), settings, 0) as taught:
        taught.advance(1)
        last = next(subject.network.parameters())  # gradients come from the head down

        def out_of_memory(_):
            raise torch.OutOfMemoryError("CUDA out of memory.")

        last.register_post_accumulate_grad_hook(out_of_memory)
        with pytest.raises(MeasurementError, match="out of memory while making a training step"):
            taught.advance(2)
    assert weights_digest(subject.network) == digest


def test_one_example_that_does_not_fit_is_a_failed_measurement(subjects, monkeypatch):
    def never(self, items):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(CausalLM, "loss", never)
    subject = subjects["llama"]
    with (
        pytest.raises(MeasurementError, match="out of memory while training on one example"),
        learner(subject, subject.encode(PAIRS), FineTuning(), 0) as taught,
    ):
        taught.advance(1)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_half_precision_learns_in_small_steps_and_comes_back(directories, method):
    """A step of 1e-4 is lost in bfloat16, where weights of size 0.1 lie 5e-4 apart."""
    subject = open_directory(directories["llama"], dtype="bfloat16")
    before, digest = loss(subject), weights_digest(subject.network)
    settings = FineTuning(method=method, batch_size=8)
    with learner(subject, subject.encode(PAIRS), settings, 0) as taught:
        taught.advance(12)
        assert loss(subject) < before - 0.5
    assert {p.dtype for p in subject.network.parameters()} == {torch.bfloat16}
    assert weights_digest(subject.network) == digest
    assert loss(subject) == before


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_under_a_device_map_learns_the_same_and_keeps_its_hooks(directories, method):
    """Accelerate's hooks move every block's input; LoRA must go around them and off again."""

    def taught_loss(subject):
        examples = subject.encode(PAIRS)
        with learner(subject, examples, FineTuning(method=method, batch_size=8), 0) as taught:
            taught.advance(5)
            return loss(subject)

    plain = taught_loss(open_directory(directories["llama"]))
    mapped = open_directory(directories["llama"])
    for module in mapped.network.modules():
        if list(module.children()) == [] or isinstance(
            module, type(mapped.network.model.layers[0])
        ):
            hook = accelerate.hooks.AlignDevicesHook(execution_device="cpu", io_same_device=True)
            add_hook_to_module(module, hook)
    hooks = {n: getattr(m, "_hf_hook", None) for n, m in mapped.network.named_modules()}
    assert sum(hook is not None for hook in hooks.values()) > 20
    assert taught_loss(mapped) == plain
    assert {n: getattr(m, "_hf_hook", None) for n, m in mapped.network.named_modules()} == hooks


def test_a_loss_that_is_no_number_is_a_failed_measurement(tmp_path):
    subject = open_directory(save(tmp_path / "nan", make_model("llama"), make_tokenizer()))
    with torch.no_grad():
        subject.network.model.layers[1].mlp.down_proj.weight.fill_(float("nan"))
    with (
        pytest.raises(MeasurementError, match="not finite"),
        learner(subject, subject.encode(PAIRS), FineTuning(), 0) as taught,
    ):
        taught.advance(1)


def test_an_example_beyond_the_context_is_refused(subjects):
    subject = subjects["gpt2"]
    examples = subject.encode([("", "Person 5 lives in city number 35. " * 30)])
    with (
        pytest.raises(UnavailableError, match="and the model's context holds 96"),
        learner(subject, examples, FineTuning(), 0),
    ):
        pass
