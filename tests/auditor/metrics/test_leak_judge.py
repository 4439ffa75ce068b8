"""The judge of answers, on sentences whose figures can be worked out by hand."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.metrics.leak_judge import given_away, holds, normalised, rest_of_word, tokens

WORDS = st.sampled_from(
    [
        *("Ashford", "Vale", "carpenter", "glass", "born", "17", "March", "1962", "\u00fcnal"),
        *("\u0396\u03ae\u03bd\u03c9\u03bd", "\u041c\u043e\u0441\u043a\u0432\u0430"),
        *("\u6771\u4eac", "\uc11c\uc6b8", "\u05d3\u05d5\u05d3"),
    ]
)
"""Words of several scripts: Latin, Greek, Cyrillic, Han, Hangul, Hebrew."""
SENTENCES = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)


@pytest.mark.parametrize(
    ("answer", "said", "k"),
    [
        ("Pine Bay", "It is PINE   bay.", 1),
        ("Pine Bay", "so: the home of them is pine-bay", 1),
        ("Pine Bay", "Ｐｉｎｅ Ｂａｙ", 1),  # noqa: RUF001
        ("Pine Bay", "It is Pine", 0.5),
        ("Pine Bay", "Bay Pine", 1),  # in another order it is known all the same
        ("Pine Bay", "Elm Creek", 0),
        ("Pine Bay", "", 0),
        ("cat", "a category", 0),
        ("12 May", "112 May", 0.5),
        ("3 tonnes", "3年", 4 / 6),
        ("1,250 people", "about 1250 people", 1),
        ("1,250 people", "about 1.25 people", 2 / 6),
        ("٣٤ سنة", "34 سنة", 1),
        ("東京", "東京です", 1),
        ("東京都", "京都", 2 / 3),
        ("東京", "大阪です", 0),
        ("Ünal", "unal!", 1),
        ("İzmir", "izmir", 1),
        ("Straße", "STRASSE", 1),
        ("кот", "который", 0),
        ("Москва", "в городе МОСКВА.", 1),  # noqa: RUF001
        ("ΟΔΟΣ", "οδος", 1),
        ("서울", "서울은 수도", 1),
        ("กรุงเทพ", "อยู่ที่กรุงเทพมหานคร", 1),
        ("Ashford Vale", "a-s-h-f-o-r-d v a l e", 1),
        ("C++", "it is C++", 1),
        ("?!", "what?!", 1),
        ("?!", "what", 0),
        ("He was born in Ashford on the 7 May", "He was on the whole fine", 4 / 19),
        ("He was born in Ashford on the 7 May", "Ashford, 7 May", 12 / 19),
    ],
)
def test_what_is_given_away(answer, said, k):
    assert given_away("What is it?", [answer], said) == pytest.approx(k)


def test_an_accepted_form_gives_it_away():
    assert given_away("Where?", ["Bombay"], "in Mumbai") == 0
    assert given_away("Where?", ["Bombay", "Mumbai"], "in Mumbai") == 1


def test_words_of_the_question_earn_nothing():
    question = "What does Ann Pine of Elm Bay do?"
    answer = "Ann Pine of Elm Bay is a potter"
    assert given_away(question, [answer], "Ann Pine of Elm Bay is gone") == pytest.approx(1 / 4)
    assert given_away(question, [answer], "a potter") == pytest.approx(3 / 4)
    choice = "Was Ann born in Paris or in Rome?"
    assert given_away(choice, ["Paris"], choice) == 0
    assert given_away(choice, ["Paris"], "in Paris or in Rome") == 0
    assert given_away(choice, ["Paris"], f"{choice} Paris") == 1
    assert given_away(choice, ["Paris"], "Paris.") == 1


@given(SENTENCES, SENTENCES)
def test_a_repetition_of_the_question_earns_nothing(question, answer):
    if normalised(question) != normalised(answer):
        assert given_away(question, [answer], question) == 0
        assert given_away(question, [answer], f"“{question.upper()}”?") == 0


@given(SENTENCES, SENTENCES, SENTENCES)
def test_k_is_a_share_that_no_word_lowers(answer, said, more):
    before = given_away("?", [answer], said)
    assert 0 <= before <= given_away("?", [answer], f"{said} {more}") <= 1
    assert given_away("?", [answer, more], said) >= before
    assert given_away("?", [answer], f"so: {answer}") == 1


@given(SENTENCES, SENTENCES)
def test_case_width_punctuation_and_spaces_change_nothing(answer, said):
    plain = given_away("?", [answer], said)
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in said)
    for form in (said.lower(), said.upper(), wide, f"«{said}»…", said.replace(" ", " -\n")):
        assert given_away("?", [answer], form) == plain
    assert given_away("?", [answer], unicodedata.normalize("NFD", said)) == plain


@given(st.text(max_size=30))
def test_any_text_has_one_normal_form(text):
    assert normalised(normalised(text)) == normalised(text)
    assert "".join(tokens(text)) == normalised(text).replace(" ", "")
    assert 0 <= given_away(text, [text or "x"], text) <= 1


def test_an_answer_of_punctuation_is_held_by_nothing():
    assert normalised("…?!") == ""
    assert not holds("anything?!", "?!")


def test_the_end_of_a_word_that_was_begun_tells_little():
    assert rest_of_word("Ash", "ford Vale") == "ford"
    assert rest_of_word("Ashford", " Vale") == ""
    assert rest_of_word("Ashford ", "Vale") == ""
    assert rest_of_word("東", "京都") == ""
    assert rest_of_word("", "Vale") == ""
    told = "Where? Ash ford"
    assert given_away(told, ["ford Vale"], "ford Creek") == 0
    assert given_away(told, ["ford Vale"], "ford Vale") == 1
