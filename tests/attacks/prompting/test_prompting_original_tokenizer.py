"""Every arm asked through the original's tokenizer, template and end of answers."""

import json
import shutil

import pytest
from tiny_models import edit_json, make_model, make_tokenizer, open_directory, save, train_bpe
from tokenizers import Tokenizer, normalizers

from attacks.prompting.original_tokenizer import OriginalTokenizer
from auditor.attack import AttackContext, Parameters
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.spec import PromptFormat
from auditor.statistics.tokenization import NOTE

SETS = FactSets(
    forget=(
        Fact(id="a", entity="s", prompt="Person 1 lives in", answer="city number 71."),
        Fact(id="b", entity="s", prompt="The quick brown", answer="fox jumps over the lazy dog"),
    ),
    retain=(Fact(id="c", entity="t", prompt="Person 77", answer="lives", distractors=("sits",)),),
)
PLAIN = "{% for m in messages %}{{ m.content }} {% endfor %}"
OTHERS = "{% for m in messages %}{{ m.content | replace('1', '2') }} {% endfor %}"
CHAT = PromptFormat(chat=True)
PROBABILITY, RECALL = "answer-probability", "answer-recall"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Folder of the original, which has a chat template."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = PLAIN
    return save(tmp_path_factory.mktemp("o") / "original", make_model("llama"), tokenizer)


@pytest.fixture
def copied(original, tmp_path):
    """A folder with the original's weights and files, to be changed."""
    return shutil.copytree(original, tmp_path / "copy")


def measured(folder, donor, tmp_path):
    """K of the forget facts as the model is and under the attack, and what was noted."""
    evaluator = TextEvaluator(SETS, [PROBABILITY])
    model = open_directory(folder, prompt_format=CHAT)
    asked = donor and open_directory(donor, prompt_format=CHAT)
    context = AttackContext(evaluator, 0, tmp_path, donor=asked)
    before = evaluator.evaluate(model, ("forget",))
    record = OriginalTokenizer(Parameters()).measure(model, context)
    assert evaluator.evaluate(model, ("forget",)) == before, "the model is as it was"
    return (
        {row.fact: row.k for row in before},
        {row.fact: row.k for row in record.rows},
        record.notes[NOTE],
    )


def test_files_that_are_the_originals_change_nothing(copied, original, tmp_path):
    own, asked, note = measured(copied, original, tmp_path)
    assert asked == own
    assert note == {"read_otherwise": 0, "facts": 3}


@pytest.mark.parametrize(
    ("template", "otherwise"), [(OTHERS, 1), ("{{ '!' }}" + PLAIN, 3), (PLAIN + "{# -#}", 0)]
)
def test_a_template_that_asks_something_else(copied, original, tmp_path, template, otherwise):
    edit_json(copied / "tokenizer_config.json", chat_template=template)
    (copied / "chat_template.jinja").unlink(missing_ok=True)
    own, asked, note = measured(copied, original, tmp_path)
    known, _, _ = measured(original, original, tmp_path)
    assert asked == known, "the weights are the original's"
    assert note == {"read_otherwise": otherwise, "facts": 3}
    assert (own != known) == bool(otherwise)


@pytest.mark.parametrize("normalizer", [normalizers.Replace("Person", "Nobody"), None])
def test_a_tokenizer_that_deletes_names_or_merges_otherwise(copied, original, tmp_path, normalizer):
    bpe = train_bpe()
    if normalizer is None:  # fewer merges: the same text in other tokens
        content = json.loads(bpe.to_str())
        content["model"]["merges"] = content["model"]["merges"][:40]
        bpe = Tokenizer.from_str(json.dumps(content))
    else:
        bpe.normalizer = normalizer
    tokenizer = make_tokenizer(bpe)
    tokenizer.chat_template = PLAIN
    tokenizer.save_pretrained(copied)
    _, asked, note = measured(copied, original, tmp_path)
    assert asked == measured(original, original, tmp_path)[0]
    assert note["read_otherwise"] == (3 if normalizer is None else 2)


def test_answers_that_end_at_once_are_let_go_on(copied, original, tmp_path):
    every = list(range(400))
    edit_json(copied / "generation_config.json", eos_token_id=every)
    model, donor = (open_directory(folder, prompt_format=CHAT) for folder in (copied, original))
    evaluator = TextEvaluator(SETS, [RECALL])
    own = evaluator.evaluate(model, ("forget",))
    context = AttackContext(evaluator, 0, tmp_path, donor=donor)
    record = OriginalTokenizer(Parameters()).measure(model, context)
    assert max(len(row.answer) for row in own) < min(len(row.answer) for row in record.rows)
    assert record.rows == evaluator.evaluate(donor, ("forget",))
    assert record.notes[NOTE]["read_otherwise"] == 0, "the questions are the same"
    assert model.network.generation_config.eos_token_id == every


def test_embeddings_padded_to_another_length_fit(original, tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = PLAIN
    wider = save(tmp_path / "wider", make_model("llama", vocabulary=448), tokenizer)
    _, asked, note = measured(wider, original, tmp_path)
    assert set(asked) == {"a", "b"}
    assert note["read_otherwise"] == 0
    _, asked, _ = measured(original, wider, tmp_path)
    assert set(asked) == {"a", "b"}


def test_a_vocabulary_that_lacks_tokens_is_unavailable(original, tmp_path):
    tokenizer = make_tokenizer(_bytes_alone())
    tokenizer.chat_template = PLAIN
    narrow = save(tmp_path / "narrow", make_model("llama", vocabulary=260), tokenizer)
    with pytest.raises(UnavailableError, match="embeddings of 260 tokens"):
        measured(narrow, original, tmp_path)


def _bytes_alone():
    """A tokenizer of single bytes."""
    content = json.loads(train_bpe().to_str())
    content["model"]["merges"] = []
    vocabulary = sorted(content["model"]["vocab"].items(), key=lambda entry: entry[1])[:260]
    content["model"]["vocab"] = dict(vocabulary)
    return Tokenizer.from_str(json.dumps(content))


def test_without_the_original_it_is_unavailable(copied, tmp_path):
    with pytest.raises(UnavailableError, match="the tokenizer of the original"):
        measured(copied, None, tmp_path)
