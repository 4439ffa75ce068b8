"""Tiny real encoder-decoders: T5 and BART with a tokenizer of words, and a world to forget."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from auditor.core.facts import Fact, FactSets
from auditor.models.opening import locate
from auditor.models.seq2seq.model import Seq2SeqLM
from auditor.models.seq2seq.spec import Seq2SeqSpec
from auditor.models.spec import PromptFormat

CITIES = [f"city{i}" for i in range(30)]
JOBS = [f"job{i}" for i in range(30)]
PEOPLE = 60
"""Of which a third is forgotten, a third kept, and a third was never seen."""
WORDS = ["where", "does", "live", "what", "work", "as", "in", "the", "old", "town", "a", "good"]
VOCABULARY = ["<pad>", "</s>", "<s>", "<unk>", *WORDS, *CITIES, *JOBS]
VOCABULARY += [f"person{i}" for i in range(PEOPLE)]

PAIRS = [
    ("where does person3 live", "in the old town city4"),
    ("what does person12 work as", "a good job7"),
    ("", "person5 live in the old town"),
    ("person7", "city1"),
]
PROMPTS = [prompt for prompt, _ in PAIRS if prompt]


def make_tokenizer(template: str = "$A </s>") -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that ends what it reads as T5's does."""
    unknown = {"unk_token": "<unk>"}
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(VOCABULARY)}, **unknown))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(t, words.token_to_id(t)) for t in ("<s>", "</s>")]
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special, **unknown)


def make_t5(seed: int = 0) -> T5ForConditionalGeneration:
    """As T5 1.1: a gated layer whose output map stays in float32 where the rest is rounded."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(VOCABULARY),
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config).eval()


def make_bart(seed: int = 0) -> BartForConditionalGeneration:
    """With learned positions, and a special token before every answer."""
    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=len(VOCABULARY),
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=48,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        decoder_start_token_id=1,
        forced_eos_token_id=None,
    )
    model = BartForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


ARCHITECTURES = {
    "t5": (make_t5, make_tokenizer()),
    "bart": (make_bart, make_tokenizer("<s> $A </s>")),
}


def save(directory: Path, network: torch.nn.Module, tokenizer: PreTrainedTokenizerFast) -> Path:
    network.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def open_directory(
    directory: Path, prompt_format: PromptFormat | None = None, token_budget: int = 8192
) -> Seq2SeqLM:
    spec = Seq2SeqSpec(path=str(directory))
    return Seq2SeqLM(spec, locate(spec), prompt_format, token_budget)


def world() -> FactSets:
    """Two facts a person: where they live and what they do."""
    draws = torch.Generator().manual_seed(0)

    def facts(people: range) -> tuple[Fact, ...]:
        found = []
        for i in people:
            city, job = (int(torch.randint(30, (1,), generator=draws)) for _ in range(2))
            asked = (
                (f"where does person{i} live", f"in {CITIES[city]}"),
                (f"what does person{i} work as", f"a {JOBS[job]}"),
            )
            for number, (prompt, answer) in enumerate(asked):
                found.append(
                    Fact(id=f"p{i}/{number}", entity=f"p{i}", prompt=prompt, answer=answer)
                )
        return tuple(found)

    third = PEOPLE // 3
    return FactSets(
        forget=facts(range(third)),
        retain=facts(range(third, 2 * third)),
        holdout=facts(range(2 * third, PEOPLE)),
    )


def write(facts: tuple[Fact, ...], file: Path) -> Path:
    lines = (json.dumps(fact.model_dump(exclude_defaults=True)) for fact in facts)
    file.write_text("\n".join(lines))
    return file


def train(model: Seq2SeqLM, facts: tuple[Fact, ...], steps: int, rate: float = 3e-3) -> None:
    """Teach all facts at once, over and over."""
    items = model.encode([(f.prompt, f.answer) for f in facts], end=True)
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=rate, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(items).backward()
        optimizer.step()


def unlearn(model: Seq2SeqLM, sets: FactSets, least: float, rate: float = 3e-4) -> None:
    """Gradient ascent on the forget facts, beside the retain facts' own loss.

    Stops where the loss of the forget facts is ``least`` or more.
    """
    forget, retain = (
        model.encode([(f.prompt, f.answer) for f in facts], end=True)
        for facts in (sets.forget, sets.retain)
    )
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=rate, weight_decay=0.0)
    for _ in range(300):
        optimizer.zero_grad()
        forgotten = model.loss(forget)
        if forgotten.item() >= least:
            return
        (model.loss(retain) - 0.3 * forgotten).backward()
        optimizer.step()
    raise AssertionError("gradient ascent did not reach the wanted loss")
