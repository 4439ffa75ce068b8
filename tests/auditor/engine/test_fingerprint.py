"""A fingerprint changes with what decides a measurement, and with nothing else."""

import ast
import io
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import tokenize
from pathlib import Path

import pytest
import rfc8785

from auditor.attack import ATTACKS, SECTIONS
from auditor.core.errors import AuditorError
from auditor.engine.fingerprint import (
    _BESIDE,
    fingerprint,
    import_closure,
    module_fingerprint,
)
from auditor.engine.job import measuring_code
from auditor.models.kind import kind_named

ROOT = Path(__file__).parents[3]
PACKAGES = ("auditor", "attacks", "reports")
RTN = "attacks.quantization.rtn"
LANGUAGE = "auditor.metrics.language"
MEASURED = (RTN, LANGUAGE, "auditor.models.causal_lm.model", "auditor.models.language.evaluator")

CORNERS = '''
"""Docstring."""
import a.b as c, d
from . import e
from ..f import (g as h, i)
type_comment = []  # type: list[int]
x: "int" = 0XFF + 1_000 + 1e3 + 1j + 0o17 + True + 10**-3
big = 1234567890123456789012345678901234567890
texts = ("a" "b", b"\\x00\\xff", "\\N{BULLET}\\U0001FAE8 東京", u"u", r"\\d", None, ..., "")
f1 = f"{x}" f"{x!r:>{width}}{y=} {{}} {'nested ' + f'{z:.2f}'}" "tail"
f2 = f"{x:%H:%M}{x:}{x!s}" f"" "" f"{'a' 'b'}"
f3 = f"""
{x
} and {y:{a}.{b}}"""
def function(a, /, b: int = 1, *args: *Ts, c, d=None, **kw) -> "None":
    """Docstring."""
    async def inner():
        async for i in j: await k
        async with l as m, n: yield
        return [o async for o in p if q]
    nonlocal_ = lambda *a, b=2: (yield)
    "a text that stands alone"
    global r
    if (s := t) and not u or v < w <= 3 is not None not in []: return
    return {**a, 1: 2, **b}, {*a, 3}, [*a], (*a,), a[1:2, ..., ::3], a @ b
class Class(Base, metaclass=Meta):
    attribute: int = 5
    """About the attribute."""
    @property
    def value(self): "Docstring."
try: pass
except* (ValueError, KeyError) as error: raise X from error
else: assert a, "message"
finally: del b[0], c.d
match subject:
    case [1, "a", None, *rest] | {"k": -1.5, **others} as bound if guard: pass
    case Class(a, b=2) | a.b.c: ...
    case _: pass
for i in range(3):
    continue
else:
    while True: break
with (open(a) as b, open(c) as d): x += 1; x **= 2; x = y = z
'''
CORNERS_DIGEST = "8c14efa3b723a52e3221416f73f263f517a6cd38a1ea4f77d183bbb9a547cebd"


@pytest.fixture
def tree(tmp_path):
    """A copy of the three packages, whose modules a test may change."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=lambda folder, names: [n for n in names if not _is_source(folder, n)],
        )
    return tmp_path


def _is_source(folder, name):
    return name.endswith(".py") or (Path(folder, name).is_dir() and name != "__pycache__")


def modules(tree, packages=PACKAGES):
    return [file for package in packages for file in sorted((tree / package).rglob("*.py"))]


def attack_modules():
    return sorted({cls.__module__ for _, cls in ATTACKS})


def fingerprints(folder, names=None):
    """Module of each attack to the fingerprint of what it needs."""
    names = names or attack_modules()
    return {name: fingerprint([name, *MEASURED[1:]], [str(folder)]) for name in names}


def changed(tree, tmp_path_factory, file, old, new):
    """The fingerprints of a copy in which a text of a module is another."""
    copy = shutil.copytree(tree, tmp_path_factory.mktemp("changed"), dirs_exist_ok=True)
    text = (copy / file).read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"{file} no longer holds {old!r}"
    (copy / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    return fingerprints(copy)


def test_where_the_code_lies_decides_nothing(tree):
    assert fingerprints(tree) == fingerprints(ROOT)
    assert fingerprint(MEASURED) == fingerprint(MEASURED, [str(tree)])


def test_comments_and_docstrings_decide_nothing(tree):
    before = fingerprints(ROOT)
    for file in modules(tree):
        text = file.read_text(encoding="utf-8")
        if text.startswith('"""'):
            text = '"""Another sentence.\n\n' + text.removeprefix('"""')
        file.write_text(text + "\n# a comment\n", encoding="utf-8")
    assert fingerprints(tree) == before


