"""A loaded network and its tokenizer as an audited model: measured as from files, no digests."""

import numpy as np
import pytest
import torch
from tiny_models import PAIRS, PROMPTS, make_model, make_tokenizer, open_directory, save

from auditor.core.errors import AuditorError
from auditor.models.causal_lm.model import CausalLM
from auditor.models.preserve import weights_digest


def values(model):
    return np.concatenate([score.log_probability for score in model.score(PAIRS)])


@pytest.fixture
def handed_over():
    return CausalLM.wrap(make_model("llama"), make_tokenizer())


def test_it_answers_as_the_same_model_opened_from_files(handed_over, tmp_path):
    opened = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    np.testing.assert_array_equal(values(handed_over), values(opened))
    assert handed_over.generate(PROMPTS, 5) == opened.generate(PROMPTS, 5)
    assert not opened.in_memory
    assert opened.has_weights_of(opened.manifest)


def test_it_has_no_digests_and_says_so(handed_over):
    assert handed_over.in_memory
    for asked in ("manifest", "location"):
        with pytest.raises(AuditorError, match="handed over in memory"):
            getattr(handed_over, asked)


def test_it_is_none_of_the_models_in_files(handed_over, tmp_path):
    opened = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    assert not handed_over.has_weights_of(opened.manifest)


def test_closing_it_leaves_the_network_to_its_owner(handed_over):
    before = values(handed_over)
    handed_over.close()
    np.testing.assert_array_equal(values(handed_over), before)


def test_its_tokenizer_is_not_changed():
    tokenizer = make_tokenizer(pad_token=None)
    wrapped = CausalLM.wrap(make_model("llama"), tokenizer)
    assert tokenizer.pad_token is None
    assert wrapped.tokenizer.pad_token_id == tokenizer.eos_token_id


def test_a_network_in_training_mode_is_put_into_evaluation_mode():
    network = make_model("llama").train()
    assert not CausalLM.wrap(network, make_tokenizer()).network.training


def test_it_can_be_lent_and_loaded_anew_with_other_options(handed_over, tmp_path):
    before, digest = values(handed_over), weights_digest(handed_over.network)
    with handed_over.preserve_weights() as network, torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert weights_digest(handed_over.network) == digest
    with handed_over.reloaded(tmp_path) as copy:
        assert copy.network is not handed_over.network
        assert copy.meter is handed_over.meter
        np.testing.assert_array_equal(values(copy), before)


def test_a_closed_copy_never_answers_with_other_weights(handed_over):
    copy = handed_over.copy_with(network=make_model("llama", seed=1))
    assert (values(copy) != values(handed_over)).any()
    copy.close()
    with pytest.raises(RuntimeError, match="closed copy"):
        copy.score(PAIRS)


def test_an_encoder_decoder_is_refused():
    network = make_model("llama")
    network.config.is_encoder_decoder = True
    with pytest.raises(AuditorError, match="encoder-decoder"):
        CausalLM.wrap(network, make_tokenizer())
