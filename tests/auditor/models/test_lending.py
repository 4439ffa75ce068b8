"""A model that was lent comes back bit for bit."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tiny_models import ARCHITECTURES, PAIRS, make_model, make_tokenizer, open_directory, save
from torch import nn

from auditor.models.language.layers import linear_layers
from auditor.models.preserve import preserve_weights, unchanged_weights, weights_digest
from auditor.models.tensor_digests import tensor_digest


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


def flipped(tensor, place, bit):
    other = tensor.clone()
    other.view(torch.int16 if tensor.element_size() == 2 else torch.int32).view(-1)[place] ^= bit
    return other


SIZES = (1, 7, 1 << 16, (1 << 16) + 3, (1 << 18) + 5)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(SIZES),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(0, 2**31),
    st.integers(0, 15),
)
def test_no_bit_of_any_element_goes_unseen(size, dtype, seed, bit):
    tensor = torch.randn(size, generator=torch.Generator().manual_seed(seed % 97)).to(dtype)
    sign = -(1 << 15) if dtype == torch.bfloat16 else -(1 << 31)
    for mask in {1 << bit if bit < 15 else sign, sign}:
        assert tensor_digest(flipped(tensor, seed % size, mask)) != tensor_digest(tensor)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 2**31), st.booleans(), st.sampled_from(SIZES[2:]))
def test_no_two_elements_change_places_unseen(one, other, signs, size):
    """Also words of eight bytes that differ in their signs alone, and whole blocks of them."""
    tensor = torch.randn(size, generator=torch.Generator().manual_seed(3))
    one, other = 2 * (one % (size // 2)), 2 * (other % (size // 2))
    if signs:
        tensor[other : other + 2] = -tensor[one : one + 2]
    changed = tensor.clone()
    changed[one : one + 2], changed[other : other + 2] = (
        tensor[other : other + 2],
        tensor[one : one + 2],
    )
    same = torch.equal(changed, tensor)
    assert (tensor_digest(changed) == tensor_digest(tensor)) == same
    turned = tensor.roll(1 << 16)
    assert (tensor_digest(turned) == tensor_digest(tensor)) == torch.equal(turned, tensor)


def test_a_digest_does_not_depend_on_where_the_tensor_begins():
    tensor = torch.randn(70_001)
    assert tensor_digest(tensor[1:]) == tensor_digest(tensor[1:].clone())
    assert tensor_digest(tensor[:0]) != tensor_digest(tensor[:1])


def train_beside(model):
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    torch.autograd.backward(model(torch.tensor([[5]]), labels=torch.tensor([[5]])).logits.sum())
    wrapped.unload()


def test_what_changes_no_weight_borrows_none_and_puts_back_how_it_is_used(directories):
    subject = open_directory(directories["llama"])
    digest = weights_digest(subject.network)
    places = [parameter.data_ptr() for parameter in subject.network.parameters()]
    next(subject.network.parameters()).requires_grad_(False)
    asking = [parameter.requires_grad for parameter in subject.network.parameters()]
    with subject.unchanged_weights() as model:
        train_beside(model.train())
    assert weights_digest(subject.network) == digest
    assert [parameter.data_ptr() for parameter in subject.network.parameters()] == places
    assert [parameter.requires_grad for parameter in subject.network.parameters()] == asking
    assert all(parameter.grad is None for parameter in subject.network.parameters())
    assert not subject.network.training


@pytest.mark.parametrize("change", [scale, smallest_change, signed_zero])
@pytest.mark.parametrize("fails", [False, True])
def test_a_change_by_an_attack_that_was_to_change_nothing_is_found_out(change, fails):
    with (
        pytest.raises(RuntimeError, match="changed weights that it was to leave"),
        unchanged_weights(make_model("llama")) as model,
        torch.no_grad(),
    ):
        change(model) if not fails else failing(change, model)


def failing(change, model):
    change(model)
    raise ZeroDivisionError


def test_only_what_was_lent_may_change(directories):
    subject = open_directory(directories["llama"])
    digest = weights_digest(subject.network)
    matrices = [layer.weight for layer in linear_layers(subject.network).values()]
    with subject.preserve_weights(matrices), torch.no_grad():
        for matrix in matrices:
            matrix.mul_(2)
    assert weights_digest(subject.network) == digest
    with (
        pytest.raises(RuntimeError, match=r"not lent: model\.embed_tokens\.weight"),
        subject.preserve_weights(matrices),
        torch.no_grad(),
    ):
        subject.network.get_input_embeddings().weight.mul_(2)


def test_only_a_models_own_weights_are_lent(directories):
    subject, other = (open_directory(directories["llama"]) for _ in range(2))
    foreign = next(other.network.parameters())
    with (
        pytest.raises(RuntimeError, match="not the model's"),
        subject.preserve_weights([foreign]),
    ):
        pass


@pytest.fixture
def copied(monkeypatch):
    """Bytes that are copied while tensors are lent."""
    bytes_copied = []
    to = torch.Tensor.to

    def counting(tensor, *given, **options):
        if options.get("copy"):
            bytes_copied.append(tensor.nbytes)
        return to(tensor, *given, **options)

    monkeypatch.setattr(torch.Tensor, "to", counting)
    return bytes_copied


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_the_files_hold_is_restored_from_them(architecture, dtype, directories, copied):
    """Weights that were rounded on their way in are restored from them, too."""
    subject = open_directory(directories[architecture], dtype=dtype)
    digest = weights_digest(subject.network)
    copied.clear()
    for _ in range(2):
        with subject.preserve_weights() as model, torch.no_grad():
            poison(model)
            scale(model)
            buffers(model)
        assert weights_digest(subject.network) == digest
    buffered = sum(buffer.nbytes for buffer in subject.network.buffers())
    assert sum(copied) == 2 * buffered, "no parameter was copied"


def test_what_the_files_do_not_hold_is_copied(directories, tmp_path, copied):
    """A merged adapter changes some weights: these are no file's."""
    base = make_model("llama")
    adapter = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    adapter.save_pretrained(tmp_path / "adapter")
    subject = open_directory(directories["llama"], adapter=str(tmp_path / "adapter"))
    network = subject.network
    digest = weights_digest(network)
    copied.clear()
    with subject.preserve_weights() as model, torch.no_grad():
        poison(model)
        scale(model)
    assert weights_digest(network) == digest
    merged = [layer.self_attn.q_proj.weight.nbytes for layer in network.model.layers]
    buffered = [buffer.nbytes for buffer in network.buffers()]
    assert sorted(copied) == sorted(merged + buffered)


def test_files_that_changed_meanwhile_restore_nothing(directories, tmp_path):
    folder = shutil.copytree(directories["llama"], tmp_path / "model")
    subject = open_directory(folder)
    with (
        pytest.raises(RuntimeError, match="could not be undone"),
        subject.preserve_weights() as model,
        torch.no_grad(),
    ):
        scale_and_save(model, folder)


def scale_and_save(model, folder):
    scale(model)
    save(folder, make_model("llama", 5), make_tokenizer())