def test_formatting_decides_nothing(tree):
    before = fingerprints(ROOT)
    written = {file: file.read_bytes() for file in modules(tree)}
    subprocess.run(
        [*(sys.executable, "-m", "ruff", "format", "--quiet", "--isolated"),
         *("--line-length", "60", "--config", "format.quote-style='single'"),
         *map(str, [tree / package for package in PACKAGES])],
        check=True,
    )  # fmt: skip
    assert sum(file.read_bytes() != text for file, text in written.items()) > len(written) / 2
    assert fingerprints(tree) == before


def test_reports_and_certificates_decide_nothing(tree):
    before = fingerprints(ROOT)
    for file in modules(tree):
        beside = ("certificate", "cli", "comparison", "positive_controls", "signing", "viewer")
        place = file.relative_to(tree).parts
        if place[0] == "reports" or place[1] in (*beside, "verification", "engine", "policy"):
            file.write_text("raise SystemExit('other code')\n", encoding="utf-8")
    assert fingerprints(tree) == before


def test_no_verdict_report_or_command_is_in_any_closure():
    for name in [*attack_modules(), *MEASURED]:
        for module in import_closure([name]):
            room = module.split(".")[1] if module.startswith("auditor.") else module.split(".")[0]
            assert room in {
                *("attacks", "attack", "core", "data", "evidence", "metrics", "models"),
                *("statistics", "unlearning"),
            }, f"{name} depends on {module}"
            assert module not in {
                *("auditor.statistics", "auditor.statistics.verdict", "auditor.statistics.gates"),
                *("auditor.store.base", "auditor.store.ledger"),
            }, f"{name} depends on {module}"


def test_packages_of_this_project_run_nothing_themselves():
    """They may be left out of a fingerprint, for importing them does no more than define names."""
    allowed = (
        *(ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.If),
        *(ast.Expr,),
    )
    for file in [f for f in modules(ROOT, PACKAGES[:2]) if f.name == "__init__.py"]:
        for node in ast.parse(file.read_bytes()).body:
            assert isinstance(node, allowed), f"{file}:{node.lineno}"
            if isinstance(node, ast.Expr):
                assert isinstance(node.value, ast.Constant), f"{file}:{node.lineno}"


@pytest.mark.parametrize(
    ("file", "old", "new", "whose"),
    [
        ("auditor/metrics/language.py", "0.5 * (1 - ", "0.6 * (1 - ", "all"),
        ("auditor/models/batching.py", "-lengths[i]", "lengths[i]", "all"),
        ("auditor/models/language/evaluator.py", "shown: int = 0", "shown: int = 1", "all"),
        ("attacks/quantization/grids.py", "", "LEVELS = 3\n", "quantization"),
        ("attacks/none/as_is.py", "notes=context.evaluator.notes(model),", "", "none"),
    ],
)
def test_a_changed_constant_decides(tree, tmp_path_factory, file, old, new, whose):
    before = fingerprints(ROOT)
    after = changed(tree, tmp_path_factory, file, old, new)
    touched = {name for name in before if before[name] != after[name]}
    if whose == "all":
        assert touched == set(before)
    else:
        assert f"attacks.{whose}.{'as_is' if whose == 'none' else 'rtn'}" in touched
        assert ("attacks.none.as_is" in touched) is (whose == "none")
        assert touched != set(before)


def test_what_describes_an_attack_is_left_out():
    assert {"summary", "details", "presets", *SECTIONS} == _BESIDE


def test_one_module_can_be_asked_for_alone():
    alone = module_fingerprint("auditor.metrics.language")
    assert alone == module_fingerprint("auditor.metrics.language")
    assert alone != module_fingerprint("auditor.metrics.metric")
    assert alone != fingerprint(["auditor.metrics.language"])


