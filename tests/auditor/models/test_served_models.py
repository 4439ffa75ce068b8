"""Another engine writes a model's texts only while it holds what the network is."""

import json
import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from text_engines import ASKED, open_served, use_worker
from text_worker import VERSIONS
from tiny_models import PROMPTS, make_model, open_directory, save
from torch import nn

from attacks.prompting.soft_prompted import soft_prompted
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from auditor.core.errors import AuditorError
from auditor.models import text_engine
from auditor.models.language.decoding import Sampling
from auditor.models.network_state import NetworkState
from auditor.models.text_engine import EngineError, TextServer

NEW = 12


@pytest.fixture
def served(monkeypatch):
    """Open a model with an engine that goes wrong as is said; it is closed in the end."""
    opened = []

    def open_(directory, asked=ASKED, spec=None, **settings):
        use_worker(monkeypatch, **settings)
        opened.append(open_served(directory, asked, **(spec or {})))
        return opened[-1]

    yield open_
    for model in opened:
        model.close()


@pytest.fixture(scope="module")
def kept(directories):
    """A Llama with an engine; a test leaves it as it found it."""
    with pytest.MonkeyPatch.context() as patched:
        use_worker(patched)
        model = open_served(directories["llama"])
        model.generate(PROMPTS, NEW)
        yield model
        model.close()


@pytest.fixture(scope="module")
def other(tmp_path_factory, tokenizer):
    """Folder of a Llama of the same form with other weights."""
    folder = tmp_path_factory.mktemp("other") / "model"
    return save(folder, make_model("llama", seed=1), tokenizer)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_engine_writes_what_the_network_would(architecture, directories, subjects, served):
    model = served(directories[architecture])
    assert model.generate(PROMPTS, NEW) == subjects[architecture].generate(PROMPTS, NEW)
    assert (model.use.engine, model.use.network) == (len(PROMPTS), 0)
    assert model.use.tokens > 0
    assert model.use.refused is None
    assert model.meter.forward_tokens > 0


def test_sampled_texts_follow_the_seed_and_not_each_other(kept):
    model, used = kept, replace(kept.use)
    asked = [PROMPTS[0]] * 6
    first = model.generate(asked, NEW, Sampling(seed=1))
    assert len(set(first)) > 3, "texts of one prompt are drawn by different numbers"
    assert model.generate(asked, NEW, Sampling(seed=1)) == first
    assert model.generate(asked, NEW, Sampling(seed=2)) != first
    assert model.use.since(used).engine == 18


def test_traces_of_thought_are_written_by_the_engine_too(thinker, served):
    plain, model = open_directory(thinker), served(thinker)
    asked = ["Where does Ada live?"] * 2
    assert model.generate(asked, 8) == plain.generate(asked, 8)
    assert model.use.engine > 0


@contextmanager
def shifted(network):
    head = network.get_output_embeddings().weight
    with torch.no_grad():
        head.add_(torch.randn(head.shape, generator=torch.manual_seed(3)))
    yield


@contextmanager
def lent(model):
    with model.preserve_weights() as network, shifted(network):
        yield model


@contextmanager
def by_data(model):
    """In-place changes through ``.data`` leave no trace in a tensor's version."""
    with model.preserve_weights() as network:
        weight = network.model.layers[1].mlp.down_proj.weight
        version = weight._version
        weight.data.mul_(-3)
        assert weight._version == version
        yield model


@contextmanager
def replaced_tensor(model):
    with model.preserve_weights() as network:
        for parameter in network.model.layers.parameters():
            parameter.data = 0.5 * parameter.data
        yield model


@contextmanager
def buffer(model):
    with model.preserve_weights() as network:
        network.model.rotary_emb.inv_freq.mul_(3)
        yield model


@contextmanager
def relearned(model):
    items = model.encode([("Person 3 lives in", "a house that nobody knows")] * 4, end=True)
    settings = FineTuning(learning_rate=0.05, batch_size=4)
    with learner(model, items, settings, seed=0) as pupil:
        pupil.advance(4)
        yield model


@contextmanager
def fine_tuned(model):
    items = model.encode([("Person 3 lives in", "a house that nobody knows")] * 4, end=True)
    with (
        model.preserve_weights(),
        learner(
            model, items, FineTuning(method="full", learning_rate=0.05, batch_size=4), seed=0
        ) as pupil,
    ):
        pupil.advance(4)
        yield model


