"""The first line of a docstring is short enough to be read in a list."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_WORDS = 12
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize("package", ["auditor", "attacks", "reports"])
def test_first_lines_have_twelve_words_at_most(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    long = [
        f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: {line}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node))
        if len((line := text.splitlines()[0]).split()) > MOST_WORDS
    ]
    assert not long, "\n".join(long)
