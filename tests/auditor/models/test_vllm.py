"""vLLM itself, in the environment whose interpreter UNLEARNING_AUDITOR_VLLM names."""

import os

import pytest
import torch
from peft import LoraConfig, get_peft_model
from text_engines import open_served
from tiny_models import PROMPTS, make_model, open_directory, save

from auditor.models.language.decoding import Sampling
from auditor.models.text_engine import (
    INTERPRETER_VARIABLE,
    AskedEngine,
    TextEngine,
    TextServer,
    engine_versions,
)

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get(INTERPRETER_VARIABLE),
        reason=f"{INTERPRETER_VARIABLE} names no environment with vLLM",
    ),
    pytest.mark.timeout(1800),
]

NEW = 16


@pytest.fixture(scope="module")
def asked():
    settings = TextEngine(memory=0.2)
    return AskedEngine(settings=settings, versions=engine_versions(settings), code="c")


@pytest.fixture
def served(asked):
    """Open a model with vLLM; it is closed in the end."""
    opened = []

    def open_(directory, **spec):
        opened.append(open_served(directory, asked, **spec))
        return opened[-1]

    yield open_
    for model in opened:
        model.close()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
def test_vllm_writes_what_transformers_writes(architecture, directories, subjects, served):
    model = served(directories[architecture])
    found = model.generate(PROMPTS * 4, NEW)
    assert model.use.refused is None
    assert model.use.engine == len(found) == 4 * len(PROMPTS)
    assert found == subjects[architecture].generate(PROMPTS * 4, NEW)


def test_answers_of_a_trained_model_are_those_of_transformers(people, served):
    folder = people.model_path("original")
    plain, model = open_directory(folder), served(folder)
    asked = [f"Where was person {i} born?" for i in range(40)]
    assert model.generate(asked, NEW) == plain.generate(asked, NEW)
    assert model.use.engine == 40


def test_texts_end_at_the_models_own_stops(tmp_path, tokenizer, served):
    """Ends that `generation_config.json` names hold, and its penalties do not."""
    network = make_model("llama")
    plain = open_directory(save(tmp_path / "plain", network, tokenizer))
    ids = plain.tokenizer.encode(plain.generate(PROMPTS[:1], NEW)[0])
    network.generation_config.eos_token_id = [0, ids[3]]
    network.generation_config.repetition_penalty = 3.0
    folder = save(tmp_path / "stopped", network, tokenizer)
    model = served(folder)
    found = model.generate(PROMPTS, NEW)
    assert model.use.engine == len(PROMPTS)
    assert found == open_directory(folder).generate(PROMPTS, NEW)
    assert len(found[0]) < len(plain.generate(PROMPTS[:1], NEW)[0])


def test_sampled_texts_are_drawn_from_the_same_distribution(directories, subjects, served):
    """First tokens of 600 texts: total variation to the model's own probabilities."""
    model, plain = served(directories["llama"]), subjects["llama"]
    [start] = model._starts(PROMPTS[:1])
    sampling = Sampling(temperature=0.7, seed=5)
    drawn = [ids[0] for ids in model._written([start] * 600, 1, sampling)]
    again = [ids[0] for ids in model._written([start] * 600, 1, sampling)]
    assert drawn == again
    with torch.inference_mode():
        logits = plain.network(torch.tensor([start])).logits[0, -1] / 0.7
    p = torch.softmax(logits, -1)
    counted = torch.bincount(torch.tensor(drawn), minlength=len(p)) / 600
    exact = torch.multinomial(p, 600, replacement=True, generator=torch.manual_seed(0))
    expected = torch.bincount(exact, minlength=len(p)) / 600
    distance = float((counted - p).abs().sum() / 2)
    assert distance < 1.3 * float((expected - p).abs().sum() / 2)


def test_vllm_with_other_weights_is_refused(directories, subjects, served, tokenizer, tmp_path):
    """The folder is another one by the time that vLLM opens it."""
    folder = save(tmp_path / "model", make_model("llama"), tokenizer)
    model = served(folder)
    assert model.network.dtype == torch.float32
    save(folder, make_model("llama", seed=1), tokenizer)
    assert model.generate(PROMPTS, NEW) == subjects["llama"].generate(PROMPTS, NEW)
    assert model.use.refused.code == "text_engine_differs"


def test_an_adapter_goes_along(directories, served, tmp_path):
    wrapped = get_peft_model(
        make_model("llama"), LoraConfig(r=8, target_modules=["q_proj", "down_proj"])
    )
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "adapter")
    spec = {"adapter": str(tmp_path / "adapter")}
    model, plain = (
        served(directories["llama"], **spec),
        open_directory(directories["llama"], **spec),
    )
    assert model.generate(PROMPTS, NEW) == plain.generate(PROMPTS, NEW)
    assert model.use.refused is None
    assert model.use.engine == len(PROMPTS)


def test_logits_that_are_no_numbers_are_told(tmp_path, tokenizer, asked):
    network = make_model("llama")
    with torch.no_grad():
        network.model.norm.weight.fill_(float("nan"))
    folder = save(tmp_path / "broken", network, tokenizer)
    order = {"model": str(folder), "adapter": None, "rank": 0, "dtype": "float32"}
    server = TextServer(asked, order, 1, range(torch.cuda.device_count()))
    try:
        with pytest.raises(Exception, match="not finite"):
            server.write([[5, 6, 7]], 4, [0])
    finally:
        server.close()
