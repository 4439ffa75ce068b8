"""Real models of six architectures, small enough to build in a blink.

Every parameter is random (biases and norms too), so that a forgotten bias shows.
"""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import locate
from auditor.models.spec import PromptFormat

CONTEXT = 96
TEXTS = [f"Person {i} lives in city number {i * 7 % 100}." for i in range(200)]
TEXTS += ["The quick brown fox jumps over the lazy dog"] * 5
ARCHITECTURES = ("llama", "gpt2", "neox", "qwen2", "gemma", "opt")

PAIRS = [
    ("Person 3 lives in", "city number 21."),
    ("Where does person 12 live?", "x"),
    ("", "Person 5 lives in city number 35."),
    ("The quick brown", "fox jumps over the lazy dog, again and again and again"),
    ("Ünïcödé prompt: 東京", "réponse  with  double spaces\nand a line"),
    ("Person 77", "lives"),
]
PROMPTS = [prompt for prompt, _ in PAIRS if prompt]


def train_bpe(
    specials: tuple[str, ...] = ("<eos>", "<pad>"), template: str | None = None
) -> Tokenizer:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=list(specials),
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    if template:
        bpe.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[(s, bpe.token_to_id(s)) for s in specials]
        )
    return bpe


def make_tokenizer(bpe: Tokenizer | None = None, **options: object) -> PreTrainedTokenizerFast:
    names = {"eos_token": "<eos>", "pad_token": "<pad>"} | options
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe or train_bpe(), **{k: v for k, v in names.items() if v}
    )


def make_config(architecture: str, vocabulary: int = 400) -> PretrainedConfig:
    common = {
        "vocab_size": vocabulary,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
    }
    gpt2 = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
    config = {
        "llama": lambda: LlamaConfig(**common, num_key_value_heads=2, intermediate_size=256),
        "gpt2": lambda: GPT2Config(vocab_size=vocabulary, **gpt2),
        "neox": lambda: GPTNeoXConfig(**common, intermediate_size=256),
        "qwen2": lambda: Qwen2Config(**common, num_key_value_heads=2, intermediate_size=256),
        "gemma": lambda: GemmaConfig(
            **common, num_key_value_heads=4, head_dim=32, intermediate_size=256
        ),
        "opt": lambda: OPTConfig(**common, ffn_dim=256, word_embed_proj_dim=128),
    }[architecture]()
    config.eos_token_id, config.pad_token_id, config.bos_token_id = 0, 1, 0
    return config


def make_model(architecture: str, seed: int = 0, vocabulary: int = 400) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(make_config(architecture, vocabulary)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.08 * torch.randn_like(parameter))
    return model


def save(
    directory: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, **options: object
) -> Path:
    model.save_pretrained(directory, **options)
    tokenizer.save_pretrained(directory)
    return directory


def open_directory(
    directory: Path | str,
    *,
    prompt_format: PromptFormat | None = None,
    token_budget: int = 8192,
    **spec: object,
) -> CausalLM:
    found = CausalLMSpec(path=str(directory), **spec)
    return CausalLM(found, locate(found), prompt_format, token_budget)


def edit_json(file: Path, **changes: object) -> None:
    """Set keys of a JSON file; None removes a key."""
    content = json.loads(file.read_text())
    for key, value in changes.items():
        content.pop(key, None)
        if value is not None:
            content[key] = value
    file.write_text(json.dumps(content))


def save_facts(root, prompt):
    """Write three facts each to forget and to retain.

    Args:
        root: Folder of the files.
        prompt: Form of the prompts, with ``{i}`` in the place of a fact's number.

    Returns:
        The files, by set.
    """
    for start, name in ((0, "forget"), (20, "retain")):
        facts = (
            {"id": f"{i}", "subject": f"{i}", "prompt": prompt.format(i=i), "answer": f"{i} x"}
            for i in range(start, start + 3)
        )
        (root / f"{name}.jsonl").write_text("".join(f"{json.dumps(fact)}\n" for fact in facts))
    return {name: str(root / f"{name}.jsonl") for name in ("forget", "retain")}


def save_audit(root, prompt):
    """Write three random models, `unlearned`, `original` and `retrained`, and their facts."""
    for seed, name in enumerate(("unlearned", "original", "retrained")):
        save(root / name, make_model("llama", seed), make_tokenizer())
    save_facts(root, prompt)
