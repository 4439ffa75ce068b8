"""What nobody sees at the ends of a text is not asked, in any format, and it is said."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auditor.core.errors import AuditorError
from auditor.core.messages import message
from auditor.data.readers import read_facts, read_noted
from auditor.data.source import DataSource

EDGES = {
    "blank": " ",
    "line end": "\n",
    "carriage return": "\r\n",
    "tab": "\t",
    "no-break space": "\u00a0",
    "ideographic space": "\u3000",
    "zero-width space": "\u200b",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "right-to-left mark": "\u200f",
    "several": "\u200b \u00a0\ufeff\n",
}
FIELDS = ("prompt", "answer", "paraphrases", "distractors", "accepted")


def row(edge=""):
    texts = {name: f"{edge}{name} \u200b in two{edge}" for name in FIELDS}
    return {"id": "g"} | texts | {name: [texts[name], "other"] for name in FIELDS[2:]}


def write_csv(path, one):
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, one.keys())
        writer.writeheader()
        writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in one.items()})


WRITERS = {
    "jsonl": lambda path, one: path.write_text(json.dumps(one) + "\n"),
    "json": lambda path, one: path.write_text(json.dumps([one])),
    "csv": write_csv,
    "parquet": lambda path, one: pq.write_table(pa.Table.from_pylist([one]), path),
}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("kind", EDGES)
def test_edges_are_trimmed_in_every_format_and_counted(tmp_path, ending, kind):
    path = tmp_path / f"facts.{ending}"
    WRITERS[ending](path, row())
    [clean], said = read_noted(DataSource(path=str(path)), "forget")
    assert said == ()
    WRITERS[ending](path, row(EDGES[kind]))
    [fact], said = read_noted(DataSource(path=str(path)), "forget")
    assert fact == clean
    assert fact.answer == "answer \u200b in two"  # what stands within a text stays
    assert said == (message("edges_trimmed", set="forget", facts=1),)


@pytest.mark.parametrize("answer", ["\u200b", "\ufeff\u00a0", " \u2060\n"])
def test_an_answer_of_edges_alone_is_refused_with_its_row(tmp_path, answer):
    path = tmp_path / "facts.jsonl"
    rows = [{"prompt": "p", "answer": "a"}, {"prompt": "p", "answer": answer}]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    with pytest.raises(AuditorError, match=r"facts\.jsonl:2: answer: is empty"):
        read_facts(DataSource(path=str(path)), "forget")


def test_marks_that_belong_to_a_letter_stay(tmp_path):
    path = tmp_path / "facts.jsonl"
    answer = "\u2764\ufe0f \U0001f3f4\U000e0067\U000e0062\U000e007f"
    path.write_text(json.dumps({"prompt": "p", "answer": answer}) + "\n")
    assert read_facts(DataSource(path=str(path)), "forget")[0].answer == answer
