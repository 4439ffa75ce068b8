"""Files as people have them: read, or refused in a line that says the way out."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auditor.core.errors import AuditorError
from auditor.core.messages import message
from auditor.data.readers import read_facts, read_noted
from auditor.data.source import DataSource

BOM = b"\xef\xbb\xbf"
ROWS = [{"prompt": f"Where does {name} live?", "answer": f"In {name}ton."} for name in "ABC"]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
LIST = json.dumps(ROWS, indent=1).encode()
CSV = b"prompt,answer\nWhere?,Here.\nWhen?,Now.\n"
CHOICES = [f"room {i}" for i in range(1, 5)]
INDEXED = [
    {"question": f"Where does guest {i} sleep?", "choices": CHOICES, "answer": i % 4}
    for i in range(6)
]
QUESTIONS = {"prompt": "question", "distractors": "choices"}


def parquet(rows):
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_csv(rows, **options):
    return pd.DataFrame(rows).to_csv(index=False, **options).encode()


def given(tmp_path, name, content, **options):
    path = tmp_path / name
    path.write_bytes(content)
    return DataSource(path=str(path), **options)


def refusal(source):
    with pytest.raises(AuditorError) as caught:
        read_facts(source, "forget")
    said = str(caught.value)
    assert len(said.splitlines()) <= 2, said
    assert len(said) < 900, said
    return said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.jsonl", BOM + LINES),
        ("f.jsonl", BOM + b"\n" + LINES),
        ("f.jsonl", LINES.replace(b"\n", b"\n" + BOM)[: -len(BOM)]),  # files put together
        ("f.json", BOM + LIST),
        ("f.json", LINES),
        ("f.json", BOM + LINES.replace(b"\n", b"\r\n")),
        ("f.jsonl", LIST),
        ("f.jsonl", BOM + b"\n\n" + LIST),
        ("f.jsonl", json.dumps(ROWS).encode()),
        ("f.csv", as_csv(ROWS)),
        ("f.csv", BOM + as_csv(ROWS)),
        ("f.csv", as_csv(ROWS).replace(b"prompt,answer", b"prompt , answer ")),
        ("f.csv", as_csv(ROWS, quoting=1).replace(b'","', b'", "')),
        ("f.parquet", parquet(ROWS)),
        ("f.jsonl", lines([{" prompt": r["prompt"], "answer ": r["answer"]} for r in ROWS])),
    ],
)
def test_the_same_facts_in_the_forms_that_tools_write(name, content, tmp_path):
    found = read_facts(given(tmp_path, name, content), "forget")
    assert [{"prompt": f.prompt, "answer": f.answer} for f in found] == ROWS


def test_one_row_alone_is_a_row(tmp_path):
    for name in ("f.json", "f.jsonl"):
        (fact,) = read_facts(given(tmp_path, name, lines(ROWS[:1])), "forget")
        assert fact.answer == "In Aton."


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("f.csv", CSV.replace(b",", b";"), "separated by semicolons (`prompt;answer`)"),
        ("f.csv", CSV.replace(b",", b"\t"), "separated by tabs"),
        ("f.csv", CSV.replace(b",", b"|"), "separated by vertical bars"),
        ("f.csv", b'"prompt";"answer"\n"a, b";"c"\n', "separated by semicolons"),
        ("f.csv", b"sep=;\n" + CSV, "a line of Excel's, `sep=;`"),
        ("f.csv", CSV * 40, "the file has"),
        ("f.csv", b"prompt,answer\n" + b"a, b, and c,d\n" * 900, "a comma within a text needs"),
        ("f.csv", CSV.decode().encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
        ("f.json", LIST.decode().encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
        ("f.jsonl", LINES.decode().encode("utf-16-be", "strict"), "not valid JSON"),
        ("f.csv", CSV + "Wer?,Müller\n".encode("latin-1"), "f.csv:4: not UTF-8 (the byte 0xfc"),
        ("f.jsonl", LINES + b'{"prompt": "\xe9"}\n' * 500, "500 rows (lines 4-503): not UTF-8"),
        ("f.json", b'[{"prompt": "\xe9", "answer": "a"}]', "save the file as UTF-8"),
        ("f.jsonl", b"\x1f\x8b\x08\x00", "is compressed (gzip); unpack it"),
        ("f.csv", b"PK\x03\x04 xl/workbook.xml", "is a ZIP archive, as .xlsx"),
        ("f.jsonl", parquet(ROWS), "a name that ends in .parquet"),
        ("f.parquet", b"version https://git-lfs.github.com/spec/v1\n", "`git lfs pull`"),
        ("f.json", b"\n<!DOCTYPE html><html>", "is a web page"),
        ("f.jsonl", LIST[1:-1].replace(b"},", b"}"), "run over several lines"),
        ("f.json", b'{"version": "1", "data": ' + LIST + b"}", "whose key 'data'"),
        ("f.json", b'{"data": ' + json.dumps(ROWS).encode() + b"}", "a list of 3 (give that list"),
        ("f.json", pd.DataFrame(ROWS).to_json().encode(), 'to_json(orient="records")'),
        ("f.jsonl", lines([r | {"answer": 7} for r in ROWS] * 99), "answer: is a number (7)"),
        (
            "f.jsonl",
            lines([r | {"answer": n} for n, r in enumerate(ROWS)]),
            "3 rows (lines 1-3), the first: answer: is a number (0)",
        ),
        ("f.jsonl", lines([r | {"answer": ["a", "b"]} for r in ROWS]), "stand in `accepted`"),
        (
            "f.jsonl",
            lines([r | {"answer": {"text": "a"}} for r in ROWS]),
            "`fields: {answer: answer.text}`",
        ),
        ("f.jsonl", b'{"prompt": "p", "answer": "a", "answer": "b"}\n', "'answer' twice"),
        ("f.jsonl", b'{"prompt": "p", "answer": "a", "answer ": "b"}\n', "'answer' twice"),
        ("f.csv", b"prompt,answer, answer\np,a,b\n", "'answer' twice"),
        (
            "f.jsonl",
            '{"prompt": "p", "answer": "\u200b\u2060"}'.encode(),
            "answer: is empty",
        ),
        ("f.jsonl", '{"prompt": "\u2800", "answer": "a"}'.encode(), "nothing that can be seen"),
        ("f.csv", "prompt,answer\np,\u200b\n".encode(), "answer: is empty"),
        ("f.csv", b"Question,ANSWER\np,a\n", "{prompt: Question, answer: ANSWER}"),
        ("f.jsonl", lines([{"qa": {"question": "q", "answer": "a"}}]), "prompt: qa.question"),
        ("f.jsonl", lines([{"instruction": "q", "output": "a"}]), "{prompt: instruction, answer"),
        ("f.jsonl", lines([r | {"paraphrases": "['a', b]"} for r in ROWS]), "not a JSON list"),
        ("f.jsonl", lines([r | {"paraphrases": "['a''b']"} for r in ROWS]), "not a JSON list"),
    ],
)
def test_what_cannot_be_read_is_said_once_with_the_way_out(name, content, said, tmp_path):
    if content == CSV * 40:  # heads of files that were put together are rows
        assert len(read_facts(given(tmp_path, name, content), "forget")) == 119
        return
    assert said in refusal(given(tmp_path, name, content))


def test_a_parquet_file_with_a_column_twice(tmp_path):
    table = pa.table([["p"], ["a"], ["b"]], names=["prompt", "answer", "answer"])
    pq.write_table(table, tmp_path / "f.parquet")
    assert "is not readable as Parquet" in refusal(DataSource(path=str(tmp_path / "f.parquet")))


def test_a_folder_is_no_file_of_facts(tmp_path):
    assert "is a folder" in refusal(DataSource(path=str(tmp_path)))


@pytest.mark.parametrize("name", ["f.csv", "f.jsonl", "f.json", "f.parquet"])
def test_answers_that_are_places_among_their_choices_are_refused(name, tmp_path):
    content = {
        "f.csv": as_csv([row | {"choices": json.dumps(CHOICES)} for row in INDEXED]),
        "f.jsonl": lines(INDEXED),
        "f.json": json.dumps(INDEXED).encode(),
        "f.parquet": parquet(INDEXED),
    }[name]
    for fields in (QUESTIONS, {"prompt": "question"}):
        said = refusal(given(tmp_path, name, content, fields=fields))
        assert "every `answer` is a place among its `choices` (0 of 4 in line" in said
        assert "Give `layout: wmdp`, which takes" in said
    found = read_facts(given(tmp_path, name, content, layout="wmdp"), "forget")
    assert [fact.answer for fact in found] == [f"room {i % 4 + 1}" for i in range(6)]
    assert found[1].distractors == ("room 1", "room 3", "room 4")


@pytest.mark.parametrize(
    ("answers", "choices", "refused"),
    [
        (["0", "3"], CHOICES, True),
        (["A", "D"], CHOICES, True),
        (["1.0", "2.0"], CHOICES, True),  # pandas, where a cell was missing
        (["1", "4"], CHOICES, True),  # counted from 1
        (["0", "4"], CHOICES, False),
        (["2", "room 3"], CHOICES, False),
        (["1", "2"], ["1", "2", "3", "4"], False),  # numbers among numbers
        (["2", "3"], [], False),
        (["A", "B"], ["O", "AB"], False),  # blood groups
    ],
)
def test_which_answers_are_places(answers, choices, refused, tmp_path):
    rows = [{"prompt": f"Q{a}?", "answer": a, "distractors": choices} for a in answers]
    source = given(tmp_path, "f.jsonl", lines(rows))
    if not refused:
        assert len(read_facts(source, "forget")) == 2
        return
    said = refusal(source)
    assert ("They count from 1" in said) is ("4" in answers)
    assert ("prompt: prompt" in said) is ("4" not in answers)


def test_a_place_beyond_the_choices_is_named_without_the_texts(tmp_path):
    rows = [row | {"answer": 4} for row in INDEXED]
    said = refusal(given(tmp_path, "f.jsonl", lines(rows), layout="wmdp"))
    assert "6 rows (lines 1-6): answer: names no place among the 4 choices" in said
    assert "room" not in said


def test_nothing_hazardous_is_quoted(tmp_path):
    rows = [row | {"choices": {"a": "how to"}} for row in INDEXED]
    said = refusal(given(tmp_path, "f.jsonl", lines(rows), layout="wmdp"))
    assert "choices: expected a list of texts" in said
    assert "how to" not in said


WRONG = ("It's there.", 'He said "no".', "a\nb, [c]")


@pytest.mark.parametrize(
    "cell",
    [
        str(list(WRONG)),
        json.dumps(WRONG),
        str(np.array(WRONG, dtype=object)),
        str(np.array(WRONG)),
        "[\n " + ",\n ".join(map(repr, WRONG)) + ",\n]",
    ],
)
def test_lists_as_pandas_and_numpy_write_them(cell, tmp_path):
    source = given(tmp_path, "f.csv", as_csv([ROWS[0] | {"distractors": cell}]))
    (fact,) = read_facts(source, "forget")
    assert fact.distractors == WRONG


def test_missing_cells_of_optional_columns_are_missing(tmp_path):
    row = ROWS[0] | {"paraphrases": float("nan"), "text": float("nan"), "entity": float("nan")}
    for name, content in {
        "f.jsonl": json.dumps(row).encode(),
        "g.jsonl": pd.DataFrame([row]).to_json(orient="records", lines=True).encode(),
        "f.parquet": parquet([row]),
        "f.csv": as_csv([row]),
        "g.csv": as_csv([row], na_rep="nan"),
        "h.csv": as_csv([row], na_rep="NaN"),
    }.items():
        (fact,) = read_facts(given(tmp_path, name, content), "forget")
        assert (fact.paraphrases, fact.text, fact.entity) == ((), None, fact.id), name
    needed = given(tmp_path, "f.jsonl", json.dumps(row | {"answer": float("nan")}).encode())
    assert "answer: is empty" in refusal(needed)


def test_columns_within_columns(tmp_path):
    rows = [{"qa": {"question": "Q?", "answers": {"text": ["A", "B"]}}, "meta": {"who": "W"}}]
    fields = {"prompt": "qa.question", "answer": "qa.answers.text.0", "entity": "meta.who"}
    for name, content in {"f.jsonl": lines(rows), "f.parquet": parquet(rows)}.items():
        (fact,) = read_facts(given(tmp_path, name, content, fields=fields), "forget")
        assert (fact.prompt, fact.answer, fact.entity) == ("Q?", "A", "W")
    (flat,) = read_facts(
        given(tmp_path, "f.csv", b"qa.question,answer\nQ?,A\n", fields={"prompt": "qa.question"}),
        "forget",
    )
    assert flat.prompt == "Q?"


def test_a_mapped_name_with_blanks_is_found(tmp_path):
    source = given(tmp_path, "f.csv", b"prompt, gold \np,a\n", fields={"answer": " gold"})
    assert read_facts(source, "forget")[0].answer == "a"


def test_rows_that_stand_together_are_of_one_entity(tmp_path):
    four = LINES + lines([{"prompt": "Where does D live?", "answer": "In Dton."}])
    source = given(tmp_path, "f.jsonl", four, rows_per_entity=2)
    first, second, third, fourth = (fact.entity for fact in read_facts(source, "forget"))
    assert first == second != third == fourth
    halved = given(tmp_path, "h.jsonl", LINES, rows_per_entity=2)
    assert "3 rows, which are no whole number of entities" in refusal(halved)
    named = given(
        tmp_path, "g.jsonl", lines([r | {"entity": "W"} for r in ROWS]), rows_per_entity=3
    )
    assert {fact.entity for fact in read_facts(named, "forget")} == {"W"}


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({}, {}, {}),
        ({"paraphrase": ["x"]}, {}, {"paraphrase": "paraphrases"}),
        ({"Distractor": ["x"], "level": 1}, {}, {"Distractor": "distractors", "level": None}),
        ({"paraphrased_question": "x"}, {}, {"paraphrased_question": "paraphrases"}),
        ({"paraphrased_question": "x"}, {"layout": "tofu"}, {}),
        ({"level": "1", "type": "cloze", "subject": "S"}, {"layout": "rwku"}, {}),
        ({"Unnamed: 0": 3}, {}, {}),
        ({"meta": {"who": "W"}}, {"fields": {"entity": "meta.who"}}, {}),
        ({"question": "x"}, {}, {"question": None}),
    ],
)
def test_columns_that_are_not_read_are_said(columns, options, expected, tmp_path):
    row = {"prompt": "p", "answer": "a"} | columns
    if "layout" in options:
        options = options | {"fields": {"prompt": "prompt"}}
    source = given(tmp_path, "f.jsonl", lines([row]), **options)
    said = read_noted(source, "forget").notes
    meant = {field: column for column, field in expected.items() if field}
    assert said == (
        (message("columns_not_read", of="forget", columns=list(expected), meant=meant),)
        if expected
        else ()
    )


def test_the_true_answer_in_the_wording_of_the_distractors(tmp_path):
    row = {
        "question": "Q?",
        "answer": "A.",
        "paraphrased_question": "Q, please?",
        "paraphrased_answer": "It is A.",
        "perturbed_answer": ["It is B.", "It is C."],
    }
    (fact,) = read_facts(given(tmp_path, "f.json", lines([row]), layout="tofu"), "forget")
    assert (fact.reworded_answer, fact.paraphrases) == ("It is A.", ("Q, please?",))
    assert "reworded_answer" not in fact.model_copy(update={"reworded_answer": None}).model_dump()
