"""Cases that lie beside the project, each run in a folder of its own as its description says."""

import runpy
import shutil
import sys
from pathlib import Path

import pytest

from auditor.cli.main import run

CASES = Path(__file__).parents[4] / "shared" / "cases"


class Case:
    """A case in a folder of its own, which is the working folder."""

    def __init__(self, folder, capfd):
        self.folder, self._capfd = folder, capfd

    def script(self, name, *arguments):
        """Run a script of the case in this process."""
        sys.argv = [name, *arguments]
        runpy.run_path(str(self.folder / name), run_name="__main__")

    def auditor(self, *arguments):
        """The exit code of a command, and what it printed."""
        self._capfd.readouterr()
        code = run([*arguments])
        said = self._capfd.readouterr()
        return code, said.out + said.err


@pytest.fixture
def cases():
    if not CASES.is_dir():
        pytest.skip(f"the cases are not there ({CASES})")
    return CASES


@pytest.fixture
def case(tmp_path, monkeypatch, capfd):
    def opened(name, *arguments):
        if not (CASES / name).is_dir():
            pytest.skip(f"the case is not there ({CASES / name})")
        shutil.copytree(CASES / "_tiny", tmp_path / "_tiny")
        folder = tmp_path / name
        shutil.copytree(CASES / name, folder)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", sys.argv)
        monkeypatch.setattr(sys, "path", [*sys.path])
        found = Case(folder, capfd)
        found.script("make.py", *arguments)
        return found

    return opened
