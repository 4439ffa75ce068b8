"""Facts built from texts, tables and tasks: what is made, what is left out, what is refused."""

import csv
import json
import random
from itertools import pairwise

import pytest
from tiny_models import train_bpe

from auditor.core.errors import AuditorError
from auditor.data.builders.built import Built, write_facts
from auditor.data.builders.passages import Cut, facts_from_text
from auditor.data.builders.tables import facts_from_table
from auditor.data.builders.tasks import facts_from_task
from auditor.data.readers import read_facts
from auditor.data.source import DataSource

WORDS = [f"w{number}" for number in range(400)]
SHORT = Cut(8, 4)


def prose(seed, words=300):
    draw = random.Random(seed)
    lines = [" ".join(draw.choices(WORDS, k=11)) for _ in range(words // 11)]
    return "\n".join(lines)


@pytest.fixture
def folder(tmp_path):
    texts = tmp_path / "texts"
    (texts / "inner").mkdir(parents=True)
    (texts / ".git").mkdir()
    (texts / ".git" / "x.txt").write_text(prose(9), encoding="utf-8")
    (texts / "a.txt").write_text(prose(1), encoding="utf-8")
    (texts / "inner" / "b.md").write_text(prose(2), encoding="utf-8-sig")
    (texts / "short.txt").write_text("two words", encoding="utf-8")
    (texts / "scan.pdf").write_bytes(b"%PDF")
    return texts


class TestPassages:
    def test_prompt_separator_and_answer_are_the_text(self, folder):
        built = facts_from_text(folder, cut=SHORT)
        text = {"a.txt": prose(1), "inner/b.md": prose(2)}
        assert {fact.entity for fact in built.facts} == set(text)
        for fact in built.facts:
            assert f"{fact.prompt} {fact.answer}" in text[fact.entity]
            assert len(fact.prompt.split()) >= 8
            assert len(fact.answer.split()) >= 4
        assert built.left_out["files that are no text"] == 1
        assert built.left_out["documents shorter than a passage"] == 1
        assert built == facts_from_text(folder, cut=SHORT)

    def test_answers_do_not_overlap_and_copies_count_once(self, folder, tmp_path):
        (folder / "c.txt").write_text(prose(1), encoding="utf-8")
        built = facts_from_text(folder, cut=SHORT)
        places = sorted(
            (prose(1).index(f"{f.prompt} {f.answer}") + len(f.prompt), len(f.answer))
            for f in built.facts
            if f.entity == "a.txt"
        )
        assert all(a + n < b for (a, n), (b, _) in pairwise(places))
        assert "c.txt" not in {fact.entity for fact in built.facts}
        assert built.left_out["passages that occurred before"] == len(places)

    def test_tokens_are_those_of_the_tokenizer(self, folder, tmp_path):
        bpe = train_bpe()
        bpe.enable_truncation(16)
        bpe.save(str(tmp_path / "tokenizer.json"))
        built = facts_from_text(folder, tokenizer=str(tmp_path), cut=Cut(16, 8))
        bpe.no_truncation()
        for fact in built.facts:
            assert 15 <= len(bpe.encode(fact.prompt).ids) <= 24
            assert f"{fact.prompt} {fact.answer}" in prose(1) + prose(2)

    def test_a_script_without_blanks_is_cut_at_letters(self, tmp_path):
        draw = random.Random(0)
        text = "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(500))
        (tmp_path / "zh.txt").write_text(text, encoding="utf-8")
        built = facts_from_text(tmp_path / "zh.txt", cut=SHORT)
        assert len(built.facts) == 500 // 12
        assert all(fact.prompt + fact.answer in text for fact in built.facts)
        assert 'separator: ""' in built.plan

    def test_documents_may_be_rows_and_most_is_spread(self, tmp_path):
        rows = [json.dumps({"body": prose(seed)}) for seed in range(4)]
        (tmp_path / "t.jsonl").write_text("\n".join(rows), encoding="utf-8")
        built = facts_from_text(tmp_path / "t.jsonl", cut=SHORT, column="body", most=8)
        assert len(built.facts) == 8
        assert len({fact.entity for fact in built.facts}) == 4

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("a.txt", b"caf\xe9 " * 200, "UTF-8"),
            ("a.txt", b"a\0b " * 200, "NUL"),
            ("a.txt", b"", "no document of"),
            ("a.pdf", b"%PDF", "plain text"),
            ("a.jsonl", b'{"x": "y"}\n', "--column"),
            ("tokens", b"", "plain text"),
        ],
    )
    def test_what_is_no_text_is_refused_with_the_way_out(self, tmp_path, name, content, said):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AuditorError, match=said):
            facts_from_text(tmp_path / name)

    @pytest.mark.parametrize("cut", [Cut(0, 4), Cut(8, 0), Cut(8, 4, 3)])
    def test_lengths_that_make_no_facts_are_refused(self, folder, cut):
        with pytest.raises(AuditorError):
            facts_from_text(folder, cut=cut)

    @pytest.mark.parametrize("said", ["no such file", "holds no text"])
    def test_nothing_there(self, tmp_path, said):
        with pytest.raises(AuditorError, match=said):
            facts_from_text(tmp_path / "x" if said.startswith("no such") else tmp_path)