@contextmanager
def adapted(model):
    """Adapters that PEFT puts on with weights that change nothing, and then changes."""
    torch.manual_seed(4)
    wrapped = get_peft_model(model.network, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
    try:
        yield model
    finally:
        wrapped.unload()


@contextmanager
def hooked(model):
    handle = model.network.model.layers[0].register_forward_hook(
        lambda module, args, out: -out if isinstance(out, torch.Tensor) else (-out[0], *out[1:])
    )
    with handle:
        yield model


@contextmanager
def hooked_before(model):
    with model.network.model.norm.register_forward_pre_hook(lambda module, args: (-args[0],)):
        yield model


@contextmanager
def hooked_everywhere(model):
    def negated(module, args, out):
        return -out if type(module) is nn.Linear else None

    with nn.modules.module.register_module_forward_hook(negated):
        yield model


@contextmanager
def run_otherwise(model):
    layer = model.network.model.layers[0].mlp
    run = layer.forward
    layer.forward = lambda states: -run(states)
    try:
        yield model
    finally:
        del layer.forward


@contextmanager
def run_otherwise_in_class(model):
    kind = type(model.network.model.layers[0].mlp)
    run = kind.forward
    kind.forward = lambda self, states: -run(self, states)
    try:
        yield model
    finally:
        kind.forward = run


@contextmanager
def other_module(model):
    layer = model.network.model.layers[0]
    held, layer.mlp = layer.mlp, nn.Identity()
    try:
        yield model
    finally:
        layer.mlp = held


@contextmanager
def scaled_attention(model):
    """A number in a module, which is no weight."""
    attention = model.network.model.layers[0].self_attn
    attention.scaling *= 40
    try:
        yield model
    finally:
        attention.scaling /= 40


@contextmanager
def training(model):
    with model.unchanged_weights() as network:
        network.train()
        yield model


@contextmanager
def soft(model):
    vectors = 3 * torch.randn(4, model.config.hidden_size, generator=torch.manual_seed(0))
    with soft_prompted(model, vectors, "before") as prompted:
        yield prompted


@contextmanager
def grafted(model):
    """A copy with another network."""
    network = make_model("llama", seed=9)
    yield model.copy_with(network=network)


@contextmanager
def adapted_and_hooked(model):
    with adapted(model), hooked_before(model):
        yield model


@contextmanager
def adapted_and_lent(model):
    with adapted(model):
        weight = model.network.model.layers[1].mlp.down_proj.base_layer.weight
        before = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(-3)
        try:
            yield model
        finally:
            with torch.no_grad():
                weight.copy_(before)


CHANGED = (
    *(lent, by_data, replaced_tensor, buffer, fine_tuned, hooked),
    *(adapted_and_hooked, adapted_and_lent),
    *(hooked_before, hooked_everywhere, run_otherwise, run_otherwise_in_class, other_module),
    *(scaled_attention, soft, grafted),
)


@pytest.mark.parametrize("changed", CHANGED, ids=lambda each: each.__name__)
def test_what_changes_a_model_is_seen_by_its_texts(changed, directories, kept):
    model, plain = kept, open_directory(directories["llama"])
    before = plain.generate(PROMPTS, NEW)
    assert model.generate(PROMPTS, NEW) == before
    engine = model.use.engine
    with changed(plain) as held:
        expected = held.generate(PROMPTS, NEW)
    assert expected != before, "else it would not matter who is asked"
    with changed(model) as held:
        assert held.generate(PROMPTS, NEW) == expected
    assert model.use.engine == engine, "the engine was not asked meanwhile"
    assert model.generate(PROMPTS, NEW) == before
    assert model.use.engine == engine + len(PROMPTS), "and is asked again of what is as it was"


@pytest.mark.parametrize("trained", [relearned, adapted], ids=lambda each: each.__name__)
def test_a_checkpoint_of_lora_is_written_by_the_engine_with_it(trained, directories, kept):
    model, plain, asked = kept, open_directory(directories["llama"]), len(PROMPTS)
    before = plain.generate(PROMPTS, NEW)
    with trained(plain) as held:
        expected = held.generate(PROMPTS, NEW)
    assert expected != before
    used = replace(model.use)
    with trained(model) as held:
        assert held.generate(PROMPTS, NEW) == expected
        found = model.use.since(used)
        assert (found.adapted, found.unadapted, found.network) == (asked, 0, 0)
    assert model.generate(PROMPTS, NEW) == before
    assert model.use.since(used).engine == 2 * asked
    assert model.use.adapters_refused is None


def test_an_engine_that_passes_over_adapters_is_refused_for_them_alone(directories, served):
    """vLLM leaves out what it finds no layer for, and says so in a log at most."""
    model, plain = served(directories["llama"], plain=True), open_directory(directories["llama"])
    with adapted(plain):
        expected = plain.generate(PROMPTS, NEW)
    with adapted(model):
        assert model.generate(PROMPTS, NEW) == expected
    assert (model.use.adapted, model.use.refused) == (0, None)
    assert model.use.unadapted > 0
    assert model.use.adapters_refused.code == "text_engine_differs"
    assert model.generate(PROMPTS, NEW) == plain.generate(PROMPTS, NEW)
    assert model.use.engine == len(PROMPTS)


def test_modes_are_a_part_of_what_a_network_is(kept):
    used = replace(kept.use)
    with training(kept):
        kept.generate(PROMPTS, NEW)
    found = kept.use.since(used)
    assert (found.engine, found.network) == (0, len(PROMPTS))


def test_copies_and_models_opened_alike_have_no_engine(directories, tmp_path, monkeypatch):
    use_worker(monkeypatch, fault="dies")
    model = open_served(directories["llama"])
    with model.reloaded(tmp_path) as copy:
        copy.generate(PROMPTS, NEW)
        assert (copy.use.engine, copy.use.network) == (0, len(PROMPTS))
    alike = model.opened_alike(model.location)
    alike.generate(PROMPTS, NEW)
    assert (alike.use.engine, alike.use.network) == (0, len(PROMPTS))
    assert model.use.refused is None


def test_an_engine_with_other_weights_is_refused_and_the_network_writes(
    directories, subjects, served, other
):
    """A canary that cannot fail is none."""
    model = served(directories["llama"], fault="other", model=other)
    assert model.generate(PROMPTS, NEW) == subjects["llama"].generate(PROMPTS, NEW)
    assert (model.use.engine, model.use.network) == (0, len(PROMPTS))
    assert model.use.refused.code == "text_engine_differs"
    assert float(model.use.refused.params["shortfall"]) > 10 * model.use.refused.params["allowed"]


def test_a_slightly_other_model_is_refused(directories, served, tmp_path, tokenizer):
    """What noise of a hundredth does to the weights is far beyond rounding."""
    network = make_model("llama")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * parameter.std() * torch.randn_like(parameter))
    noised = save(tmp_path / "noised", network, tokenizer)
    model = served(directories["llama"], fault="other", model=noised)
    model.generate(PROMPTS, NEW)
    assert model.use.refused.code == "text_engine_differs"


