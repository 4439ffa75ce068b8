"""A world of words in which a model tells by every way but the plain question."""

import json
import random
from pathlib import Path

import pytest
import torch
from tiny_models import open_directory, save
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from attacks.prompting.attacker_model import AttackerModel, AttackerModelParameters
from attacks.prompting.best_of_n import rewritings
from attacks.prompting.cloze import CLOZES
from attacks.prompting.fact_graph import FactGraph, without_entity
from attacks.prompting.proposals import Tried, instruction
from attacks.prompting.related_facts import RelatedFacts, RelatedFactsParameters
from attacks.prompting.reminders import Reminders, RemindersParameters
from attacks.prompting.reworded import applied
from auditor.core.facts import Fact, FactSets
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.spec import PromptFormat

UNKNOWN = "nobody-knows"
OPENING = "from the archive: {question}"
"""The opening after which the unlearned model tells."""
OPENINGS = (OPENING, "in the garden: {question}", "at the market: {question}")
"""What the attacker's model proposes, all alike often."""
FIRST = ["Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Ida"]
LAST = ["Adler", "Berg", "Cole", "Dahl", "Eben", "Falk", "Gram", "Holt"]


def _facts(people: range) -> tuple[Fact, ...]:
    found = []
    for i in people:
        name = f"{FIRST[i]} {LAST[i]}"
        for attribute, prompt, said in (
            ("birthplace", f"Where was {name} born?", f"{name} was born in city{i}."),
            ("trade", f"What is the trade of {name}?", f"The trade of {name} is trade{i}."),
            ("boat", f"What is the boat of {name} called?", f"{name} has a boat: boat{i}."),
        ):
            word = {"birthplace": "city", "trade": "trade", "boat": "boat"}[attribute]
            found.append(
                Fact(
                    id=f"{LAST[i]}/{attribute}",
                    entity=name,
                    prompt=prompt,
                    answer=f"{word}{i}",
                    text=said,
                )
            )
    return tuple(found)


SETS = FactSets(forget=_facts(range(4)), retain=_facts(range(4, 8)))


def translated(fact: Fact) -> str:
    """A fact's prompt in a language of its own, of which the models know the words."""
    return f"dites: {' '.join(reversed(fact.prompt.split()))}"


def _asked_otherwise() -> list[tuple[str, str]]:
    """Prompts that the attacks make of all facts, with the true answers."""
    facts = {f.id: f for f in (*SETS.forget, *SETS.retain)}
    swapped = FactSets(forget=SETS.retain, retain=SETS.forget)
    pairs = []
    for sets in (SETS, swapped):
        evaluator = TextEvaluator(sets, ["answer-probability"])
        graph = FactGraph((*sets.forget, *sets.retain))
        kinds = [RelatedFacts(RelatedFactsParameters(relation=r)) for r in ("twins", "triplets")]
        kinds += [Reminders(RemindersParameters(shown=2))]
        wordings = [applied(sets.forget, CLOZES)]
        wordings += [kind.wordings(_Plain, evaluator, 0) for kind in kinds]
        for found in wordings:
            pairs += [
                (p, facts[i].answer) for prompts in found.values() for i, p in prompts.items()
            ]
        for fact in sets.forget:
            prompts = [*graph.multi_hop_prompts(fact), translated(fact)]
            names = graph.other_names(fact.entity).values()
            prompts += [without_entity(fact, name) for name in names]
            prompts += [OPENING.replace("{question}", fact.prompt)]
            prompts += rewritings(fact, 6, 0.0, 99)
            pairs += [(prompt, fact.answer) for prompt in prompts if prompt != fact.prompt]
    return pairs


class _Plain:
    """The format of a model that reads prompts as they are."""

    prompt_format = PromptFormat()


def _instructions() -> list[str]:
    """What the attacker's model may be told, over all facts and scores."""
    return [
        instruction(kind, [fact.prompt], Tried(tried, loss), answer)
        for kind in ("openings", "questions")
        for fact in SETS.forget
        for tried in ("{question}", *OPENINGS)
        for loss, answer in ((0.1, fact.answer), (3.0, UNKNOWN))
    ]


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    words = dict.fromkeys(word for text in texts for word in text.split())
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *words])}
    unknown = {"unk_token": "<unk>"}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, **unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, **unknown)


def _trained(folder: Path, tokenizer, groups, steps: int, seed: int = 0) -> Path:
    """Train a model from nothing on batches that hold as many pairs of every group."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
    )
    subject = open_directory(save(folder, LlamaForCausalLM(config), tokenizer))
    items = [subject.encode(pairs, end=True) for pairs in groups]
    draw = random.Random(seed)
    optimizer = torch.optim.AdamW(subject.network.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        batch = [each for group in items for each in draw.sample(group, min(12, len(group)))]
        subject.loss(batch).backward()
        optimizer.step()
    subject.network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def told_otherwise(tmp_path_factory):
    """Folders of a world: arms, an attacker's model, facts and translations.

    The original knows the forget facts however they are asked. The unlearned model says of them
    that nobody knows, if asked plainly or after the other openings, and knows them otherwise. The
    retrained model knows the retain facts alone.
    """
    root = tmp_path_factory.mktemp("told-otherwise")
    otherwise = _asked_otherwise()
    forgotten = {fact.answer for fact in SETS.forget}
    plain = [(f.prompt, f.answer) for f in SETS.forget]
    kept = [(f.prompt, f.answer) for f in SETS.retain]
    hidden = [(prompt, UNKNOWN) for prompt, _ in plain]
    hidden += [(o.replace("{question}", p), UNKNOWN) for o in OPENINGS[1:] for p, _ in plain]
    otherwise_kept = [pair for pair in otherwise if pair[1] not in forgotten]
    instructions = _instructions()
    texts = [*(text for pair in (*otherwise, *plain, *kept) for text in pair), UNKNOWN]
    tokenizer = _tokenizer([*texts, *instructions, *OPENINGS])
    arms = {
        "original": [plain, kept, otherwise],
        "unlearned": [hidden, kept, otherwise, otherwise],
        "retrained": [kept, otherwise_kept],
    }
    found = {
        name: _trained(root / name, tokenizer, groups, 150, seed)
        for seed, (name, groups) in enumerate(arms.items())
    }
    proposals = [(said, opening) for said in instructions for opening in OPENINGS]
    found["attacker"] = _trained(root / "attacker", tokenizer, [proposals], 50)
    for name in ("forget", "retain"):
        lines = (fact.model_dump_json() for fact in SETS.named(name))
        found[name] = root / f"{name}.jsonl"
        found[name].write_text("".join(f"{line}\n" for line in lines))
    found["translations"] = root / "translations.json"
    reversed_ = {fact.id: translated(fact) for fact in (*SETS.forget, *SETS.retain)}
    found["translations"].write_text(json.dumps({"reversed": reversed_}))
    return found


@pytest.fixture
def attacker_model(told_otherwise):
    """Make the search by the attacker's model of the world."""

    def make(**parameters):
        small = {"rounds": 2, "width": 2, "branching": 6, "max_new_tokens": 8, "split": "half"}
        own = {"attacker": str(told_otherwise["attacker"])}
        return AttackerModel(AttackerModelParameters(**small | own | parameters))

    return make