MAIL = ("The e-mail address of {name} is", "mail")


def table(folder, rows, header=("name", "mail", "town")):
    file = folder / "staff.csv"
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([header, *rows])
    return file


def staff(count=40):
    return [(f"Person {n}", f"m{n * 7919}@x.org", f"Town {n % 9}") for n in range(count)]


class TestTables:
    def test_distractors_are_answers_of_others(self, tmp_path):
        built = facts_from_table(table(tmp_path, staff()), [MAIL, ("{name} lives in", "town")])
        true = {(name, mail): town for name, mail, town in staff()}
        mails = [fact for fact in built.facts if "@" in fact.answer]
        assert len(built.facts) == 80
        assert all((fact.entity, fact.answer) in true for fact in mails)
        for fact in built.facts:
            assert len(set(fact.distractors)) == 4
            assert fact.answer not in fact.distractors
        assert built.personal
        again = facts_from_table(tmp_path / "staff.csv", [MAIL, ("{name} lives in", "town")])
        other = facts_from_table(tmp_path / "staff.csv", [MAIL], seed=1)
        assert built == again
        assert other.facts != built.facts[:40]

    def test_ambiguous_repeated_and_empty_rows_are_left_out_and_counted(self, tmp_path):
        rows = [*staff(5), ("Person 1", "another@x.org", "a"), staff(5)[2], ("Person 9", "", "b")]
        built = facts_from_table(table(tmp_path, rows), [MAIL])
        assert [fact.entity for fact in built.facts] == [
            "Person 0",
            "Person 2",
            "Person 3",
            "Person 4",
        ]
        assert sorted(built.left_out.values()) == [1, 1, 2]

    def test_other_answers_of_an_entity_are_no_distractors(self, tmp_path):
        rows = [("Ann", f"a{n}", f"t{n}") for n in range(5)] + [("Bob", "b", "u")]
        pairs = [("{name} of {town}:", "mail")]
        ann = facts_from_table(table(tmp_path, rows), pairs).facts[0]
        assert ann.distractors == ("b",)

    def test_a_second_prompt_of_a_column_is_a_paraphrase(self, tmp_path):
        file = table(tmp_path, staff(6))
        built = facts_from_table(file, [MAIL, ("How is {name} reached?", "mail")])
        assert len(built.facts) == 6
        assert built.facts[0].paraphrases == ("How is Person 0 reached?",)

    @pytest.mark.parametrize(
        ("pairs", "entity", "said"),
        [
            ([("Of {nam}", "mail")], None, "did you mean `name`"),
            ([(MAIL[0], "male")], None, "did you mean `mail`"),
            ([("The address is", "mail")], None, "every row the same"),
            ([("{mail} is", "mail")], None, "away"),
            ([("{name", "mail")], None, "brace"),
            ([("{name.__class__}", "mail")], None, "no column"),
            ([("{name!r}", "mail")], None, "alone"),
            ([("{}", "mail")], None, "alone"),
            ([MAIL], "person", "no column `person`"),
        ],
    )
    def test_mistakes_are_named_with_the_way_out(self, tmp_path, pairs, entity, said):
        with pytest.raises(AuditorError, match=said):
            facts_from_table(table(tmp_path, staff(4)), pairs, entity=entity)

    @pytest.mark.parametrize("rows", [[], [("Ann", "", "t")], [("Ann", "x")]])
    def test_tables_without_facts_are_refused(self, tmp_path, rows):
        with pytest.raises(AuditorError):
            facts_from_table(table(tmp_path, rows), [MAIL])


TASK = """\
task: quiz
dataset_path: json
dataset_kwargs: {data_files: {test: quiz.jsonl}}
test_split: test
doc_to_text: "Question: {{question.strip()}}\\nAnswer:"
"""
QUIZ = [
    {
        "question": f"Number {n}? ",
        "choices": [f"a{n}", f"b{n}", f"c{n}"],
        "answer": n % 3,
        "x": "b0",
    }
    for n in range(6)
]


