"""Files of a model that ask for work without end: refused before any of it is done."""

import contextlib
import os

import pytest
from jinja2 import Environment, TemplateError
from tiny_models import PAIRS, edit_json, open_directory

from auditor.core.errors import AuditorError
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import check_unopenable, locate
from auditor.models.spec import PromptFormat

LOOP = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
GROWING = (
    "{% set n = namespace(x='x' * 1000000) %}"
    "{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
)
USUAL = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"


def check(folder, prompt_format=None):
    spec = CausalLMSpec(path=str(folder))
    check_unopenable(spec, locate(spec), prompt_format)


def refused(folder):
    with pytest.raises(AuditorError) as caught:
        check(folder)
    return str(caught.value)


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads", "num_experts"])
def test_parts_without_number(key, llama):
    edit_json(llama / "config.json", **{key: 10**9})
    assert f"{key} is 1,000,000,000, and no model has so many" in refused(llama)


def test_a_configuration_that_grows(llama):
    edit_json(llama / "config.json", num_labels=10**9)
    assert "configuration" in refused(llama)


def test_a_template_that_grows(llama):
    (llama / "chat_template.jinja").write_text(GROWING)
    assert "the chat template of" in refused(llama)
    assert "more memory" in refused(llama)


@pytest.mark.nightly
@pytest.mark.parametrize("template", [LOOP, "{% if a %}b{% endif %}" * 200_000])
def test_a_template_that_takes_all_time(template, llama):
    (llama / "chat_template.jinja").write_text(template)
    assert "of any real model" in refused(llama)


MODULES = (
    "{% for c in ''.__class__.__mro__[1].__subclasses__() if c.__name__ == 'catch_warnings' %}"
    "{{ c.__init__.__globals__['sys'].modules['os'].mkdir('sprung') }}{% endfor %}"
)


@pytest.mark.parametrize(
    "reach",
    [
        MODULES,
        "{{ cycler.__init__.__globals__.os.mkdir('sprung') }}",
        "{{ lipsum.__globals__['os'].mkdir('sprung') }}",
        "{{ joiner['__init__']['__globals__'].os.mkdir('sprung') }}",
        "{{ (lipsum | attr('__globals__')).os.mkdir('sprung') }}",
        "{{ '{0.__globals__[os]}'.format(lipsum) }}{{ lipsum.__globals__.os.mkdir('sprung') }}",
    ],
)
def test_a_template_that_reaches_for_python_does_nothing(reach, llama, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (llama / "chat_template.jinja").write_text(USUAL + reach)
    with contextlib.suppress(AuditorError, TemplateError):
        check(llama, PromptFormat(chat=True))
        open_directory(llama, prompt_format=PromptFormat(chat=True)).score(PAIRS[:1])
    assert not (tmp_path / "sprung").exists()
    Environment().from_string(reach).render()  # noqa: S701 - to see that it would do something
    assert (tmp_path / "sprung").is_dir()


def test_a_template_as_models_have_it_is_taken(llama):
    (llama / "chat_template.jinja").write_text(USUAL)
    check(llama)
    check(llama, PromptFormat(chat=True, system="Answer in one word."))


@pytest.mark.parametrize("name", ["chat_template.jinja", "added_tokens.json", "adapter.json"])
def test_pipes_beside_a_model_are_not_waited_for(name, llama):
    os.mkfifo(llama / name)
    check(llama)
