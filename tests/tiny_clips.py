"""CLIPs small enough to build in a blink, random or trained on pictures for some seconds."""

import string
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

SIDE = 16


def make_clip(folder: Path, width: int = 16) -> None:
    torch.manual_seed(0)
    letters = string.ascii_lowercase
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    size = {"hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig(
        vocab_size=len(words),
        intermediate_size=16,
        max_position_embeddings=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        **size,
    )
    vision = CLIPVisionConfig(intermediate_size=16, image_size=SIDE, patch_size=8, **size)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=width // 2
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)


def train_clip(
    folder: Path, images: Tensor, texts: Sequence[str], steps: int, batch: int = 64
) -> None:
    """Fit pictures to their own texts (arXiv 2103.00020); a random CLIP lies in the folder.

    Texts that are alike within a batch share the target.
    """
    model = CLIPModel.from_pretrained(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    mean, deviation = (
        torch.tensor(value).view(3, 1, 1)
        for value in (CLIPImageProcessorPil().image_mean, CLIPImageProcessorPil().image_std)
    )
    given = tokenizer(list(texts), padding=True, return_tensors="pt")
    number = torch.tensor([sorted(set(texts)).index(text) for text in texts])
    draws = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        rows = torch.randperm(len(images), generator=draws)[:batch]
        seen = model.visual_projection(
            model.vision_model(pixel_values=(images[rows] - mean) / deviation).pooler_output
        )
        said = model.text_projection(
            model.text_model(
                input_ids=given["input_ids"][rows], attention_mask=given["attention_mask"][rows]
            ).pooler_output
        )
        logits = model.logit_scale.exp() * normalize(seen, dim=-1) @ normalize(said, dim=-1).T
        alike = (number[rows][:, None] == number[rows]).float()
        alike = alike / alike.sum(1, keepdim=True)
        loss = cross_entropy(logits, alike) + cross_entropy(logits.T, alike)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
