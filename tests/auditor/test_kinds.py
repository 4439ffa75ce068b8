"""A kind of model is one folder and one entry point; nothing else knows it by name."""

import ast
import importlib
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from auditor.models.kind import KINDS, all_kinds

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "auditor" / "models"
OF_ONE_KIND = ("attacks", "auditor/testbeds", "auditor/unlearning")
"""Folders whose modules may be about models of one kind, and import what is theirs."""


def folder(name):
    return MODELS / KINDS.get(name).__module__.split(".")[2]


FOLDERS = {name: folder(name) for name in KINDS.names()}


def modules(*roots):
    files = (file for root in roots for file in sorted((ROOT / root).rglob("*.py")))
    return [file for file in files if not any(file.is_relative_to(f) for f in FOLDERS.values())]


def below(file, roots):
    return any(file.is_relative_to(ROOT / root) for root in roots)


def parse(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def declared_kinds(tree):
    """The strings of ``kinds = (...)`` in the bodies of classes."""
    for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for statement in cls.body:
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            if any(isinstance(t, ast.Name) and t.id == "kinds" for t in targets):
                yield from (n for n in ast.walk(statement) if isinstance(n, ast.Constant))


def strings(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def identifiers(tree):
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.ImportFrom(module=module):
                yield from (module or "").split(".")
                yield from (alias.name for alias in node.names)
            case ast.Import():
                yield from (part for alias in node.names for part in alias.name.split("."))


def own_identifiers():
    """Names of the kinds' folders, and of the classes that stand for them."""
    for path in FOLDERS.values():
        yield path.name
        for module in ("kind.py", "model.py", "spec.py"):
            yield from (n.name for n in parse(path / module).body if isinstance(n, ast.ClassDef))


def test_no_module_names_a_kind():
    own, found = set(own_identifiers()), []
    named = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in FOLDERS))
    for file in modules("auditor", "reports"):
        if below(file, OF_ONE_KIND):
            continue
        tree = parse(file)
        found += [
            f"{file.relative_to(ROOT)}:{string.lineno} says {match[0]}"
            for string in strings(tree)
            if (match := named.search(string.value))
        ]
        found += [f"{file.relative_to(ROOT)} uses {name}" for name in {*identifiers(tree)} & own]
    for file in sorted((ROOT / "reports").rglob("*.j2")):
        if match := named.search(file.read_text(encoding="utf-8")):
            found.append(f"{file.relative_to(ROOT)} says {match[0]}")
    assert not found


def test_an_attack_names_a_kind_only_where_it_declares_its_kinds():
    found = []
    for file in modules(*OF_ONE_KIND):
        tree = parse(file)
        declared = {id(node) for node in declared_kinds(tree)}
        found += [
            f"{file.relative_to(ROOT)}:{string.lineno} says {string.value}"
            for string in strings(tree)
            if string.value in FOLDERS and id(string) not in declared
        ]
    assert not found


def test_every_kind_is_one_entry_point_that_names_it():
    points = {point.name: point.value for point in entry_points(group="auditor.models")}
    assert points.keys() == FOLDERS.keys()
    for name, place in FOLDERS.items():
        assert points[name].startswith(f"auditor.models.{place.name}.kind:")
        assert KINDS.get(name).name == name
    assert [kind.default for kind in all_kinds()].count(True) == 1


def test_kinds_are_known_without_the_libraries_that_open_models():
    code = (
        "import sys\n"
        "from auditor.models.kind import all_kinds, parse_spec\n"
        "for kind in all_kinds():\n"
        "    kind.template()\n"
        "    parse_spec({'path': 'somewhere', 'kind': kind.name})\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'huggingface_hub', 'safetensors'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.name)
def test_a_kind_says_what_the_engine_asks(kind):
    for module in kind.code:
        importlib.import_module(module)
    assert kind.default_metrics
    assert kind.described
    assert kind.spec_type.model_fields["kind"].default == kind.name
