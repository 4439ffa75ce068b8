"""The arrows of ARCHITECTURE.md, as the imports have them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = [
    {"errors", "digests", "progress", "documentation"},
    {"subjects"},
    {"data", "policy", "statistics"},
    {"registry"},
    {"metrics"},
    {"evidence"},
    {"evaluator", "image_evaluator", "findings"},
    {"attack"},
    {"engine"},
    {"testbed", "certificate"},
    {"controls", "signing"},
    {"verification"},
    {"report"},
    {"comparison", "viewer"},
    {"cli"},
]
"""Rooms of `auditor`; a room imports only from itself and from those above it in this list."""

RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("file", modules("auditor"), ids=lambda f: str(f.relative_to(ROOT)))
def test_auditor_imports_inwards_only(file):
    room = file.relative_to(ROOT / "auditor").parts[0].removesuffix(".py")
    for module in imports(file):
        package, _, rest = module.partition(".")
        assert package not in ("attacks", "reports"), f"{file.name} imports {module}"
        if package != "auditor" or room == "__init__":
            continue
        other = rest.split(".")[0]
        if other and other != room:
            assert RANK[other] < RANK[room], f"{room} imports {module}, which stands below it"


def test_statistics_needs_numpy_and_scipy_only():
    allowed = {"auditor", "numpy", "scipy", "collections", "dataclasses", "enum", "math", "typing"}
    for file in modules("auditor/statistics"):
        for module in imports(file):
            assert module.split(".")[0] in allowed, f"{file.name} imports {module}"
            assert not module.startswith("auditor.") or module.startswith("auditor.statistics")


@pytest.mark.parametrize("package", ["attacks", "reports"])
def test_attacks_and_reports_do_not_know_each_other(package):
    others = {"attacks", "reports", "tests", "benchmarks"} - {package}
    for file in modules(package):
        assert not {module.split(".")[0] for module in imports(file)} & others


@pytest.mark.parametrize("package", ["auditor", "attacks", "reports"])
def test_modules_fit_in_one_reading(package):
    for file in modules(package):
        lines = len(file.read_text(encoding="utf-8").splitlines())
        assert lines <= 300, f"{file.relative_to(ROOT)} has {lines} lines"


def test_the_plugin_in_the_docs_is_the_one_that_is_tested():
    page = (ROOT / "docs" / "writing-an-attack.md").read_text(encoding="utf-8")
    plugin = ROOT / "tests" / "plugin_package" / "shouting" / "__init__.py"
    assert plugin.read_text(encoding="utf-8") in page


@pytest.mark.parametrize("room", ["auditor/statistics", "auditor/certificate", "reports"])
def test_nothing_after_the_evidence_knows_what_sort_of_model_it_is_about(room):
    files = [file for ending in ("py", "j2") for file in (ROOT / room).rglob(f"*.{ending}")]
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        for word in ("text-to-image", "causal-lm", "modality", "text_to_image", "causal_lm"):
            assert word not in text, f"{file.relative_to(ROOT)} speaks of {word}"
