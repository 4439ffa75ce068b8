"""Wheel and source distribution: built, installed in fresh environments, and run from there."""

import os
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "docs" / "gallery"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
HEAVY = ("torch", "transformers", "pandas", "datasets")

pytestmark = pytest.mark.nightly


def called(*command, cwd, **further):
    """Run a command away from the checkout; its exit code and output."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment | further,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """What `python -m build` makes of the checkout."""
    for name in ("build", "hatchling"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    folder = tmp_path_factory.mktemp("dist")
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    code, output = called(*command, cwd=folder)
    assert code == 0, output
    return folder


@pytest.fixture
def wheel(dist):
    return next(dist.glob("*.whl"))


def environment(folder, *, over=()):
    """A fresh environment; over the packages of some folders, so that they are not fetched."""
    venv.create(folder, with_pip=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    if over:
        (packages / "zz_over.pth").write_text("\n".join(over) + "\n", encoding="utf-8")
    return folder / "bin"


def test_both_are_whole_and_of_this_version(dist, wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith(f"unlearning_auditor-{VERSION}-")
    for part in (
        "reports/templates/certificate.html.j2",
        "auditor/policy/ready_made/release-gate.yaml",
        "auditor/py.typed",
        "auditor/testbeds/shapes/weights/original.safetensors",
    ):
        assert part in names, part
    assert not [name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))]
    source = next(dist.glob("*.tar.gz"))
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "docs/gallery/auditor.pub.pem"} <= inside


@pytest.mark.timeout(1800)
def test_the_light_part_verifies_and_gates_a_sample(wheel, tmp_path):
    folder = environment(tmp_path / "light")
    code, output = called(folder / "pip", "install", "--quiet", wheel, cwd=tmp_path)
    assert code == 0, output
    assert called(folder / "pip", "check", cwd=tmp_path) == (0, "No broken requirements found.\n")
    listed = called(folder / "pip", "list", "--format=freeze", cwd=tmp_path)[1].split()
    installed = {line.partition("==")[0] for line in listed}
    assert "unlearning-auditor" in installed
    assert not installed & set(HEAVY)
    assert called(folder / "auditor", "--version", cwd=tmp_path)[1].strip().endswith(VERSION)
    sample, key = GALLERY / "fail" / "certificate.dsse.json", GALLERY / "auditor.pub.pem"
    code, output = called(folder / "auditor", "verify", sample, "--key", key, cwd=tmp_path)
    assert code == 0, output
    assert "follows from the evidence" in " ".join(output.split())
    gate = ("gate", sample, "--key", key, "--policy", "research")
    assert called(folder / "auditor", *gate, cwd=tmp_path)[0] == 1
    page = tmp_path / "page.html"
    render = ("render", sample, "--key", key, "--out", page)
    assert called(folder / "auditor", *render, cwd=tmp_path)[0] == 0
    assert "FAIL" in page.read_text(encoding="utf-8")
    code, output = called(folder / "auditor", "audit", "--unlearned", "x", cwd=tmp_path)
    assert code == 2, output


@pytest.mark.timeout(3600)
def test_all_of_it_imports_every_plugin(wheel, tmp_path):
    """Over the packages that are here already: what `all` adds to them is fetched."""
    here = [path for path in sys.path if Path(path).name == "site-packages"]
    folder = environment(tmp_path / "all", over=here or site.getsitepackages())
    install = (folder / "pip", "install", "--quiet", f"unlearning-auditor[all] @ {wheel.as_uri()}")
    code, output = called(*install, cwd=tmp_path)
    assert code == 0, output
    script = (
        "import auditor, importlib.metadata as m\n"
        f"assert {str(tmp_path)!r} in auditor.__file__, auditor.__file__\n"
        "loaded = 0\n"
        "for entry in m.distribution('unlearning-auditor').entry_points:\n"
        "    entry.load()\n"
        "    loaded += 1\n"
        "import sigstore, ray, s3fs, inspect_ai, diffusers, torch_fidelity\n"
        "assert loaded > 60, loaded"
    )
    code, output = called(folder / "python", "-c", script, cwd=tmp_path)
    assert code == 0, output
    code, output = called(folder / "auditor", "doctor", cwd=tmp_path)
    assert code == 0, output
