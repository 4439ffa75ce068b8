"""A verification compares values: other words, or none, in the source decide nothing."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from golden import unpack

import auditor

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

SCRIPT = """
import json, sys
import auditor
from auditor.cli.main import run
from auditor.core.messages import Message
from auditor.core.wording import sentence

codes = [run(json.loads(line)) for line in sys.stdin]
said = [auditor.__file__, auditor.__doc__, sentence(Message(code="no_retain_set"))]
print(json.dumps([*said, codes]))
"""
"""Runs a command a line, then says which words there are and how each command ended."""


class _Reworded(ast.NodeTransformer):
    """Gives each docstring another text and, where asked, each sentence, too."""

    def __init__(self, sentences: bool):
        self.sentences = sentences

    def visit_Constant(self, node):
        words = isinstance(node.value, str) and re.search(r"[A-Za-z] [A-Za-z{]", node.value)
        return ast.Constant(f"Reworded: {node.value}") if self.sentences and words else node

    def visit_JoinedStr(self, node):
        return node

    def visit(self, node):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Expr(ast.Constant("Reworded."))
        return super().visit(node)


@pytest.fixture(scope="module")
def reworded(tmp_path_factory):
    """A copy of the packages with other docstrings, and other sentences for all messages."""
    root = tmp_path_factory.mktemp("reworded")
    source = Path(auditor.__file__).parents[1]
    for package in ("auditor", "attacks", "reports"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / package, root / package, ignore=ignored)
    for file in root.rglob("*.py"):
        sentences = file == root / "reports" / "messages.py"
        tree = _Reworded(sentences).visit(ast.parse(file.read_text(encoding="utf-8")))
        file.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
    return root


@pytest.mark.parametrize(
    "options", [pytest.param((), marks=pytest.mark.nightly), ("-OO",)], ids=str
)
def test_other_words_change_no_verification(reworded, finished, tmp_path, options):
    audits = [(finished / name / "certificate.json", finished) for name in ("pass", "fail")]
    for name in ("small-people", "small-shapes"):
        folder = unpack(name, tmp_path / name)
        audits += [(path, folder) for path in folder.glob("*.json") if ".dsse" not in path.name]
    commands = [
        ["verify", str(path), "--unsigned", "--evidence", str(folder / "evidence")]
        for path, folder in audits
    ]
    done = subprocess.run(
        [sys.executable, *options, "-c", SCRIPT],
        input="".join(json.dumps(command) + "\n" for command in commands),
        cwd=reworded,
        capture_output=True,
        text=True,
    )
    file, docstring, sentence, codes = json.loads(done.stdout.splitlines()[-1])
    assert Path(file).is_relative_to(reworded)
    assert docstring == (None if options else "Reworded.")
    assert sentence.startswith("Reworded: ")
    assert len(codes) == len(commands) >= 5
    assert not any(codes), done.stderr
