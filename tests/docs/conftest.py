"""What the tests of pages and templates share."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from given import make_folder

from auditor.cli.main import run


@pytest.fixture(scope="session")
def given(people, shared_folder):
    """The folder of what pages name as given; made once by one of the test processes."""
    folder = shared_folder / "given"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "audits").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            before = Path.cwd()
            os.chdir(folder)
            try:
                make_folder(folder, people, run)
            finally:
                os.chdir(before)
    return folder
