"""Neighbours of a text, made by replacing words."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from auditor.core.errors import MeasurementError

SHARE = 0.3
"""Words of a text that are replaced in each of its neighbours, at least one."""


def corpus_neighbours(
    texts: Sequence[str], corpus: Iterable[str], count: int, seed: int
) -> list[list[str]]:
    """Neighbours with words of other texts that are written alike.

    Words are alike in capitals, digits and last sign.

    Args:
        texts: texts whose neighbours are wanted.
        corpus: texts whose words may be put in.
        count: neighbours of each text.
        seed: seed of the choice of places and words.

    Returns:
        ``count`` neighbours of each text; some may be the same. One differs from its text
        unless no other word of the corpus is written like any of its words.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for word in dict.fromkeys(word for text in corpus for word in text.split()):
        alike[_shape(word)].append(word)
    return [
        [_swapped(text, alike, random.Random(f"{seed}:{number}:{text}")) for number in range(count)]  # noqa: S311
        for text in texts
    ]


def _swapped(text: str, alike: dict[str, list[str]], rng: random.Random) -> str:
    words = text.split()
    others = [[w for w in alike.get(_shape(word), ()) if w != word] for word in words]
    places = [place for place, found in enumerate(others) if found]
    for place in rng.sample(places, min(len(places), max(1, round(SHARE * len(words))))):
        words[place] = rng.choice(others[place])
    return " ".join(words)


def _shape(word: str) -> str:
    """Return the written form of a word.

    It is the word's first sign, and its last if special.
    """
    first = "digit" if word[0].isdigit() else "capital" if word[0].isupper() else "small"
    return first if word[-1].isalnum() else first + word[-1]


@torch.inference_mode()
def masked_neighbours(texts: Sequence[str], mask_model: Path, count: int) -> list[list[str]]:
    """Neighbours with the likeliest replacements of a masked language model.

    A replacement w of the word v is rated by p(w) / (1 - p(v)) with the word masked (arXiv
    2305.18462, section 3.1, which leaves v visible under dropout instead); the ``count`` best of
    all places are taken.

    Args:
        texts: texts whose neighbours are wanted.
        mask_model: directory of a masked language model with its tokenizer.
        count: neighbours of each text.

    Raises:
        MeasurementError: a text has fewer than ``count`` neighbours.
    """
    tokenizer = AutoTokenizer.from_pretrained(mask_model)
    network = AutoModelForMaskedLM.from_pretrained(mask_model, use_safetensors=True).eval()
    found = []
    for text in texts:
        words = text.split()
        rated: list[tuple[float, str]] = []
        for place, word in enumerate(words):
            before, after = " ".join(words[:place]), " ".join(words[place + 1 :])
            masked = f"{before} {tokenizer.mask_token} {after}".strip()
            inputs = tokenizer(masked, return_tensors="pt", truncation=True)
            at = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero()
            if not len(at):
                continue
            p = network(**inputs).logits[0, at[0, 0]].double().softmax(-1)
            pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
            known = float(p[pieces[0]]) if len(pieces) == 1 else 0.0
            best = p.topk(min(len(p), 4 * count + len(pieces)))
            for probability, token in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                candidate = str(tokenizer.decode([token])).strip()
                if candidate.isalnum() and candidate.lower() != word.lower():
                    changed = " ".join([*words[:place], candidate, *words[place + 1 :]])
                    rated.append((probability / (1 - known), changed))
        rated.sort(key=lambda entry: (-entry[0], entry[1]))
        if len(rated) < count:
            raise MeasurementError(f"the masked model finds only {len(rated)} neighbours of a text")
        found.append([changed for _, changed in rated[:count]])
    return found
