"""Manners of the command line: one rule for flags, whole words, what to do next, completion."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hand_made_certificates import honest_certificate
from rich.console import Console

from auditor.api.issuing import repeating
from auditor.certificate.files import write_certificate
from auditor.cli import comparison_output, console, init
from auditor.cli.main import OK, USAGE, run
from auditor.cli.options import default_store
from auditor.engine.plan import read_plan
from auditor.models.kind import KINDS

SIGNED = Path(__file__).parents[3] / "docs" / "gallery" / "pass" / "certificate.dsse.json"
"""A sample certificate, which has no evidence beside it."""


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns, and what was written on it."""
    written = io.StringIO()
    narrow = Console(file=written, width=80, force_terminal=True, color_system=None)
    for module in (console, comparison_output, init):
        monkeypatch.setattr(module, "OUT", narrow)
    monkeypatch.setattr("auditor.cli.attacks.OUT", narrow)
    return written


@pytest.fixture
def certificate_file(tmp_path):
    made = honest_certificate("PASS").named()
    write_certificate(made, tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


@pytest.mark.parametrize("kind", KINDS.names())
def test_what_init_writes_takes_every_flag_of_the_readme(tmp_path, kind, capsys):
    plan = tmp_path / "plan.yaml"
    assert run(["init", str(plan), "--kind", kind]) == OK
    flags = ["--policy", "release-gate", "--profile", "standard", "--no-controls"]
    for command in ("plan", "audit"):
        assert run([command, str(plan), *flags, "--out", str(tmp_path / "out")]) == USAGE
        said = capsys.readouterr().err
        assert "no such directory" in said or "no such file" in said, "it is the models that lack"
        assert "policy:" not in said
        assert "stands in place of `policy` in the plan" in said
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_what_is_said_stands_in_place_of_what_the_plan_says(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("policy: {delta: 0.5}\nprofile: null\nformat: {chat: true}\n")
    said = {"policy": "quick", "profile": "standard", "controls": True}
    assert read_plan(plan, said) == {**said, "format": {"chat": True}}
    assert read_plan(plan)["policy"] == {"delta": 0.5}
    assert read_plan(plan, {"policy": "./own.yaml"})["policy"].startswith("/"), (
        "from here, not there"
    )


def test_plan_and_audit_share_a_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = default_store(Path("audit-result"), planning=True)
    (planned / "jobs").mkdir(parents=True)
    assert planned == tmp_path / "evidence"
    for out in ("result", "audit-result"):
        assert default_store(Path(out)) == planned
    own = tmp_path / "result" / "evidence"
    (own / "jobs").mkdir(parents=True)
    assert default_store(tmp_path / "result").resolve() == own, "an audit goes on where it was"
    assert (
        default_store(tmp_path / "elsewhere" / "out") == tmp_path / "elsewhere" / "out" / "evidence"
    )


def test_the_command_that_repeats_an_audit_names_no_place(tmp_path):
    assert str(tmp_path) not in repeating("audit", tmp_path / "store", redact=False)
    assert "--store s3://bucket/e" in repeating("audit", "s3://bucket/e", redact=False)


def test_no_name_of_an_attack_is_cut_on_a_narrow_terminal(terminal):
    assert run(["attacks", "list", "--kind", "causal-lm"]) == OK
    shown = terminal.getvalue()
    assert "…" not in shown
    for name in ("relearning/held-out-facts", "probing/activation-patching", "prompting/soft"):
        assert name in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_labels_take_two_lines_where_there_is_little_room(terminal):
    label = "relearning/held-out-facts by attribute full"
    assert comparison_output.attack_cell(label, "mandatory") == (
        "relearning/held-out-facts\n  by attribute full, mandatory"
    )


def test_a_terminal_breaks_between_words_and_the_verdict_comes_last(terminal, tmp_path):
    certificate = honest_certificate("FAIL")
    console.print_summary(certificate, tmp_path)
    shown = terminal.getvalue()
    words = {word for word in shown.split() if len(word) < 60}
    assert {"extractable", "confidence.", "residual"} <= words, "whole words"
    *_, verdict, after = shown.rstrip().split("\nFAIL ")
    assert "In short" in verdict
    assert after.startswith("llama-3.2-1b-unlearned\nnext: auditor view")


def test_families_and_kinds_choose_attacks(capsys):
    def names(*options):
        assert run(["attacks", "list", "--json", *options]) == OK
        return {entry["name"] for entry in json.loads(capsys.readouterr().out)}

    steering = names("--family", "steering")
    assert steering
    assert all(name.startswith("steering/") for name in steering)
    images = names("--kind", "text-to-image")
    assert "quantization/unet" in images
    assert "quantization/bnb" not in images
    assert names("--family", "quantization", "--kind", "seq2seq") < names(
        "--family", "quantization"
    )
    assert run(["attacks", "list", "--family", "quantisation"]) == USAGE
    assert "there are generation, membership" in capsys.readouterr().err


def test_evidence_that_is_missing_has_one_code(certificate_file, tmp_path):
    path = str(certificate_file)
    gate = ["gate", path, "--policy", "research", "--unsigned"]
    export = ["export", path, "--as", "csv"]
    nowhere = ["--evidence", str(tmp_path / "nowhere")]
    verify = ["verify", str(SIGNED), "--key", str(SIGNED.parents[1] / "auditor.pub.pem")]
    compare = ["compare", path, path, "--evidence-a", nowhere[1]]
    for command in (
        *(gate, [*gate, *nowhere], export, [*export, *nowhere], [*export, "--prompts"]),
        *([*verify, "--require-evidence"], [*verify, *nowhere], compare),
    ):
        assert run(command) == 15, command


@pytest.mark.parametrize(
    "command",
    [
        ["attacks", "list", "--family", "none"],
        ["attacks", "show", "none/as-is"],
        ["compare", "CERT", "CERT"],
        ["doctor"],
        ["init", "plan.yaml"],
        ["keygen", "key"],
        ["leaderboard", "."],
        ["policy", "list"],
        ["render", "--list"],
        ["testbed", "list"],
        ["verify", str(SIGNED), "--key", str(SIGNED.parents[1] / "auditor.pub.pem")],
    ],
    ids=lambda words: " ".join(words[:2]).partition("/")[0],
)
def test_the_last_line_says_what_to_do_next(
    command, certificate_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    run([str(certificate_file) if word == "CERT" else word for word in command])
    assert capsys.readouterr().out.strip().split("\n")[-1].startswith("next: ")


def test_the_page_says_who_signed_after_signing(certificate_file, tmp_path, capsys):
    assert run(["render", str(certificate_file)]) == OK
    page = tmp_path / "certificate.html"
    assert "not signed" in page.read_text()
    assert run(["keygen", str(tmp_path / "k")]) == OK
    keyid = capsys.readouterr().out.split("key id: ")[1].split()[0]
    assert run(["sign", str(certificate_file), "--key", str(tmp_path / "k.pem")]) == OK
    assert "next: auditor verify" in capsys.readouterr().out
    assert f"signed by key {keyid[:12]}" in page.read_text()
    assert '<strong class="signature unsigned">' not in page.read_text()


def test_a_page_of_another_certificate_is_left_alone(certificate_file, tmp_path):
    (tmp_path / "certificate.html").write_text("a page of something else")
    assert run(["keygen", str(tmp_path / "k")]) == OK
    assert run(["sign", str(certificate_file), "--key", str(tmp_path / "k.pem")]) == OK
    assert (tmp_path / "certificate.html").read_text() == "a page of something else"


def called(*arguments, **variables):
    code = "from auditor.cli.entry import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )


def test_a_shell_completes_commands_and_options():
    def completed(words, position):
        done = called(_AUDITOR_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(position))
        assert done.returncode == OK
        return done.stdout.split()

    assert completed("auditor re", 1) == ["plain,render"]
    assert "plain,--policy" in completed("auditor audit --pol", 2)
    script = called(_AUDITOR_COMPLETE="bash_source")
    assert script.returncode == OK
    assert "_AUDITOR_COMPLETE" in script.stdout


@pytest.mark.parametrize("value", ["bash_source", "bash_complete", "rubbish"])
def test_a_variable_for_completion_makes_no_command_succeed(value):
    """A gate that prints a script and exits with 0 would let every model through."""
    done = called(
        "gate", "nonesuch.json", "--policy", "quick", "--unsigned", _AUDITOR_COMPLETE=value
    )
    assert done.returncode not in (0, 1)
    assert "nonesuch.json" in done.stderr


def test_rubbish_in_the_variable_is_no_verdict():
    assert called(_AUDITOR_COMPLETE="rubbish").returncode == USAGE
