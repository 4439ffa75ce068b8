"""The command line, in this process; its exit codes and what it prints."""

import json
import os
import signal
import subprocess
import sys

import click
import pytest

from auditor.cli.main import BROKEN, OK, SUMMARIES, UNDECIDED, USAGE, cli, run


@pytest.fixture
def flags(people, tmp_path, store_root):
    """An audit by flags alone, of a subject against the others."""

    def make(unlearned, *retrained):
        arguments = ["--unlearned", str(people.model_path(unlearned)), "--dtype", "float32"]
        arguments += ["--original", str(people.model_path("original"))]
        for name in retrained:
            arguments += ["--retrained", str(people.model_path(name))]
        for name in ("forget", "retain", "holdout"):
            arguments += [f"--{name}", str(people.facts(name))]
        return [*arguments, "--out", str(tmp_path / "out"), "--store", str(store_root), "--quiet"]

    return make


def test_help_needs_no_model_library():
    code = "import sys, auditor.cli.main as m; m.run(['--help']); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Exit codes: 0 PASS, 1 FAIL" in shown.stdout
    assert shown.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    "arguments", [["audit"], ["nonesuch"], ["audit", "--profile", "x"], ["render"]]
)
def test_usage_errors(arguments, capsys):
    assert run(arguments) == USAGE
    assert "Traceback" not in capsys.readouterr().err


def test_missing_flags_are_named(capsys):
    assert run(["audit", "--unlearned", "u"]) == USAGE
    assert "missing: --original, --forget" in capsys.readouterr().err


def test_plan_file_and_flags_do_not_mix(tmp_path, capsys):
    assert run(["audit", str(tmp_path / "p.yaml"), "--unlearned", "u"]) == USAGE
    assert "cannot be combined" in capsys.readouterr().err


def test_model_that_is_its_own_baseline_is_refused(flags, capsys):
    assert run(["audit", *flags("retrained-0", "retrained-0")]) == USAGE
    assert "cannot be its own baseline" in capsys.readouterr().err


def test_plan_by_flags_says_what_would_run_and_whether_a_pass_is_possible(flags, people, capsys):
    arguments = flags(people.recipe.demo, *people.recipe.retrained[:2])
    assert run(["plan", *arguments, "--json"]) == OK
    planned = json.loads(capsys.readouterr().out)
    assert [v["label"] for v in planned["variants"] if v["role"] == "mandatory"] == [
        "none/as-is full precision",
        "probing/output-probe by entity",
        "prompting/prefill 1 token",
        "quantization/bnb int8",
        "quantization/bnb nf4",
        "quantization/bnb fp4",
        "quantization/gptq 4-bit g128",
        "quantization/half-types bfloat16",
        "relearning/held-out-facts by attribute",
        "tampering/graft interfaces",
        "tampering/revive dormant units",
    ]
    assert planned["facts"] == {"forget": 96, "retain": 96, "holdout": 96}
    assert planned["power"]["needed"] <= 96, "the testbed has enough facts for a PASS"
    assert planned["power"]["power_available"] > 0.8


def test_plan_without_enough_facts_warns(flags, people, tmp_path, capsys):
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(people.facts("forget").read_text().splitlines()[:12]) + "\n")
    arguments = flags(people.recipe.demo, *people.recipe.retrained[:2])
    arguments[arguments.index("--forget") + 1] = str(few)
    assert run(["plan", *arguments]) == OK
    said = capsys.readouterr().out
    assert "too few facts for a PASS" in said
    assert "12 are there" in said


def test_too_few_facts_are_inconclusive(flags, people, tmp_path, capsys):
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(people.facts("forget").read_text().splitlines()[:12]) + "\n")
    plan = tmp_path / "plan.json"
    spec = {"dtype": "float32"}
    plan.write_text(
        json.dumps(
            {
                "unlearned": {"path": str(people.model_path("retrained-1")), **spec},
                "original": {"path": str(people.model_path("original")), **spec},
                "retrained": [{"path": str(people.model_path("retrained-0")), **spec}],
                "data": {"forget": str(few), "retain": str(people.facts("retain"))},
                "profile": None,
                "policy": {"mandatory": ["none/as-is"]},
            }
        )
    )
    assert run(["audit", str(plan), "--out", str(tmp_path / "out"), "--quiet"]) == UNDECIDED
    assert "INCONCLUSIVE" in capsys.readouterr().out
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    needed = {r["code"]: r["params"] for r in certificate["verdict"]["reasons"]}["facts_needed"]
    assert needed["needed"] > needed["available"] == 12


