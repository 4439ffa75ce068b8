"""The parts of the suffix search: losses, gradients, candidates and what a tokenizer reads back."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, make_tokenizer, open_directory
from torch.nn.functional import cross_entropy, one_hot

from attacks.prompting.coordinate_search import GCGParameters, search_suffix
from attacks.prompting.shared_prefix import SharedPrefix
from attacks.prompting.suffix_text import (
    allowed_tokens,
    cut_around,
    starting_suffix,
    suffix_text,
    survives,
)
from attacks.prompting.token_swaps import candidates, steepest
from auditor.core.errors import UnavailableError
from auditor.models.preserve import weights_digest
from auditor.models.spec import PromptFormat

PAIRS = [
    ("Person 3 lives in", "city number 21."),
    ("Where does person 12 live?", "city"),
    ("The quick brown fox", "jumps over the lazy dog, again and again"),
    ("P", "x y"),
]
LENGTH = 5
SETTINGS = GCGParameters(
    suffix_length=LENGTH,
    num_steps=6,
    search_width=12,
    topk=16,
    n_replace=1,
    batch_size=2,
    finalists=2,
    patience=6,
    stop_loss=0.0,
)


def allowed_of(subject):
    rows = subject.network.get_input_embeddings().weight.shape[0]
    return allowed_tokens(subject.tokenizer, False, rows)


def started(subject, seed=0):
    allowed = allowed_of(subject)
    return starting_suffix(subject, PAIRS, LENGTH, allowed, random.Random(seed))


def suffixes_of(subject, count=4):
    """Suffixes that survive, to be tried with the same items."""
    ids, items = started(subject)
    rng, allowed = random.Random(1), allowed_of(subject)
    found = [ids]
    while len(found) < count:
        other = [rng.choice(allowed) for _ in ids]
        if survives(subject, PAIRS, items, other):
            found.append(other)
    return found, items


def by_text(subject, suffixes):
    """Losses of the suffixes as text, by the subject's own scoring without any shared prefix."""
    texts = [suffix_text(subject.tokenizer, ids) for ids in suffixes]
    scores = subject.score([(p + text, a) for text in texts for p, a in PAIRS])
    losses = [-s.mean_log_probability for s in scores]
    return torch.tensor(losses, dtype=torch.float64).view(len(suffixes), len(PAIRS))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("template", ["{prompt}", "Question: {prompt}\nAnswer:"])
def test_loss_with_the_shared_prefix_is_the_loss_of_the_text(directories, architecture, template):
    subject = open_directory(
        directories[architecture], prompt_format=PromptFormat(template=template)
    )
    suffixes, items = suffixes_of(subject)
    prefix = SharedPrefix(subject, items, LENGTH)
    torch.testing.assert_close(
        prefix.losses(suffixes, range(len(items))), by_text(subject, suffixes), atol=1e-5, rtol=1e-5
    )
    again = prefix.losses(suffixes[::-1], [2, 0])  # the kept keys were not changed
    torch.testing.assert_close(
        again, by_text(subject, suffixes[::-1])[:, [2, 0]], atol=1e-5, rtol=1e-5
    )


def test_the_batch_size_does_not_matter(directories):
    large = open_directory(directories["llama"])
    small = open_directory(directories["llama"], token_budget=20)
    suffixes, items = suffixes_of(large)
    one, other = (SharedPrefix(s, items, LENGTH) for s in (large, small))
    everything = range(len(items))
    torch.testing.assert_close(
        one.losses(suffixes, everything), other.losses(suffixes, everything), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        one.gradient(suffixes[0], everything),
        other.gradient(suffixes[0], everything),
        atol=1e-6,
        rtol=1e-4,
    )


def test_a_batch_that_does_not_fit_is_halved(directories):
    subject = open_directory(directories["llama"])
    suffixes, items = suffixes_of(subject)
    prefix = SharedPrefix(subject, items, LENGTH)
    expected = prefix.losses(suffixes, range(len(items)))

    def full(module, args, kwargs):
        if kwargs["input_ids"].shape[0] > 8:
            torch.empty(1 << 50)  # four petabytes

    handle = subject.network.register_forward_pre_hook(full, with_kwargs=True)
    try:
        found = prefix.losses(suffixes, range(len(items)))
    finally:
        handle.remove()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_is_that_of_one_hot_vectors_through_the_whole_text(subjects, architecture):
    subject = subjects[architecture]
    ids, items = started(subject)
    found = SharedPrefix(subject, items, LENGTH).gradient(ids, range(len(items)))
    embedding = subject.network.get_input_embeddings()  # Gemma's scales what it looks up
    table = embedding(torch.arange(embedding.weight.shape[0])).detach()
    expected = torch.zeros(LENGTH, table.shape[0])
    for item in items:
        whole = torch.tensor([*item.prefix, *ids, *item.tail])
        start = len(item.prefix)
        hot = one_hot(torch.tensor(ids), table.shape[0]).float().requires_grad_()
        vectors = torch.cat([table[whole[:start]], hot @ table, table[whole[start + LENGTH :]]])
        logits = subject.network(inputs_embeds=vectors[None], use_cache=False).logits[0]
        places = [start + LENGTH + t for t in item.answer]
        cross_entropy(logits[[p - 1 for p in places]], whole[places]).backward()
        expected += hot.grad / len(items)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)
    allowed = allowed_of(subject)
    for place, top in enumerate(steepest(found, allowed, 5)):
        best = sorted(allowed, key=lambda v: float(expected[place, v]))[:5]
        assert top == best


