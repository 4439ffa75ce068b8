"""Small models for the erasures."""

import string

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from tiny_unets import LENGTH, WIDTH, random_prompt, tiny_unet
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from auditor.unlearning.erasure import Erasure


@pytest.fixture
def unet():
    return tiny_unet()


@pytest.fixture
def scheduler():
    return DDIMScheduler(beta_schedule="squaredcos_cap_v2")


@pytest.fixture
def erasures():
    """Two concepts; the first has two tokens, its target one."""
    return [
        Erasure(random_prompt(1, range(1, 3)), random_prompt(2, range(1, 2))),
        Erasure(random_prompt(3), random_prompt(4)),
    ]


@pytest.fixture(scope="session")
def tokenizer():
    """Each letter is a word and a token."""
    pieces = ["<|startoftext|>", "<|endoftext|>", *string.ascii_lowercase]
    pieces += [f"{letter}</w>" for letter in string.ascii_lowercase]
    ids = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=ids, merges=[], model_max_length=LENGTH)


@pytest.fixture(scope="session")
def text_encoder(tokenizer):
    torch.manual_seed(5)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=32,
            projection_dim=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    ).eval()


@pytest.fixture
def pipeline(tokenizer, text_encoder, scheduler):
    """Stable Diffusion's layout: latents of 8 pixels a side, four channels."""
    torch.manual_seed(6)
    vae = AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=4, sample_size=8
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=tiny_unet(in_channels=4, out_channels=4),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
