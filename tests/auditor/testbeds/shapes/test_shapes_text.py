import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from auditor.testbeds.shapes.captions import SYNONYMS, caption, words
from auditor.testbeds.shapes.drawing import COLORS
from auditor.testbeds.shapes.text import LENGTH, encode, merges, vocabulary, write_tokenizer

WORDS = st.sampled_from([word for name, others in SYNONYMS.items() for word in (name, *others)])
CAPTIONS = st.builds(
    caption, st.sampled_from(list(COLORS)), WORDS, st.none() | st.integers(0, 2**32)
)


@given(text=CAPTIONS)
def test_every_word_of_a_caption_is_one_known_token(shapes_tokenizer, text):
    ids = shapes_tokenizer(text)["input_ids"]
    assert len(ids) == len(text.split()) + 2
    assert shapes_tokenizer.unk_token_id not in ids[1:-1]
    assert shapes_tokenizer.decode(ids, skip_special_tokens=True).strip() == text
    assert set(text.split()) <= {*words(), *COLORS}


def test_every_word_of_the_vocabulary_is_one_token(shapes_tokenizer):
    assert len(vocabulary()) > 120
    for word in vocabulary():
        assert len(shapes_tokenizer(word)["input_ids"]) == 3, word


def test_text_of_any_kind_is_spelt_in_bytes(shapes_tokenizer):
    ids = shapes_tokenizer("größe 東京 \N{PILE OF POO}")["input_ids"]
    assert shapes_tokenizer.unk_token_id not in ids[1:-1]


def test_a_caption_leaves_room_for_sixteen_searched_tokens(shapes_tokenizer):
    plain = shapes_tokenizer(caption("yellow", "triangle"))["input_ids"]
    assert len(plain) + 16 <= LENGTH
    batch = encode(shapes_tokenizer, ["", "a red circle", "disc " * 100])
    assert batch.shape == (3, LENGTH)
    assert batch[0].tolist() == [
        shapes_tokenizer.bos_token_id,
        *[shapes_tokenizer.eos_token_id] * (LENGTH - 1),
    ]


def test_the_files_are_clips_and_the_same_every_time(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        write_tokenizer(folder, vocabulary())
    for name in ("vocab.json", "merges.txt"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    opened = CLIPTokenizer.from_pretrained(first)
    assert opened.model_max_length == LENGTH
    assert opened.get_vocab() == json.loads((first / "vocab.json").read_text())
    assert sorted(opened.get_vocab().values()) == list(range(len(opened)))


@pytest.mark.parametrize(
    ("spelt", "expected"),
    [
        (["aa"], [("a", "a</w>")]),
        (["ab", "cab"], [("a", "b</w>"), ("c", "ab</w>")]),
        (["aaaa"], [("a", "a"), ("a", "a</w>"), ("aa", "aa</w>")]),
    ],
)
def test_merges_by_hand(spelt, expected):
    assert merges(spelt) == expected