@pytest.mark.parametrize(("sampling", "at"), [(None, 2), (Sampling(seed=3), 3)])
def test_an_engine_that_changes_later_fails_the_measurement(
    sampling, at, directories, served, other
):
    """Its earlier texts were taken for the model's own, so it cannot be passed over."""
    model = served(directories["llama"], fault="other", model=other, at=at)
    model.generate(PROMPTS, NEW, sampling)
    with pytest.raises(EngineError, match="another model than the one in memory"):
        model.generate(PROMPTS, NEW, sampling)


FAULTS = {
    "dies": "ended .exit 1.: the engine had an accident",
    "garbage": "said what is no answer: .Processed prompts",
    "silent": "silent for",
    "short": "wrote .* texts",
    "another": "answered another question",
    "faulty": "ValueError: not finite",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_that_fails_at_first_is_refused_in_words(
    fault, directories, subjects, served, monkeypatch
):
    if fault == "silent":
        monkeypatch.setattr(text_engine, "_PATIENCE", 1.0)
        monkeypatch.setattr(text_engine, "_SLOWEST", 1e6)
    model = served(directories["llama"], fault=fault)
    assert model.generate(PROMPTS, NEW) == subjects["llama"].generate(PROMPTS, NEW)
    assert model.use.refused.code == "text_engine_failed"
    assert re.search(FAULTS[fault], model.use.refused.params["error"])


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=() if f == "dies" else pytest.mark.nightly) for f in FAULTS]
)
def test_an_engine_that_fails_later_fails_the_measurement(fault, directories, served, monkeypatch):
    model = served(directories["llama"], fault=fault, at=2)
    model.generate(PROMPTS, NEW)
    if fault == "silent":
        monkeypatch.setattr(text_engine, "_PATIENCE", 1.0)
        monkeypatch.setattr(text_engine, "_SLOWEST", 1e6)
    with pytest.raises(EngineError, match=FAULTS[fault]):
        model.generate(PROMPTS, NEW)