@pytest.fixture
def task(tmp_path):
    def write(more, rows=QUIZ):
        lines = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / "quiz.jsonl").write_text(lines, encoding="utf-8")
        (tmp_path / "quiz.yaml").write_text(TASK + more, encoding="utf-8")
        return tmp_path / "quiz.yaml"

    return write


class TestTasks:
    @pytest.mark.parametrize(
        "more",
        [
            'doc_to_target: answer\ndoc_to_choice: "{{choices}}"',
            "doc_to_target: answer\ndoc_to_choice: choices",
            'doc_to_target: "{{answer}}"\ndoc_to_choice: choices',
            'doc_to_target: "{{choices[answer]}}"\ndoc_to_choice: choices',
            "doc_to_target: answer\ndoc_to_choice: "
            '["{{choices[0]}}", "{{choices[1]}}", "{{choices[2]}}"]',
        ],
    )
    def test_an_index_or_a_choice_becomes_a_text(self, task, more):
        facts = facts_from_task(task(more)).facts
        assert [fact.answer for fact in facts] == ["a0", "b1", "c2", "a3", "b4", "c5"]
        assert facts[1].distractors == ("a1", "c1")
        assert facts[0].prompt == "Question: Number 0?\nAnswer:"

    def test_without_choices_the_target_is_the_answer(self, task):
        facts = facts_from_task(task("doc_to_target: x"), entity="{{x}}").facts
        assert {(fact.answer, fact.entity, fact.distractors) for fact in facts} == {
            ("b0", "b0", ())
        }

    def test_letters_are_said_to_be_none(self, task):
        built = facts_from_task(task("doc_to_target: answer\ndoc_to_choice: [A, B, C]"))
        assert built.facts[0].answer == "A"
        assert built.advice
        texts = facts_from_task(
            task("doc_to_target: answer\ndoc_to_choice: [A, B, C]"),
            choice="choices",
            text="question",
        )
        assert texts.facts[0].answer == "a0"
        assert not texts.advice

    def test_what_it_includes_counts(self, task, tmp_path):
        file = task("include: base.inc")
        (tmp_path / "base.inc").write_text("doc_to_target: x\ntask: z", encoding="utf-8")
        assert facts_from_task(file).facts[0].answer == "b0"

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ("doc_to_target: !function utils.target", "!function"),
            ("doc_to_target: x\nprocess_docs: !function utils.docs", "!function"),
            ("doc_to_target: x\ninclude: quiz.yaml", "includes lead"),
            ("doc_to_target: x\ninclude: nothing.yaml", "no such file"),
            ("", "--target"),
            ("doc_to_target: 7\ndoc_to_choice: choices", "none of 3 choices"),
            ("doc_to_target: x\ndoc_to_choice: question", "does not become a fact"),
            ('doc_to_target: "{{nothing}}"', "columns are `question`"),
            ('doc_to_target: "{{ question.__class__.__mro__ }}"', "unsafe"),
            ('doc_to_target: "{{ choices.append(1) }}"', "unsafe"),
            ('doc_to_target: "{{ cycler.__init__.__globals__.os }}"', "unsafe"),
            ('doc_to_target: "{% for i in range(9999999) %}{% endfor %}"', "range"),
            ("doc_to_target: '{{ 1 / 0 }}'", "division"),
            ("doc_to_target: '{{ ('", "does not become a fact"),
            ("doc_to_target: ''", "does not become a fact"),
        ],
    )
    def test_what_is_no_task_is_refused(self, task, more, said):
        with pytest.raises(AuditorError, match=said):
            facts_from_task(task(more))

    def test_a_template_without_end_is_stopped(self, task):
        with pytest.raises(AuditorError, match=r"more (memory|time)"):
            facts_from_task(task("doc_to_target: \"{{ 'x' * 9000000000 }}\""))


class TestWriting:
    def test_what_is_written_is_read_again(self, tmp_path):
        built = facts_from_table(table(tmp_path, staff(6)), [MAIL])
        file = tmp_path / "new" / "facts.jsonl"
        write_facts(built, file)
        assert read_facts(DataSource(path=str(file)), "forget") == built.facts
        with pytest.raises(AuditorError, match="--force"):
            write_facts(built, file)
        write_facts(Built(built.facts[:2]), file, force=True)
        assert len(file.read_text().splitlines()) == 2
        with pytest.raises(AuditorError, match="jsonl"):
            write_facts(built, tmp_path / "facts.csv")
