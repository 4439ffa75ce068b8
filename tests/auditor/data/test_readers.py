"""Facts out of files: nothing lost, nothing made up, every bad row named."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, is_blank
from auditor.data.choices import place_of
from auditor.data.edges import trimmed
from auditor.data.readers import read_facts
from auditor.data.source import DataSource

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30).filter(
    lambda text: not is_blank(text) and text not in {"nan", "NaN", "<NA>"}
)
asked = texts.map(trimmed).filter(lambda text: text not in {"nan", "NaN", "<NA>"})
lists = st.lists(asked, max_size=3).map(tuple)
facts = st.lists(
    st.builds(
        Fact,
        id=texts,
        entity=texts,
        prompt=asked,
        answer=asked.filter(lambda text: place_of(text) is None),
        paraphrases=lists,
        distractors=lists,
        text=st.none() | texts,
    ),
    min_size=1,
    max_size=5,
).map(tuple)


def rows_of(these):
    return [fact.model_dump(mode="json") for fact in these]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path, rows):
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}
            )


def write_parquet(path, rows):
    schema = pa.schema(
        [
            (k, pa.list_(pa.string()) if isinstance(v, list) else pa.string())
            for k, v in rows[0].items()
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


WRITERS = {"jsonl": write_jsonl, "json": write_json, "csv": write_csv, "parquet": write_parquet}


@pytest.mark.parametrize("ending", WRITERS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(these=facts)
def test_what_is_written_is_read(ending, these, tmp_path):
    path = tmp_path / f"facts.{ending}"
    WRITERS[ending](path, rows_of(these))
    assert read_facts(DataSource(path=str(path)), "forget") == these


def source(tmp_path, content, name="facts.jsonl", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return DataSource(path=str(path), **options)


def refused(found, set_name="forget"):
    with pytest.raises(AuditorError) as caught:
        read_facts(found, set_name)
    return str(caught.value)


def test_every_bad_row_is_named_with_its_file_and_line(tmp_path):
    lines = [
        '{"prompt": "p", "answer": "a"}',
        '{"prompt": "p", "answer": "  "}',
        "not json",
        "",
        "[1, 2]",
        '{"prompt": "p"}',
        '{"prompt": 5, "answer": "a"}',
        '{"prompt": "p", "answer": "a", "distractors": ["x", ""]}',
        '{"prompt": "p", "answer": "a", "distractors": {"x": 1}}',
        '{"prompt": null, "answer": "a"}',
        '{"prompt": "p", "answer": "\\ud800"}',
    ]
    message = refused(source(tmp_path, "\n".join(lines)))
    path = tmp_path / "facts.jsonl"
    assert message.startswith("9 bad row(s) in the forget set")
    said = dict(
        line.strip().removeprefix(f"{path}:").split(": ", 1) for line in message.splitlines()[1:]
    )
    assert said.keys() == {"2", "3", "5", "6", "7", "8", "9", "10", "11"}
    assert said["2"] == "answer: is empty"
    assert "not valid JSON" in said["3"]
    assert said["5"] == "expected a JSON object, found [1, 2]"
    assert "no column `answer`; the columns are `prompt`" in said["6"]
    assert "fields:" in said["6"]
    assert said["7"] == "prompt: is a number (5), and a text is read: write it as text, in quotes"
    assert said["8"] == "distractors: is empty"
    assert said["9"] == "distractors: expected a list of texts ({'x': 1})"
    assert said["10"] == "prompt: is empty"
    assert said["11"].startswith("answer: ")


def test_rows_with_the_same_fault_are_named_together(tmp_path):
    lines = [json.dumps({"question": f"Q{i}", "answer": "a"}) for i in range(96)]
    message = refused(source(tmp_path, "\n".join(lines)))
    assert message.splitlines() == [
        "96 bad row(s) in the forget set:",
        f"  {tmp_path / 'facts.jsonl'}: 96 rows (lines 1-96): no column `prompt`; the file has "
        "`question`: `fields: {prompt: question}`",
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"query": "q", "gt": "a"}, "`fields: {prompt: query, answer: gt}`"),
        ({"promt": "q", "answer": "a"}, "`fields: {prompt: promt}`"),
        ({"x": "q", "answer": "a"}, "the columns are `answer`, `x`"),
    ],
)
def test_a_column_that_may_be_meant_is_suggested(row, said, tmp_path):
    assert said in refused(source(tmp_path, json.dumps(row)))


def test_columns_of_earlier_releases_are_read(tmp_path):
    rows = '{"prompt": "p", "answer": "a", "subject": "who"}'
    (fact,) = read_facts(source(tmp_path, rows), "forget")
    assert fact.entity == "who"
    (fact,) = read_facts(source(tmp_path, rows, fields={"subject": "subject"}), "forget")
    assert fact.entity == "who"


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    assert ":2: not UTF-8 (the byte 0xff, as in Latin-1" in refused(
        source(tmp_path, b'{"prompt": "p", "answer": "a"}\n{"prompt": "\xff", "answer": "a"}\n')
    )
    assert "facts.csv:2: not UTF-8 (the byte 0xff" in refused(
        source(tmp_path, b"prompt,answer\np,\xff\n", "facts.csv")
    )


def test_rows_without_id_or_subject_are_called_by_set_and_line(tmp_path):
    found = source(
        tmp_path, '\n{"prompt": "p", "answer": "a"}\n{"prompt": "q", "answer": "b", "id": 7}'
    )
    first, second = read_facts(found, "retain")
    assert (first.id, first.entity) == ("retain-00002", "retain-00002")
    assert (second.id, second.entity) == ("7", "7")


def test_columns_are_mapped_by_name(tmp_path):
    found = source(
        tmp_path,
        '{"q": "p", "a": "x", "who": 3, "wrong": ["y"], "other": 1}',
        fields={"prompt": "q", "answer": "a", "entity": "who", "distractors": "wrong"},
    )
    (fact,) = read_facts(found, "forget")
    assert (fact.prompt, fact.answer, fact.entity, fact.distractors) == ("p", "x", "3", ("y",))
    bad = source(tmp_path, '{"q": ""}', fields={"prompt": "q", "answer": "gold"})
    assert "no column `gold`" in refused(bad)


@pytest.mark.parametrize(
    ("layout", "row", "expected"),
    [
        (
            "tofu",
            {
                "question": "Q?",
                "answer": "A",
                "paraphrased_answer": "A!",
                "perturbed_answer": ["B", "C"],
            },
            {"prompt": "Q?", "answer": "A", "distractors": ("B", "C")},
        ),
        ("muse", {"question": "Q?", "answer": "A"}, {"prompt": "Q?", "answer": "A"}),
        ("muse-verbatim", {"prompt": "P", "gt": "G"}, {"prompt": "P", "answer": "G"}),
        (
            "rwku",
            {"entity": "S", "level": "1", "query": "Q", "type": "cloze", "answer": "A"},
            {"prompt": "Q", "answer": "A", "entity": "S"},
        ),
    ],
)
def test_published_layouts(layout, row, expected, tmp_path):
    (fact,) = read_facts(source(tmp_path, json.dumps(row), layout=layout), "forget")
    assert {name: getattr(fact, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("forget10_first300", 300, "The author's full name is Hsiao Yun-Hwa."),
        ("retain_300", 300, None),
        ("real_authors_perturbed", 100, None),
        ("world_facts_perturbed", 117, None),
    ],
)
def test_the_published_tofu_questions(name, count, first, shared_data):
    found = read_facts(DataSource(path=str(shared_data / f"{name}.jsonl"), layout="tofu"), "forget")
    assert len(found) == count
    if first:
        assert found[0].answer == first
    by_author = {fact.entity for fact in found}
    assert len(by_author) == (15 if count == 300 else count)
    assert all(len(f.distractors) >= 3 for f in found) is ("perturbed" in name)


def test_a_text_alone_is_a_list_of_one(tmp_path):
    (fact,) = read_facts(
        source(tmp_path, '{"prompt": "p", "answer": "a", "paraphrases": "x"}'), "forget"
    )
    assert fact.paraphrases == ("x",)


def test_csv_with_quotes_newlines_bom_and_empty_cells(tmp_path):
    header = "\ufeffid,entity,prompt,answer,distractors,text\n"
    content = header + '1,,"a\nb","say ""hi""","[""x"", ""y""]",\n'
    (fact,) = read_facts(source(tmp_path, content, "facts.csv"), "forget")
    assert fact == Fact(
        id="1", entity="1", prompt="a\nb", answer='say "hi"', distractors=("x", "y")
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("prompt,answer\np\n", ":2: expected 2 columns"),
        ("prompt,answer\np,a,b\n", ":2: expected 2 columns"),
        ("prompt,answer\np,\n", ":2: answer: is empty"),
        ('prompt,answer,distractors\np,a,"[1"\n', "distractors: not a JSON list"),
        ('prompt,answer\np,a\nq,"never closed\nr,c\ns,d\n', "not readable as CSV"),
        ("prompt,answer,answer\np,a,b\n", "'answer' twice"),
        ("prompt,answer\n", "holds no rows"),
        ("", "holds no rows"),
    ],
)
def test_csv_that_is_not_what_it_seems(content, said, tmp_path):
    assert said in refused(source(tmp_path, content, "facts.csv"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.json", "{}", "holds one object (empty), expected a list"),
        ("x.json", "[{]", "not valid JSON"),
        ("x.json", "[1]", ":1: expected a JSON object"),
        ("x.json", "[]", "holds no rows"),
        ("x.jsonl", "", "holds no rows"),
        ("x.parquet", "PAR1", "not readable as Parquet"),
        ("x.xlsx", "", "is a spreadsheet; save the sheet as CSV"),
        ("x", "", "unknown format"),
    ],
)
def test_files_that_cannot_be_read(name, content, said, tmp_path):
    assert said in refused(source(tmp_path, content, name))


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refused(DataSource(path=str(tmp_path / "none.jsonl")))