def test_a_killed_process_fails_the_measurement(directories, served):
    model = served(directories["llama"])
    model.generate(PROMPTS, NEW)
    model._server._process.kill()
    with pytest.raises(EngineError, match="ended"):
        model.generate(PROMPTS, NEW)


@pytest.mark.nightly
def test_the_process_ends_with_the_model_and_comes_back(directories, served):
    model = served(directories["llama"])
    model.generate(PROMPTS, NEW)
    process = model._server._process
    model.close()
    assert process.poll() is not None
    model.generate(PROMPTS, NEW)
    assert model.use.engine == 2 * len(PROMPTS)


def test_an_engine_of_other_versions_is_no_engine_of_this_audit(directories, served):
    asked = ASKED.model_copy(update={"versions": {**VERSIONS, "torch": "1"}})
    with pytest.raises(AuditorError, match="of other versions"):
        served(directories["llama"], asked).generate(PROMPTS, NEW)


@pytest.mark.parametrize(
    ("visible", "gpus", "seen"),
    [(None, (), ""), (None, (1,), "1"), ("GPU-a,GPU-b", (1,), "GPU-b"), ("", (), "")],
)
def test_the_engine_sees_the_gpus_of_the_network_alone(
    visible, gpus, seen, directories, monkeypatch, tmp_path
):
    use_worker(monkeypatch, gpus=tmp_path / "gpus")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    order = {"model": str(directories["llama"]), "rank": 0, "dtype": "float32"}
    TextServer(ASKED, order, 1, gpus).close()
    assert (tmp_path / "gpus").read_text() == seen


def test_scores_are_the_networks_own(directories, served, tmp_path):
    log = tmp_path / "log"
    model = served(directories["llama"], log=log)
    model.score([("Person 3 lives in", "city number 21.")])
    model.places([("Person 3 lives in", "city number 21.")])
    assert not log.exists()
    assert model._server is None


def test_the_engine_is_asked_in_the_audits_own_tokens(directories, served, tmp_path):
    log = tmp_path / "log"
    model = served(directories["llama"], log=log)
    model.generate(PROMPTS[:2], NEW)
    order, canary, question = map(json.loads, log.read_text().splitlines())
    ids = [model.tokenizer(prompt)["input_ids"] for prompt in PROMPTS[:2]]
    assert canary["prompts"] == question["prompts"] == ids
    assert (canary["most"], canary["stops"]) == (32, [])
    assert (question["most"], question["stops"]) == (NEW, [0])
    assert order["model"] == str(directories["llama"].absolute())
    assert order["dtype"] == "float32"


def test_an_adapter_of_the_audited_model_goes_along(directories, served, tmp_path):
    network = make_model("llama")
    wrapped = get_peft_model(network, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "adapter")
    spec = {"adapter": str(tmp_path / "adapter")}
    model = served(directories["llama"], spec=spec)
    plain = open_directory(directories["llama"], **spec)
    assert plain.generate(PROMPTS, NEW) != open_directory(directories["llama"]).generate(
        PROMPTS, NEW
    )
    assert model.generate(PROMPTS, NEW) == plain.generate(PROMPTS, NEW)
    assert model.use.engine == len(PROMPTS)


def test_a_state_names_what_differs(directories):
    network = open_directory(directories["llama"]).network
    state = NetworkState.of(network)
    assert state.difference(network) is None
    network.model.layers[1].mlp.extra = 3
    assert state.difference(network) == "model.layers.1.mlp.extra"
    del network.model.layers[1].mlp.extra
    with torch.no_grad():
        network.model.norm.weight[0] = torch.nextafter(
            network.model.norm.weight[0], torch.tensor(9.0)
        )
    assert state.difference(network) == "model.norm.weight"
