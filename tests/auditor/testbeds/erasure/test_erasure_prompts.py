import pytest
import torch

from auditor.core.errors import AuditorError
from auditor.unlearning.erasure import EncodedPrompt, Erasure, encode_prompt
from auditor.unlearning.erasure.encoded_prompts import pairs_from_subject, pairs_of_context


def numbered(start, subject, length=6):
    """A prompt whose token at position i is the number ``start + i``."""
    return EncodedPrompt(torch.arange(start, start + length).float()[:, None], subject)


# "[start] two words end pad pad" beside "[start] one end pad pad pad"
PAIR = Erasure(numbered(0, range(1, 3)), numbered(100, range(1, 2)))


def test_uce_pairs_the_last_subject_tokens_and_what_follows():
    old, new = pairs_from_subject([PAIR])
    assert old.flatten().tolist() == [2, 3, 4, 5]
    assert new.flatten().tolist() == [101, 102, 103, 104]


def test_the_empty_target_is_paired_from_its_start_token():
    old, new = pairs_from_subject([Erasure(numbered(0, range(1, 2)), numbered(100, range(1)))])
    assert old.flatten().tolist() == [1, 2, 3, 4, 5]
    assert new.flatten().tolist() == [100, 101, 102, 103, 104]


def test_context_leaves_the_subjects_own_tokens_out():
    old, new = pairs_of_context([PAIR, Erasure(numbered(0, range(2, 3)), numbered(9, range(2, 3)))])
    assert old.flatten().tolist() == [0, 3, 4, 5, 0, 1, 3, 4, 5]
    assert new.flatten().tolist() == [100, 102, 103, 104, 9, 10, 12, 13, 14]


def test_context_of_another_sentence_is_refused():
    with pytest.raises(ValueError, match="same sentence"):
        pairs_of_context([Erasure(numbered(0, range(1, 2)), numbered(0, range(2, 3)))])


@pytest.mark.parametrize("pairs", [pairs_from_subject, pairs_of_context])
def test_nothing_to_erase_is_refused(pairs):
    with pytest.raises(ValueError, match="nothing to erase"):
        pairs([])


@pytest.mark.parametrize("subject", [range(5, 7), range(2, 2), range(-1, 1)])
def test_a_subject_outside_the_prompt_is_refused(subject):
    with pytest.raises(ValueError, match="outside"):
        numbered(0, subject)


def test_states_without_tokens_are_refused():
    with pytest.raises(ValueError, match="length, width"):
        EncodedPrompt(torch.zeros(6), range(1))


@pytest.mark.parametrize(
    ("prompt", "subject", "expected"),
    [
        ("a b c", "b", range(2, 3)),
        ("a b c", "b c", range(2, 4)),
        ("a b a", "a", range(3, 4)),
        ("a b", None, range(1, 3)),
        ("", None, range(1)),
    ],
)
def test_the_subject_is_found_in_the_prompt(tokenizer, text_encoder, prompt, subject, expected):
    encoded = encode_prompt(tokenizer, text_encoder, prompt, subject)
    assert encoded.subject == expected
    ids = tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
    assert torch.equal(encoded.states, text_encoder(ids).last_hidden_state[0])
    assert not encoded.states.requires_grad


@pytest.mark.parametrize("prompt", ["a b", "a b e f g h c"])
def test_a_subject_that_the_prompt_lacks_or_cuts_off_is_refused(tokenizer, text_encoder, prompt):
    with pytest.raises(AuditorError, match="'c' do not stand"):
        encode_prompt(tokenizer, text_encoder, prompt, "c")