def test_nulls_in_parquet_are_named(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"prompt": ["p", "q"], "answer": ["a", None]}), path)
    assert f"{path}:2: answer: is empty" in refused(DataSource(path=str(path)))


def test_a_source_is_a_file_or_a_data_set():
    with pytest.raises(ValidationError, match="either `path`"):
        DataSource()
    with pytest.raises(ValidationError, match="either `path`"):
        DataSource(path="x", dataset="y")
    with pytest.raises(ValidationError, match="layout"):
        DataSource(path="x", layout="nonsense")


@pytest.fixture
def data_set(tmp_path):
    """A folder that `load_dataset` opens without a network."""
    folder = tmp_path / "facts"
    folder.mkdir()
    rows = [{"question": f"Q{i}?", "answer": f"A{i}"} for i in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:1]), folder / "test.parquet")
    return folder


def test_a_hugging_face_data_set(data_set, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = DataSource(dataset=str(data_set), layout="muse")
    assert [(f.prompt, f.answer) for f in read_facts(found, "forget")] == [
        (f"Q{i}?", f"A{i}") for i in range(3)
    ]
    assert len(read_facts(found.model_copy(update={"split": "test"}), "forget")) == 1
    assert "cannot be had" in refused(found.model_copy(update={"split": "validation"}))
    plain = DataSource(dataset=str(data_set))
    assert (
        f"{data_set}/default/train: 3 rows (lines 1-3): no column `prompt`; the file has `question`"
        in refused(plain)
    )


def test_a_data_set_that_cannot_be_had_offline(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    message = refused(DataSource(dataset="nobody/no-such-data", config="c"))
    assert "nobody/no-such-data/c/train cannot be had from the hub" in message


def test_a_broken_data_set_is_named(data_set, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (data_set / "train.parquet").write_bytes(b"PAR1 no more")
    assert "cannot be had" in refused(DataSource(dataset=str(data_set)))