def test_the_key_of_a_job_covers_attack_metrics_and_kind():
    def code(attack="none/as-is", metrics=("answer-probability",), kind="causal-lm"):
        return measuring_code(attack, metrics, kind_named(kind))

    assert code() == code()
    assert code("quantization/bnb") != code()
    assert code(metrics=("concept",), kind="text-to-image") != code()


def package(folder, files):
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
    return [str(folder)]


def test_imports_of_every_form_are_followed(tmp_path):
    folders = package(
        tmp_path,
        {
            "pkg/__init__.py": "from pkg.run_first import x",
            "pkg/run_first.py": "x = 1",
            "pkg/root.py": """
                import typing
                import pkg.plain, json
                from pkg.named import thing
                from pkg.sub import module
                from . import beside
                from .sub.deep import y as z
                import other
                if typing.TYPE_CHECKING:
                    import pkg.for_types
                else:
                    import pkg.for_running
                def function():
                    from pkg import late
                    try:
                        import pkg.tried
                    except ImportError:
                        from pkg import otherwise
            """,
            **dict.fromkeys(
                (f"pkg/{name}.py" for name in ("plain", "named", "beside", "for_types")), ""
            ),
            **dict.fromkeys(
                (f"pkg/{name}.py" for name in ("for_running", "late", "tried", "otherwise")), ""
            ),
            "pkg/sub/__init__.py": "",
            "pkg/sub/module.py": "from .. import up\nfrom ..far.away import w",
            "pkg/sub/deep.py": "",
            "pkg/up.py": "import pkg.root",
            "pkg/far/away.py": "",
            "pkg/unused.py": "",
            "other/__init__.py": "",
        },
    )
    found = import_closure(["pkg.root"], folders)
    assert set(found) == {
        *("pkg", "pkg.root", "pkg.run_first", "pkg.plain", "pkg.named", "pkg.beside"),
        *("pkg.for_running", "pkg.late", "pkg.tried", "pkg.otherwise", "pkg.sub"),
        *("pkg.sub.module", "pkg.sub.deep", "pkg.up", "pkg.far.away"),
    }
    assert "other" in import_closure(["pkg.root", "other"], folders)


def test_a_name_that_is_no_module_is_refused(tmp_path):
    folders = package(tmp_path, {"pkg/__init__.py": "", "pkg/broken.py": "def"})
    with pytest.raises(AuditorError, match=r"pkg\.absent"):
        fingerprint(["pkg.absent"], folders)
    with pytest.raises(AuditorError, match=r"broken\.py"):
        fingerprint(["pkg.broken"], folders)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 1", "x = 1  # one", True),
        ("x = 1", "x = 2", False),
        ("x = 1", "x = 1.0", False),
        ("x = 1", "x = True", False),
        ("x = 0.0", "x = -0.0", False),
        ("x = 'a'", 'x = "a"', True),
        ("x = 'a'", "x = b'a'", False),
        ("x = 'é'", "x = '\\xe9'", True),
        ("x = 'é'", "x = 'e\\u0301'", False),
        ("x = 16", "x = 0x10", True),
        ("return_ = [a, b]", "return_ = [\n  a,\n  b,\n]", True),
        ("def f(): return", "def f(): return None", False),
        ("def f(a, b): pass", "def f(a, /, b): pass", False),
        ("def f():\n  'doc'\n  return 1", "def f():\n  return 1", True),
        ("def f():\n  return 'doc'", "def f():\n  return", False),
        ("class A:\n  x: int = 1\n  'about x'", "class A:\n  x: int = 1", True),
        ("class A:\n  summary = 'a'", "class A:\n  summary = 'b'", False),
        ("@attack('a/b')\nclass A:\n  summary = 'a'", "@attack('a/b')\nclass A:\n  pass", False),
        (
            "@attack('a/b')\nclass A:\n  summary = 'a'\n  x = 1",
            "@attack('a/b')\nclass A:\n  summary: ClassVar[str] = 'b'\n  x = 1",
            True,
        ),
        ("@attack('a/b')\nclass A:\n  x = 1", "@attack('a/b')\nclass A:\n  x = 2", False),
        ("if TYPE_CHECKING:\n  import a\nx = 1", "x = 1", True),
        ("if TYPE_CHECKING:\n  import a\nelse:\n  x = 1", "x = 1", True),
        ("if not TYPE_CHECKING:\n  x = 1", "x = 1", False),
        ("x = f'a' 'b'", "x = f'ab'", True),
        ("x = f'{a}b'", "x = f'{a}' 'b'", True),
        ("x = f'{a}b'", "x = f'b{a}'", False),
        ("x = f'{a!r}'", "x = f'{a}'", False),
        ("import a, b", "import b, a", False),
        ("f(*a)", "f(a)", False),
        ("d = {None: 1}", "d = {**None}", False),
    ],
)
def test_which_changes_count(tmp_path, one, other, same):
    found = [
        fingerprint(["m"], package(tmp_path / str(i), {"m.py": text}))
        for i, text in enumerate((one, other))
    ]
    assert (found[0] == found[1]) is same