def test_lists_and_doctor_speak_json(capsys):
    assert run(["attacks", "list", "--json"]) == OK
    attacks = json.loads(capsys.readouterr().out)
    assert {"quantization/bnb", "quantization/gptq"} <= {entry["name"] for entry in attacks}
    assert run(["attacks", "show", "quantization/gptq", "--json"]) == OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["parameters"]["properties"]["bits"]["enum"] == [2, 3, 4, 8]
    assert "2210.17323" in shown["source"]
    assert run(["testbed", "list", "--json"]) == OK
    assert [w["name"] for w in json.loads(capsys.readouterr().out)] == [
        "people",
        "people-full-precision",
        "reasoning",
        "shapes",
    ]


def test_a_crash_is_never_a_verdict(capsys, people, tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARNING_AUDITOR_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("in the way")
    assert run(["testbed", "build", "--only", "original", "--quiet"]) in (USAGE, BROKEN)
    assert capsys.readouterr().err


@pytest.mark.nightly
def test_closed_pipe_is_no_verdict(flags):
    code = "from auditor.cli.entry import main; main()"
    command = [sys.executable, "-c", code, "audit", *flags("retrained-1", "retrained-0"), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.stderr.read()
    assert process.wait(timeout=300) == BROKEN


def test_broken_installation_is_no_verdict(tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError('broken on purpose')")
    code = "from auditor.cli.entry import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "attacks", "list"],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert result.returncode == BROKEN


def test_older_certificate_does_not_outlive_a_failed_run(
    passing_plan, people, tmp_path, store_root
):
    out, plan = tmp_path / "out", tmp_path / "plan.yaml"
    asked = passing_plan(attacks=[], policy={"mandatory": ["none/as-is"]}).model_dump(mode="json")
    arguments = ["audit", str(plan), "--out", str(out), "--store", str(store_root), "--quiet"]
    plan.write_text(json.dumps(asked))
    assert run(arguments) == OK
    assert (out / "certificate.json").exists()
    asked["unlearned"]["path"] = str(people.model_path("retrained-0"))
    plan.write_text(json.dumps(asked))
    assert run(arguments) == USAGE
    assert not (out / "certificate.json").exists()
    assert not (out / "certificate.html").exists()


@pytest.mark.parametrize(
    "arguments", [["init", "nonexist/p.yaml"], ["render", "x", "--out", "y/z"]]
)
def test_wrong_paths_are_one_line(arguments, capsys):
    assert run(arguments) == USAGE
    assert "Traceback" not in capsys.readouterr().err


def test_interruption_says_how_to_go_on(flags):
    code = "from auditor.cli.entry import main; main()"
    arguments = [a for a in flags("retrained-1", "retrained-0") if a != "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "audit", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # where the tests run in the background, the shell has them ignore interruptions
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert "hashing the models" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "run the same command again to go on" in said


def test_help_lists_each_command_by_the_first_line_of_its_own():
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command.help.split("\n")[0] == SUMMARIES[name]


def groups(command, context):
    """Yield a group of commands and those within it, each with its context."""
    yield command, context
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if isinstance(inner, click.Group):
            yield from groups(inner, click.Context(inner, info_name=name, parent=context))


def test_no_summary_in_a_list_of_commands_is_cut():
    lists = {
        context.command_path: command.get_help(context)
        for command, context in groups(cli, click.Context(cli, info_name="auditor"))
    }
    assert {"auditor", "auditor facts", "auditor policy"} <= lists.keys()
    for path, said in lists.items():
        assert "..." not in said.replace("[ARGS]...", ""), path


def test_output_that_is_closed_at_once_is_said_to_be():
    code = "from auditor.cli.entry import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "policy", "show", "research"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    process.stdout.close()
    assert "whoever read the output closed it" in process.stderr.read()
    assert process.wait(timeout=60) == BROKEN


def test_a_misspelt_command_is_answered_with_the_right_one(capsys):
    assert run(["verfy"]) == USAGE
    assert "Did you mean verify?" in capsys.readouterr().err


def test_a_path_that_no_system_takes_is_a_usage_error(flags, people, capsys):
    """Names that are too long, and folders that cannot be written, have no class of error."""
    arguments = flags(people.recipe.demo, *people.recipe.retrained[:1])
    arguments[arguments.index("--unlearned") + 1] = "./" + "x" * 5000
    assert run(["plan", *arguments, "--no-pilot"]) == USAGE
    said = capsys.readouterr().err
    assert "File name too long" in said or "no such directory" in said
    assert len(said) < 2000
    assert "Traceback" not in said
