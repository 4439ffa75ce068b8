"""The Markdown, as a parser of GitHub's dialect reads it."""

import re

import pytest
from hand_made_certificates import honest_certificate
from hostile_texts import hostile_certificate
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from auditor.report import Signatures
from reports.markdown import render
from reports.markdown_text import code, said

VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE")
EVERY = [*map(honest_certificate, VERDICTS), hostile_certificate()]
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
LIMIT_OF_A_COMMENT = 65_536

LINKED = re.compile(
    r"(^|\W)@\w|\w@\w|#[0-9]|GH-[0-9]|://|www\.|\$|:\w+:|\b[0-9a-f]{7,40}\b", re.IGNORECASE
)
"""What GitHub makes something of in the text that is left after the Markdown was read."""
OURS = {"inline", "text", "code_inline", "strong_open", "strong_close", "softbreak"} | {
    f"{name}_{end}"
    for name in ("heading", "paragraph", "list_item", "bullet_list")
    for end in ("open", "close")
} | {
    f"{name}_{end}"
    for name in ("table", "thead", "tbody", "tr", "th", "td")
    for end in ("open", "close")
}  # fmt: skip


def tokens(text):
    for token in PARSER.parse(text):
        yield token
        yield from token.children or ()


def kinds(text):
    return [t.type for t in tokens(text) if t.type not in ("text", "code_inline", "text_special")]


def plain(text):
    """What stands outside of code, as GitHub's filters see it: text nodes joined."""
    found = []
    for token in PARSER.parse(text):
        children = token.children or ()
        found.append("".join("\0" if c.type == "code_inline" else c.content for c in children))
    return "\n".join(found)


HOSTILE_WORDS = [
    "@someone", "a@b.example", "#12", "owner/repo#12", "GH-7", "https://evil.example/",
    "www.evil.example", "[x](https://evil.example/)", "![x](https://evil.example/x.png)",
    "<img src=x>", "<!-- ", "```", "~~~", "`", "``a`", "|", "a|b|c", "\\|", "\\", "a\\", "$x$",
    "$`x`$", ":tada:", "**bold**", "_it_", "~~gone~~", "- item", "1. item", "1)", "+ item", "# h",
    "===", "---", "> quote", "&lt;b&gt;", "&#64;someone", "da39a3ee5e6b4b0d", "[^1]", "[x]: y",
    "<https://evil.example>", "http:", "||", "`|`", "\n\n# h", "\x00", "\u202e", "\ud800", "\ufeff",
]  # fmt: skip


@pytest.mark.parametrize("word", HOSTILE_WORDS)
@pytest.mark.parametrize("write", [said, code])
def test_text_is_text_in_every_place(write, word):
    for text in (word, f"a {word} b", f"{word} {word}", f"{word}:", f"x{word}", f"{word}."):
        written = write(text)
        written.encode("utf-8")
        assert "\n" not in written
        row = f"| a | b |\n| --- | --- |\n| {written} | 2 |\n"
        assert kinds(row) == kinds("| a | b |\n| --- | --- |\n| x | 2 |\n")
        assert kinds(f"- {written}") == kinds("- x")
        assert kinds(f"**Claim.** {written}") == kinds("**Claim.** x")
        assert not LINKED.search(plain(f"- {written}"))


PIECES = st.lists(st.sampled_from(HOSTILE_WORDS) | st.text(max_size=6), max_size=6)


@settings(max_examples=400, deadline=None)
@given(PIECES, st.sampled_from(["", " "]), st.sampled_from([said, code]))
def test_no_mixture_breaks_out(pieces, between, write):
    written = write(between.join(pieces))
    table = f"| a | b |\n| --- | --- |\n| {written} | 2 |\n"
    assert kinds(table) == kinds("| a | b |\n| --- | --- |\n| x | 2 |\n")
    if written:
        assert kinds(f"- {written}") == kinds("- x")
    assert not LINKED.search(plain(f"- {written}"))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=40))
def test_what_is_written_reads_as_it_was(text):
    shown = ("text", "code_inline", "text_special")
    read = "".join(t.content for t in tokens(f"x {said(text)}") if t.type in shown)
    assert read.split() == f"x {text}".split()


@pytest.mark.parametrize("text", ["a|b", "|", "||a||", ":|", "|`|", "a | b", "\\|", "`a``b`"])
@pytest.mark.parametrize("write", [said, code])
def test_no_pipe_is_lost(write, text):
    shown = ("text", "code_inline", "text_special")
    table = f"| a |\n| --- |\n| {write(text)} |\n"
    cell = "".join(t.content for t in list(tokens(table))[-10:] if t.type in shown)
    assert cell == text


@pytest.mark.parametrize("certificate", EVERY, ids=[*VERDICTS, "hostile"])
def test_nothing_but_our_own_elements(certificate):
    text = render(certificate, Signatures(("@key", "`|"), checked=True))
    assert {t.type for t in tokens(text)} <= OURS | {"text_special"}
    assert not LINKED.search(plain(text))
    assert len(text) < LIMIT_OF_A_COMMENT
    again = type(certificate).model_validate_json(certificate.model_dump_json())
    assert render(again, Signatures(("@key", "`|"), checked=True)) == text


@pytest.mark.parametrize("certificate", EVERY, ids=[*VERDICTS, "hostile"])
def test_the_table_has_a_row_for_each_attack(certificate):
    found = kinds(render(certificate))
    assert found.count("table_open") == 1
    assert found.count("tr_open") == len(certificate.matrix) + 1
    assert found.count("td_open") == 8 * len(certificate.matrix)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_verdict_claim_limits_and_id_are_said(verdict):
    certificate = honest_certificate(verdict)
    text = render(certificate)
    read = " ".join(t.content for t in tokens(text) if t.type in ("text", "code_inline"))
    assert text.startswith(f"## {'✅' if verdict == 'PASS' else text[3]} Unlearning audit: ")
    assert verdict in text.splitlines()[0]
    assert ("✅" in text.splitlines()[0]) == (verdict == "PASS")
    assert certificate.certificate_id in read
    assert "Not signed." in read
    assert "What it does not say" in text
    for part in certificate.policy.waivers:
        assert part.by in read


def test_state_of_the_signatures_is_said():
    certificate = honest_certificate("PASS")
    unchecked = render(certificate, Signatures(("abc",), checked=False))
    checked = render(certificate, Signatures(("abc",), checked=True))
    assert "NOT checked when" in unchecked
    assert "NOT checked" not in checked
    assert "keys that the maker of this report trusts" in checked


def test_many_attacks_are_cut_and_leaks_come_first():
    certificate = honest_certificate("PASS")
    within = certificate.matrix[0]
    leak = within.model_copy(update={"variant": "the leak", "named": True})
    text = render(certificate.model_copy(update={"matrix": (*[within] * 300, leak)}))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert "the leak" in rows[2]
    assert "241 more attacks are in the certificate; 0 of them" in text
    assert len(text) < LIMIT_OF_A_COMMENT
