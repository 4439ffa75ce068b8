"""Every console block of README and docs, run as a reader would, in an empty folder."""

import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from console_blocks import PAGES, REASONS, ROOT, Block, File, Given, parse_page

from auditor.cli.main import run

STEPS = {str(page.relative_to(ROOT)): parse_page(page) for page in PAGES}
BLOCKS = [step for steps in STEPS.values() for step in steps if isinstance(step, Block)]
TO_RUN = [
    name
    for name, steps in STEPS.items()
    if any(isinstance(step, Block) and not step.left_out for step in steps)
]
SHELL = set("|<>&;$`")
"""Characters that only a shell understands."""


def in_a_shell(text, folder):
    """Run a command in bash; exit code and output."""
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(paths), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {text}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def in_this_process(words, capfd):
    """Run a command of ours without starting Python anew; exit code and output."""
    capfd.readouterr()
    code = run(words)
    return code, "".join(capfd.readouterr())


@pytest.mark.parametrize("page", TO_RUN)
def test_the_commands_of_a_page_do_what_it_says(page, given, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for step in STEPS[page]:
        match step:
            case Given(names):
                for name in names:
                    place = tmp_path / name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    copy = shutil.copytree if (given / name).is_dir() else shutil.copyfile
                    copy(given / name, place)
            case File(name, content):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(content, encoding="utf-8")
            case Block(left_out=None):
                follow(step, tmp_path, capfd)


def follow(block, folder, capfd):
    """Run a block's commands; their exit codes and the output that it shows must be right."""
    for command in block.commands:
        words = shlex.split(command.text, comments=True)
        if words[0] == "auditor" and not SHELL & set("".join(words)):
            code, output = in_this_process(words[1:], capfd)
        else:
            code, output = in_a_shell(command.text, folder)
        expected = block.exit_code if command is block.commands[-1] else 0
        assert code == expected, f"{block.place}: {command.text}\nexit code {code}\n{output}"
        rest = " ".join(output.split())
        for line in command.shown:
            assert line in rest, f"{block.place}: {command.text}\nnot shown: {line}\n{output}"
            rest = rest[rest.index(line) :]


def test_more_blocks_are_run_than_left_out(capsys):
    left_out = [block for block in BLOCKS if block.left_out]
    reasons = Counter(block.left_out.partition(":")[0] for block in left_out)
    executed = len(BLOCKS) - len(left_out)
    counted = ", ".join(f"{count} {REASONS[reason]}" for reason, count in reasons.most_common())
    with capsys.disabled():
        print(f"\n{executed} console blocks executed, {len(left_out)} left out ({counted})")
    assert executed > len(left_out)
    for block in left_out:
        assert block.left_out.partition(": ")[2], f"{block.place}: the reason says nothing"