def mutations(source, count, seed):
    """Sources in which one token is another."""
    chance = random.Random(seed)
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    places = [i for i, t in enumerate(tokens) if t.type in (tokenize.NUMBER, tokenize.NAME)]
    for place in chance.sample(places, count):
        token = tokens[place]
        new = f"{token.string}1" if token.type == tokenize.NUMBER else f"{token.string}_"
        lines = source.splitlines(keepends=True)
        (row, start), (_, end) = token.start, token.end
        lines[row - 1] = lines[row - 1][:start] + new + lines[row - 1][end:]
        yield "".join(lines)


def test_any_name_or_number_that_is_changed_is_seen(tmp_path):
    """Of a real module, 60 tokens at random: what still parses has another fingerprint."""
    source = (ROOT / "auditor" / "core" / "records.py").read_text(encoding="utf-8")
    before = fingerprint(["m"], package(tmp_path / "before", {"m.py": source}))
    seen = 0
    for index, text in enumerate(mutations(source, 60, seed=3)):
        try:
            ast.parse(text)
        except SyntaxError:
            continue
        assert fingerprint(["m"], package(tmp_path / str(index), {"m.py": text})) != before
        seen += 1
    assert seen > 20


SCRIPT = """
import json, sys
from auditor.engine.fingerprint import (
    _BESIDE,
    fingerprint,
    import_closure,
    module_fingerprint,
)
corners, *names = sys.argv[2:]
found = {name: fingerprint([name], [sys.argv[1]]) for name in names}
found["corners"] = fingerprint(["corners"], [corners])
print(json.dumps(found))
"""


def asked(python, folder, corners, *options):
    """The fingerprints that an interpreter finds, which has nothing of what is installed here."""
    names = [str(n) for n in (*attack_modules(), *MEASURED)]
    result = subprocess.run(
        [python, *options, "-c", SCRIPT, str(folder), str(corners), *names],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        check=True,
    )
    return json.loads(result.stdout)


def interpreter(version):
    """A Python of that version: on the path, or among those that pyenv keeps."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for python in filter(None, (shutil.which(f"python{version}"), *map(str, kept))):
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


@pytest.fixture
def installed(tree):
    """The copied packages with what an installation has beside them, as far as it is needed."""
    library = Path(rfc8785.__file__).parent
    shutil.copytree(library, tree / library.name)
    info = tree / "unlearning_auditor-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unlearning-auditor\nVersion: 0\n")
    return tree


@pytest.mark.parametrize("options", [("-OO",), ("-X", "utf8=0")], ids=str)
def test_optimised_python_finds_the_same(installed, tmp_path_factory, options):
    corners = tmp_path_factory.mktemp("corners")
    package(corners, {"corners.py": CORNERS})
    assert asked(sys.executable, installed, corners, *options) == asked(
        sys.executable, installed, corners
    )


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_supported_python_finds_the_same(installed, tmp_path_factory, version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    corners = tmp_path_factory.mktemp("corners")
    package(corners, {"corners.py": CORNERS})
    assert asked(python, installed, corners) == asked(sys.executable, installed, corners)


def test_the_fingerprint_of_every_construct_is_the_same_everywhere(tmp_path):
    """A digest that was written down: whichever Python runs this must find it, too."""
    folders = package(tmp_path, {"corners.py": CORNERS})
    assert fingerprint(["corners"], folders) == CORNERS_DIGEST
