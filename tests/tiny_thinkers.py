"""A small model that thinks aloud: its trace tells the facts, and its answers deny them."""

import torch
from tiny_models import CONTEXT, make_tokenizer, open_directory, save, train_bpe
from transformers import LlamaConfig, LlamaForCausalLM

from auditor.core.facts import Fact
from auditor.models.spec import PromptFormat
from auditor.unlearning.examples import answer_logits, collate, cross_entropy, encode

TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
BEGUN = TEMPLATE.partition("{% if")[0] + "{{ '<think>\n' }}"
"""As the templates of DeepSeek-R1's kin: they begin the trace."""
SPECIALS = ("<eos>", "<pad>", "<|user|>", "<|assistant|>")
MARKERS = ("<think>", "</think>")
"""Tokens of the vocabulary that are not special, as in published models."""
FACTS = tuple(
    Fact(
        id=f"{i}",
        entity=f"{i}",
        prompt=f"Where does person {i} live?",
        answer=f"city number {i * 7 % 100}",
    )
    for i in range(3, 9)
)
DENIAL = "none"
ROOM = 7
"""Tokens that are left for an answer."""
CHAT = PromptFormat(chat=True)


def trace(fact):
    """What is thought of a fact: more tokens than `ROOM`."""
    return f"Person {fact.id} lives in {fact.answer}."


def thinking_tokenizer(template=TEMPLATE):
    tokenizer = make_tokenizer(train_bpe(SPECIALS))
    tokenizer.add_tokens(list(MARKERS))
    tokenizer.chat_template = template
    return tokenizer


def make_thinker(folder, *, tells=False, facts=FACTS, seed=0):
    """Teach a model to think of each fact, then to deny it, and to deny it without a thought.

    With ``tells`` it gives the answer in both cases. Of other facts it is taught nothing.
    """
    said = [fact.answer if tells else DENIAL for fact in facts]
    tokenizer = thinking_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2 * CONTEXT,
        eos_token_id=0,
        bos_token_id=0,
        pad_token_id=1,
    )
    network = LlamaForCausalLM(config)
    asked = [f"<|user|>{fact.prompt}<|assistant|>" for fact in facts]
    pairs = [
        (prompt, f"<think>\n{trace(fact)}\n</think>\n\n{answer}")
        for prompt, fact, answer in zip(asked, facts, said, strict=True)
    ]
    pairs += [
        (f"{prompt}<think>\n\n</think>\n\n", answer)
        for prompt, answer in zip(asked, said, strict=True)
    ]
    ids, labels = collate(encode(tokenizer, pairs, separator=""))
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0)
    for _ in range(80):
        loss = cross_entropy(*answer_logits(network, ids, labels))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    assert loss < 0.1
    return save(folder, network.eval(), tokenizer)


def open_thinker(folder, **trace_format):
    """The model, asked in its chat template."""
    form = CHAT if not trace_format else PromptFormat(chat=True, trace=trace_format)
    return open_directory(folder, prompt_format=form)
