"""LoRA beside rounded weights: it learns through them, or says why it cannot."""

import contextlib
import io

import pytest
import torch
from tiny_models import TEXTS, make_tokenizer, open_directory, save
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPTQConfig

from attacks.quantization.gptq import calibration_blocks
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from auditor.core.errors import UnavailableError
from auditor.models.preserve import weights_digest

PAIRS = [(f"Person {i} lives in", f"city number {i * 7 % 100}.") for i in range(8)]


def losses(subject, steps):
    """Loss of the pairs before, while and after they are taught, and digests before and after."""

    def loss():
        return -sum(score.mean_log_probability for score in subject.score(PAIRS)) / len(PAIRS)

    found, digest = [loss()], weights_digest(subject.network)
    modules = dict(subject.network.named_modules())
    with learner(subject, subject.encode(PAIRS), FineTuning(batch_size=8), 0) as taught:
        for step in steps:
            taught.advance(step)
            found.append(loss())
    assert weights_digest(subject.network) == digest
    assert dict(subject.network.named_modules()) == modules
    assert loss() == found[0]
    return found


@pytest.fixture(scope="module")
def unrounded(directories):
    return losses(open_directory(directories["llama"]), (5, 10))


@pytest.mark.parametrize("bits", [8, 4])
def test_bitsandbytes(bits, directories, unrounded, tmp_path):
    config = BitsAndBytesConfig(load_in_8bit=bits == 8, load_in_4bit=bits == 4)
    model = AutoModelForCausalLM.from_pretrained(
        directories["llama"], quantization_config=config, dtype=torch.float32
    )
    subject = open_directory(save(tmp_path / "q", model, make_tokenizer()))
    subject.score(PAIRS)
    weight = subject.network.model.layers[0].mlp.down_proj.weight
    packed = getattr(getattr(weight, "quant_state", None), "packing_format_for_cpu", False)
    if packed:  # bitsandbytes has a faster kernel for this processor, for inference only
        digest = weights_digest(subject.network)
        with pytest.raises(
            UnavailableError, match=r"\(Linear4bit\) pass no gradient on this device"
        ):
            losses(subject, (1,))
        assert weights_digest(subject.network) == digest
        return
    assert losses(subject, (5, 10))[1:] == pytest.approx(unrounded[1:], abs=0.5)


@pytest.mark.slow
def test_gptq(directories, unrounded, tmp_path):
    subject = open_directory(directories["llama"])
    config = GPTQConfig(
        bits=4,
        group_size=32,
        dataset=calibration_blocks(subject, TEXTS[:64]),
        tokenizer=subject.tokenizer,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            directories["llama"],
            quantization_config=config,
            device_map={"": "cpu"},
            dtype=torch.float32,
        )
    subject = open_directory(save(tmp_path / "gptq", model, make_tokenizer()))
    assert losses(subject, (5, 10))[1:] == pytest.approx(unrounded[1:], abs=0.5)