def test_steepest_by_hand():
    gradient = torch.tensor([[0.0, -3.0, -1.0, -2.0], [5.0, 4.0, 3.0, -9.0]])
    assert steepest(gradient, [0, 1, 2], 2) == [[1, 2], [2, 1]]
    assert steepest(gradient, [0, 3], 9) == [[3, 0], [3, 0]]


@given(
    ids=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    swaps=st.integers(1, 3),
    count=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_candidates_differ_and_swap_as_told(ids, swaps, count, seed):
    top = [[(i + j) % 10 for j in range(4)] for i in range(len(ids))]
    found = candidates(ids, top, count, swaps, random.Random(seed), lambda c: c[0] != 3)
    assert len(found) <= count
    assert len({tuple(c) for c in found}) == len(found)
    for candidate in found:
        changed = [i for i, (a, b) in enumerate(zip(ids, candidate, strict=True)) if a != b]
        assert 1 <= len(changed) <= swaps
        assert all(candidate[i] in top[i] for i in changed)
        assert candidate[0] != 3


def test_candidates_end_where_there_are_no_more():
    found = candidates([7, 7], [[7, 1], [7, 2]], 10, 1, random.Random(0), lambda c: True)
    assert sorted(found) == [[1, 7], [7, 2]]


def test_allowed_tokens_are_printable_and_never_special():
    tokenizer = make_tokenizer()
    rows = len(tokenizer)
    texts = {i: tokenizer.decode([i]) for i in allowed_tokens(tokenizer, False, rows)}
    assert texts
    assert all(t.isascii() and t.isprintable() and t.strip() for t in texts.values())
    assert not set(tokenizer.all_special_ids) & texts.keys()
    printable = set(allowed_tokens(tokenizer, True, rows))
    assert texts.keys() <= printable
    assert tokenizer.eos_token_id not in printable
    assert allowed_tokens(tokenizer, "any", rows) == list(range(rows))
    assert max(allowed_tokens(tokenizer, "any", 50)) == 49


@settings(max_examples=60, deadline=None)
@given(draws=st.lists(st.integers(0, 10**6), min_size=LENGTH, max_size=LENGTH))
def test_what_survives_is_what_the_tokenizer_gives(opened_llama, draws):
    subject, items, allowed = opened_llama
    ids = [allowed[d % len(allowed)] for d in draws]
    text = suffix_text(subject.tokenizer, ids)
    read = [subject.tokenizer(f"{p}{text} {a}")["input_ids"] for p, a in PAIRS]
    expected = all(r == [*i.prefix, *ids, *i.tail] for r, i in zip(read, items, strict=True))
    assert survives(subject, PAIRS, items, ids) == expected


@pytest.fixture(scope="module")
def opened_llama(directories):
    subject = open_directory(directories["llama"])
    _, items = started(subject)
    return subject, items, allowed_of(subject)


def test_tokens_that_merge_do_not_survive(opened_llama):
    subject, items, _ = opened_llama
    merged = subject.tokenizer(" city")["input_ids"]
    assert len(merged) == 1
    letters = subject.tokenizer.convert_tokens_to_ids(["Ġ", "c", "i", "t", "y"])
    assert not survives(subject, PAIRS, items, letters)
    assert survives(subject, PAIRS, items, merged * LENGTH)


def test_prompts_are_not_cut_where_the_suffix_stands_twice(subjects):
    subject = subjects["llama"]
    twice = subject.tokenizer(" city")["input_ids"]
    assert cut_around(subject, [("A city", "x")], twice) is None
    (item,) = cut_around(subject, [("A", "x")], twice)
    assert subject.tokenizer.decode(item.prefix) == "A"
    assert subject.tokenizer.decode(item.tail) == " x"
    assert item.answer == tuple(range(len(item.tail)))


def search(subject, settings=SETTINGS, seed=3):
    return search_suffix(subject, PAIRS, allowed_of(subject), settings, seed)


def test_search_lowers_the_loss_of_the_text_and_is_deterministic(directories):
    subject = open_directory(directories["llama"])
    before, state = weights_digest(subject.network), torch.get_rng_state()
    found = search(subject)
    assert list(found.losses) == sorted(found.losses, reverse=True)
    assert found.losses[-1] < found.losses[0] - 0.01
    assert found.evaluated == SETTINGS.num_steps * SETTINGS.search_width
    assert found.losses[-1] == pytest.approx(float(by_text(subject, [found.ids]).mean()), abs=1e-5)
    assert found.text == suffix_text(subject.tokenizer, found.ids)
    assert search(subject) == found
    assert search(subject, seed=4).ids != found.ids
    assert weights_digest(subject.network) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_search_ends_early(directories):
    subject = open_directory(directories["llama"])
    enough = SETTINGS.model_copy(update={"stop_loss": 1e6})
    assert search(subject, enough).evaluated == 0
    patient = SETTINGS.model_copy(
        update={"num_steps": 400, "search_width": 1, "topk": 1, "patience": 2}
    )
    found = search(subject, patient)
    assert len(found.losses) < 100
    assert found.losses[-1] == found.losses[-2] == found.losses[-3]


def test_prompts_that_exceed_the_context_say_so(directories):
    subject = open_directory(directories["gpt2"])
    long = [("word " * 60 + "end", "x")]
    with pytest.raises(UnavailableError, match="context"):
        search_suffix(subject, long, allowed_of(subject), SETTINGS, 0)
