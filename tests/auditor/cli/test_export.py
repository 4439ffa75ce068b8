"""The evidence of a certificate, as a table in a file."""

import json

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from auditor.certificate.files import write_certificate
from auditor.cli.main import OK, USAGE, run

COLUMNS = ["attack", "variant", "arm", "seed", "set", "fact", "entity", "metric", "k"]


@pytest.fixture
def certificate(passing_plan, audit, tmp_path):
    file = tmp_path / "certificate.json"
    write_certificate(audit(passing_plan()), file)
    return file


def test_the_table_holds_every_fact_of_every_arm(certificate, store_root, tmp_path, capsys):
    arguments = ["export", str(certificate), "--store", str(store_root), "--json"]
    assert run(arguments) == OK
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(tmp_path / "certificate.evidence.csv")
    table = pyarrow.csv.read_csv(said["file"])
    assert table.column_names == COLUMNS
    assert table.num_rows == said["rows"]
    rows = table.to_pylist()
    wanted = {("none/as-is", "full precision"), ("quantization/bnb", "nf4")}
    assert {(row["attack"], row["variant"]) for row in rows} == wanted
    listed = json.loads(certificate.read_text())
    for entry in listed["matrix"]:
        for arm, mean in entry["forget"]["answer-probability"].items():
            known = [
                row["k"]
                for row in rows
                if (row["attack"], row["arm"], row["set"], row["metric"])
                == (entry["attack"], arm, "forget", "answer-probability")
            ]
            assert len(known) == 96
            assert sum(known) / len(known) == pytest.approx(mean, abs=1e-12)

    target = tmp_path / "answers.parquet"
    assert run([*arguments, "--as", "parquet", "--answers", "--out", str(target)]) == OK
    capsys.readouterr()
    answered = pq.read_table(target)
    assert answered.column_names == [*COLUMNS, "answer"]
    assert answered.drop_columns("answer").to_pylist() == rows


def test_the_certificate_is_not_written_over(certificate, store_root, capsys):
    arguments = ["export", str(certificate), "--store", str(store_root)]
    assert run([*arguments, "--out", str(certificate)]) == USAGE
    assert "not written over" in capsys.readouterr().err


def test_without_evidence_there_is_no_table(certificate, capsys):
    assert run(["export", str(certificate)]) == 15
    assert "--evidence" in capsys.readouterr().err
