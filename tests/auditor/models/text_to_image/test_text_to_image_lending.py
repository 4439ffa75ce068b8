"""Weights that were lent come back bit for bit."""

import copy

import pytest
import torch
from peft import LoraConfig
from tiny_pipelines import PROMPTS, open_pipeline
from torch import nn

from auditor.models.preserve import weights_digest


class Rounded(nn.Linear):
    """A layer whose weights are on a coarse grid."""

    def forward(self, x):
        return nn.functional.linear(x, (self.weight * 8).round() / 8, self.bias)


def train(subject, steps=2):
    """Train what asks for gradients."""
    generator = torch.Generator().manual_seed(0)
    trainable = [p for p in subject.network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=0.05)
    for _ in range(steps):
        noise = torch.randn(2, *subject.input_shape, generator=generator)
        timesteps = torch.tensor([100, 700])
        predicted = subject.predict(noise, timesteps, subject.text(PROMPTS[:2]))
        loss = (predicted - noise).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def training(subject):
    subject.network.requires_grad_(True)
    train(subject)


def training_the_text_encoder(subject):
    with torch.no_grad():
        for parameter in subject.text_encoder.parameters():
            parameter.mul_(1.5)
    subject.text_encoder.train()


def a_lora_that_is_taken_out(subject):
    config = LoraConfig(r=2, init_lora_weights=False, target_modules=["to_k", "to_v"])
    subject.denoiser.add_adapter(config)
    train(subject)
    subject.denoiser.unload_lora()


def a_lora_that_is_fused(subject):
    config = LoraConfig(r=2, init_lora_weights=False, target_modules=["attn2.to_k"])
    subject.denoiser.add_adapter(config)
    subject.denoiser.fuse_lora()
    subject.denoiser.unload_lora()


def layers_that_are_swapped_and_swapped_back(subject):
    swapped = []
    for _, parent in list(subject.denoiser.named_modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                coarse = Rounded(layer.in_features, layer.out_features, layer.bias is not None)
                coarse.load_state_dict(layer.state_dict())
                setattr(parent, name, coarse)
                swapped.append((parent, name, layer))
    subject.generate(PROMPTS[:1], [0])
    for parent, name, layer in swapped:
        setattr(parent, name, layer)


def other_attention(subject):
    class Nothing:
        def __call__(self, attn, hidden_states, *args, **kwargs):
            return hidden_states

    subject.denoiser.set_attn_processor(Nothing())


CHANGES = (
    training,
    training_the_text_encoder,
    a_lora_that_is_taken_out,
    a_lora_that_is_fused,
    layers_that_are_swapped_and_swapped_back,
    other_attention,
)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("layout", ["sd1", "sdxl", "pixel"])
def test_what_was_lent_comes_back_bit_for_bit(change, layout, folders):
    subject = open_pipeline(folders[layout])
    before, digest = subject.generate(PROMPTS, [1, 2, 3, 4]), weights_digest(subject.network)
    with subject.preserve_weights() as model:
        assert model is subject.network
        change(subject)
        during = subject.generate(PROMPTS, [1, 2, 3, 4])
        if change not in (a_lora_that_is_taken_out, layers_that_are_swapped_and_swapped_back):
            assert not torch.equal(during, before)
    assert weights_digest(subject.network) == digest
    assert torch.equal(subject.generate(PROMPTS, [1, 2, 3, 4]), before)
    assert not any(module.training for module in subject.network.modules())
    assert not any(p.requires_grad or p.grad is not None for p in subject.network.parameters())


def test_it_comes_back_after_an_attack_that_failed(folders):
    subject = open_pipeline(folders["sd1"])
    digest = weights_digest(subject.network)

    def fail():
        with subject.preserve_weights():
            training(subject)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert weights_digest(subject.network) == digest


def test_a_lora_that_is_left_behind_is_noticed(folders):
    subject = open_pipeline(folders["sd1"])
    with pytest.raises(RuntimeError, match="other tensors"), subject.preserve_weights():
        subject.denoiser.add_adapter(LoraConfig(r=2, target_modules=["to_k"]))


def test_words_that_are_left_in_the_tokenizer_are_noticed(folders):
    subject = open_pipeline(folders["sd1"])
    with pytest.raises(RuntimeError, match="words in the tokenizer"), subject.preserve_weights():
        subject.tokenizer.add_tokens(["<circle>"])


def test_another_unet_draws_with_all_else_shared(folders, tmp_path):
    subject = open_pipeline(folders["sd1"])
    before, digest = subject.generate(PROMPTS, [1, 2, 3, 4]), weights_digest(subject.network)
    coarse = copy.deepcopy(subject.denoiser)
    with torch.no_grad():
        for parameter in coarse.parameters():
            parameter.copy_((parameter * 8).round() / 8)
    spent = subject.meter.forward_tokens
    with subject.with_denoiser(coarse) as other:
        images = other.generate(PROMPTS, [1, 2, 3, 4])
        assert other.text_encoder is subject.text_encoder
        with other.preserve_weights():
            training(other)
        assert torch.equal(other.generate(PROMPTS, [1, 2, 3, 4]), images)
    assert not torch.equal(images, before)
    assert subject.meter.forward_tokens > spent
    assert weights_digest(subject.network) == digest
    assert torch.equal(subject.generate(PROMPTS, [1, 2, 3, 4]), before)
    coarse.save_pretrained(tmp_path / "coarse")
    expected = open_pipeline(folders["sd1"], replacement=str(tmp_path / "coarse"))
    assert torch.equal(expected.generate(PROMPTS, [1, 2, 3, 4]), images)


def test_a_closed_subject_opens_again_the_same(folders):
    subject = open_pipeline(folders["sdxl"])
    before, model = subject.generate(PROMPTS[:1], [1]), subject.network
    subject.close()
    assert torch.equal(subject.generate(PROMPTS[:1], [1]), before)
    assert subject.network is not model
