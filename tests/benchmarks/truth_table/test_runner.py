"""What a run takes on, and what it leaves."""

from dataclasses import replace

from truth_rows import ROW

from benchmarks.truth_table.__main__ import Run, by_cell, chosen, missing, say_what_would_run
from benchmarks.truth_table.rows import append, append_new, read
from benchmarks.truth_table.subjects import SLICE, table


def run_in(folder):
    return Run("quick", ("quick",), "abc", None, folder, folder / "rows.jsonl")


def test_subjects_are_chosen_by_cell_by_name_or_by_both():
    assert chosen([]) == table()
    assert [(cell, s.name) for cell, s in chosen(["gpt2/plain/head"])] == [("gpt2/plain", "head")]
    assert {cell for cell, _ in chosen(["neox/plain"])} == {"neox/plain"}
    assert {s.name for _, s in chosen(["rmu"])} == {"rmu"}
    assert len(chosen(["rmu"])) > 3


def test_what_has_a_row_of_this_code_is_not_run_again(tmp_path):
    run = run_in(tmp_path)
    append(run.rows, ROW)
    names = {(cell, subject.name) for cell, subject in missing(run, ["gpt2/plain"])}
    assert ("gpt2/plain", "head") not in names
    assert len(names) == len(chosen(["gpt2/plain"])) - 1
    assert len(missing(replace(run, commit="def"), ["gpt2/plain"])) == len(names) + 1


def test_what_lacks_the_row_of_one_policy_is_run_again(tmp_path):
    run = replace(run_in(tmp_path), policies=("quick", "release-gate"))
    append(run.rows, ROW)
    head = ["gpt2/plain/head"]
    assert len(missing(run, head)) == 1
    append(run.rows, replace(ROW, policy="release-gate"))
    assert missing(run, head) == []


def test_rows_that_are_there_are_not_written_twice(tmp_path):
    rows = [ROW, replace(ROW, policy="release-gate")]
    append(tmp_path / "rows.jsonl", ROW)
    append_new(tmp_path / "rows.jsonl", rows)
    assert read(tmp_path / "rows.jsonl") == rows


def test_the_short_run_is_of_subjects_of_the_table():
    assert [f"{cell}/{subject.name}" for cell, subject in chosen(SLICE)] == sorted(
        SLICE, key=[f"{cell}/{subject.name}" for cell, subject in table()].index
    )


def test_a_cell_is_one_processs_at_a_time():
    parts = by_cell(table())
    assert sum(map(len, parts)) == len(table())
    assert all(len({cell for cell, _ in part}) == 1 for part in parts)


def test_a_dry_run_says_what_would_run_and_how_long(tmp_path, capsys):
    run = run_in(tmp_path)
    append(run.rows, replace(ROW, seconds=90.0))
    say_what_would_run(run, chosen(["mistral/plain"]), jobs=1)
    said = capsys.readouterr().out
    assert "task_vector" in said
    assert "3 audits, about 4 minutes" in said
