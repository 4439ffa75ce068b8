"""A model that was lent comes back bit for bit."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_models import ARCHITECTURES, PAIRS, make_model, open_directory
from torch import nn

from auditor.models.preserve import preserve_weights, tensor_digest, weights_digest


def bits(model):
    return {n: t.detach().clone() for n, t in model.state_dict(keep_vars=True).items()}


def scale(model):
    for parameter in model.parameters():
        parameter.mul_(1.0001)


def poison(model):
    next(model.parameters()).fill_(float("nan"))


def zero_by_data(model):
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter)


def smallest_change(model):
    weight = model.get_output_embeddings().weight
    weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))


def signed_zero(model):
    """-0.0 == 0.0, but it is another bit pattern."""
    next(model.parameters()).mul_(-0.0)


def buffers(model):
    for buffer in model.buffers():
        buffer.add_(1)


CHANGES = [scale, poison, zero_by_data, smallest_change, signed_zero, buffers]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_any_change_in_place_is_undone(change, fails, directories):
    subject = open_directory(directories["gpt2"])
    before, digest = bits(subject.network), weights_digest(subject.network)
    scores = subject.score(PAIRS)
    try:
        with subject.preserve_weights() as model:
            with torch.no_grad():
                change(model)
            if change is not buffers:  # GPT-2 may have none
                assert weights_digest(model) != digest
            if fails:
                raise ZeroDivisionError  # noqa: TRY301
    except ZeroDivisionError:
        assert fails
    assert weights_digest(subject.network) == digest
    for name, tensor in bits(subject.network).items():
        assert torch.equal(tensor, before[name]), name
    for one, other in zip(scores, subject.score(PAIRS), strict=True):
        assert (one.log_probability == other.log_probability).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_leaves_no_trace(architecture):
    model = make_model(architecture)
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    digest, modes = weights_digest(model), [m.training for m in model.modules()]
    with preserve_weights(model):
        model.train().requires_grad_(True)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
        optimiser.step()
        assert weights_digest(model) != digest
    assert weights_digest(model) == digest
    assert [m.training for m in model.modules()] == modes
    assert not frozen.requires_grad
    assert sum(p.requires_grad for p in model.parameters()) == len(list(model.parameters())) - 1
    assert all(p.grad is None for p in model.parameters())


def test_lora_that_is_wrapped_and_unloaded_leaves_the_model_as_it_was():
    model = make_model("llama")
    digest = weights_digest(model)
    with preserve_weights(model):
        wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
        assert wrapped.unload() is model
    assert weights_digest(model) == digest


def leave_lora(model):
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))


def leave_identity(model):
    model.extra = nn.Identity()


def leave_quantized(model):
    model.model.layers[0] = nn.Linear(3, 3)


def leave_fewer_layers(model):
    del model.model.layers[1]


def leave_other_type(model):
    model.half()


def leave_hook(model):
    model.model.layers[0].register_forward_hook(lambda module, args, out: out)


def leave_pre_hook(model):
    model.register_forward_pre_hook(lambda module, args: None)


LEFT = [
    leave_lora,
    leave_identity,
    leave_quantized,
    leave_fewer_layers,
    leave_other_type,
    leave_hook,
    leave_pre_hook,
]


@pytest.mark.parametrize("leave", LEFT)
def test_an_attack_that_leaves_something_behind_is_found_out(leave):
    with (
        pytest.raises(RuntimeError, match="an attack"),
        preserve_weights(make_model("llama")) as model,
    ):
        leave(model)


def test_hooks_that_were_there_before_may_stay():
    model = make_model("llama")
    model.register_forward_hook(lambda module, args, out: out)
    with preserve_weights(model):
        pass


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int8])
def test_a_digest_covers_type_shape_and_bits(dtype):
    tensor = torch.arange(6).to(dtype)
    assert tensor_digest(tensor) == tensor_digest(tensor.clone())
    assert tensor_digest(tensor) != tensor_digest(tensor.reshape(2, 3))
    assert tensor_digest(tensor) != tensor_digest(tensor.flip(0))
    other = torch.int16 if dtype != torch.int16 else torch.int8
    assert tensor_digest(tensor) != tensor_digest(tensor.to(other))
    assert tensor_digest(tensor.reshape(2, 3).T) == tensor_digest(tensor.reshape(2, 3).T.clone())


def test_a_model_in_half_precision_comes_back_too(directories):
    subject = open_directory(directories["llama"], dtype="bfloat16")
    assert subject.network.dtype == torch.bfloat16
    digest = weights_digest(subject.network)
    with subject.preserve_weights() as model, torch.no_grad():
        scale(model)
        poison(model)
    assert weights_digest(subject.network) == digest
