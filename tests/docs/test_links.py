"""Links between pages lead to files and headings that are there."""

import re
from functools import cache
from itertools import pairwise
from urllib.parse import unquote

import pytest
from console_blocks import ROOT
from markdown_it import MarkdownIt

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
)


@cache
def parsed(page):
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


@cache
def anchors(page):
    """Anchors of a page's headings, as GitHub and the site make them."""
    found = set()
    tokens = parsed(page)
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            text = "".join(part.content for part in token.children)
            kept = re.sub(r"[^\w\- ]", "", text.lower())
            found |= {kept.replace(" ", "-"), re.sub(r"[-\s]+", "-", kept).strip("-")}
    return found


def links(page):
    for token in parsed(page):
        for part in token.children or ():
            if part.type in ("link_open", "image"):
                yield str(part.attrs.get("href") or part.attrs.get("src"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert target.exists(), f"{link} leads nowhere"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{target.name} has no heading #{anchor}"


def test_there_are_links_to_check():
    internal = [link for page in PAGES for link in links(page) if ":" not in link]
    assert len(internal) > 100
