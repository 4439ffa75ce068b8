"""GPTQ: packed codes, calibration blocks, and what the layers compute."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_codes import all_codes, kept_codes
from tiny_models import ARCHITECTURES, CONTEXT, make_model, make_tokenizer, open_directory, save
from transformers.pytorch_utils import Conv1D

from attacks.quantization.calibrated import calibration_blocks
from attacks.quantization.calibration import generic_texts, read_texts
from attacks.quantization.gptq import GPTQ, GPTQParameters, PackedColumns
from auditor.attack import AttackContext
from auditor.core.errors import AuditorError, MeasurementError, UnavailableError
from auditor.core.hashing import digest
from auditor.models.language.layers import linear_layers
from auditor.models.preserve import weights_digest


def attack(**parameters):
    return GPTQ(GPTQParameters(**({"group_size": 32, "calibration_samples": 8} | parameters)))


def pack(codes, bits):
    """Codes [in, out] as a stream of bits in each column, low bits first, in 32-bit words."""
    rows, columns = codes.shape
    words = np.zeros((rows * bits // 32, columns), dtype=np.uint64)
    for column in range(columns):
        stream = 0
        for row in reversed(range(rows)):
            stream = (stream << bits) | int(codes[row, column])
        for word in range(len(words)):
            words[word, column] = (stream >> (32 * word)) & 0xFFFFFFFF
    return torch.from_numpy(words.astype(np.uint32).view(np.int32))


def unpack(packed, bits):
    """Codes [in, out]."""
    return all_codes(PackedColumns(packed, bits)).reshape(-1, packed.shape[1])


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([2, 3, 4, 8]), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**31))
def test_unpacking_undoes_packing(bits, blocks, columns, seed):
    codes = np.random.default_rng(seed).integers(0, 2**bits, (32 * blocks, columns))
    np.testing.assert_array_equal(unpack(pack(codes, bits), bits).numpy(), codes)


def test_a_word_of_four_bit_codes_by_hand():
    """0x76543210 holds the codes 0 to 7, the lowest first; a set sign bit is only a bit."""
    packed = torch.tensor([[0x76543210], [-1]], dtype=torch.int32)
    assert unpack(packed, 4).reshape(-1).tolist() == [*range(8), *[15] * 8]


def dequantized(layer, codes):
    """scale * (code - zero), group by group: [in, out]. In memory zeros are not stored less one."""
    groups = layer.g_idx.long()
    zeros = unpack(layer.qzeros.T.contiguous(), layer.bits).T.float()  # packed along the outputs
    return layer.scales.float()[groups] * (codes.float() - zeros[groups])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_codes_scales_and_zeros_are_what_a_layer_computes_with(bits, subjects, tmp_path):
    subject = subjects["gpt2"] if bits == 4 else subjects["llama"]
    plain = {
        name: (layer.weight.T if isinstance(layer, Conv1D) else layer.weight).detach().clone()
        for name, layer in linear_layers(subject.network).items()
    }
    with attack(bits=bits).quantized(subject, tmp_path) as state:
        codes = kept_codes(state)
        layers = dict(state.model.network.named_modules())
        assert codes.keys() == plain.keys()
        for name, code in codes.items():
            layer = layers[name]
            code = code.reshape(tuple(reversed(plain[name].shape)))
            assert int(code.max()) < 2**bits
            x = torch.randn(5, plain[name].shape[1])
            expected = x @ dequantized(layer, code)
            if layer.bias is not None:
                expected = expected + layer.bias.float()
            with torch.inference_mode():
                got = layer(x).float()
            scale = float(expected.abs().max())
            np.testing.assert_allclose(got, expected, atol=0.01 * scale, err_msg=name)
            error = (dequantized(layer, code).T - plain[name]).abs().mean() / plain[
                name
            ].abs().mean()
            assert error < {8: 0.02, 4: 0.2, 3: 0.4, 2: 0.9}[bits], name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_runs_on_every_architecture_and_twice_alike(architecture, subjects, evaluator, tmp_path):
    subject = subjects[architecture]
    before, weights = evaluator.evaluate(subject), weights_digest(subject.network)
    run = attack(bits=4)
    first = run.measure(subject, AttackContext(evaluator, 0, tmp_path / "1"))
    second = run.measure(subject, AttackContext(evaluator, 0, tmp_path / "2"))
    assert first.rows == second.rows
    assert run.explain(first, second).overall == 0
    assert first.arrays.keys() == {
        f"{kind}/{name}" for name in linear_layers(subject.network) for kind in ("codes", "size")
    }
    assert any(a.k != b.k for a, b in zip(first.rows, before, strict=True))
    assert max(abs(a.k / b.k - 1) for a, b in zip(first.rows, before, strict=True)) < 2
    assert weights_digest(subject.network) == weights
    assert first.notes["calibration_digest"] == digest(generic_texts(8))
    assert first.notes["layers_quantized"] == len(linear_layers(subject.network))


@pytest.mark.parametrize(
    "architecture",
    [n if n == "llama" else pytest.param(n, marks=pytest.mark.nightly) for n in ARCHITECTURES],
)
def test_a_copy_from_disk_answers_as_the_one_in_memory_that_was_written(
    architecture, subjects, evaluator, tmp_path
):
    """To the last bit; where GPTQ's result cannot be opened from disk it stays in memory."""
    subject, run = subjects[architecture], attack(bits=4)
    with run._made(subject, tmp_path) as copy:
        fresh = evaluator.evaluate(copy)
    kept = []

    def keep(recipe, make):
        folder = tmp_path / "kept"
        folder.mkdir()
        make(folder)
        kept.append({file.name for file in folder.iterdir()})
        assert "input_ids" not in (folder / "config.json").read_text()
        return folder

    with run.quantized(subject, tmp_path, keep) as state:
        assert evaluator.evaluate(state.model) == fresh
    whole = {"config.json", "generation_config.json", "model.safetensors"}
    assert kept == ([] if architecture == "gpt2" else [whole])


@pytest.mark.slow
@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize(
    "architecture",
    [
        name if name in ("llama", "gpt2") else pytest.param(name, marks=pytest.mark.nightly)
        for name in ARCHITECTURES
    ],
)
def test_every_width_on_every_architecture(architecture, bits, subjects, evaluator, tmp_path):
    record = attack(bits=bits).measure(
        subjects[architecture], AttackContext(evaluator, 0, tmp_path)
    )
    assert len(record.rows) == 4
    assert all(0 <= row.k <= 1 for row in record.rows)
    assert record.notes["layers_quantized"] == len(linear_layers(subjects[architecture].network))


@pytest.mark.parametrize("how_many", ["one", "all"])
def test_not_a_number_is_never_a_row(how_many, tmp_path, evaluator):
    model = make_model("llama")
    weight = model.model.layers[0].mlp.down_proj.weight
    subject = open_directory(save(tmp_path / "nan", model, make_tokenizer()))
    assert subject.network is not None  # opened before the files are spoiled, or it would not be
    with torch.no_grad():
        if how_many == "one":
            weight[3, 5] = float("nan")
        else:
            weight.fill_(float("nan"))
    save(tmp_path / "nan", model, make_tokenizer())
    with pytest.raises(MeasurementError):
        attack().measure(subject, AttackContext(evaluator, 0, tmp_path))


def test_a_group_size_that_does_not_divide_the_layers_is_refused(subjects, evaluator, tmp_path):
    with pytest.raises(UnavailableError, match=r"groups of 96 .* the 128 inputs of .*q_proj"):
        attack(group_size=96).measure(subjects["llama"], AttackContext(evaluator, 0, tmp_path))


@pytest.mark.parametrize("count", [1, 8, 60])
def test_calibration_blocks_are_whole_equal_and_in_order(count, subjects):
    subject = subjects["llama"]
    texts = generic_texts(count)
    blocks = calibration_blocks(subject, texts)
    rows = [row for block in blocks for row in block["input_ids"]]
    assert {len(row) for row in rows} == {CONTEXT}
    assert all(set(row) == {1} for block in blocks for row in block["attention_mask"])
    stream = [t for text in texts for t in [*subject.tokenizer(text)["input_ids"], 0]]
    assert [t for row in rows for t in row] == stream[: len(rows) * CONTEXT]
    assert len(stream) - len(rows) * CONTEXT < CONTEXT


def test_text_shorter_than_a_block_is_a_block(subjects):
    (block,) = calibration_blocks(subjects["llama"], ["Person 3"])
    assert block["input_ids"] == [[*subjects["llama"].tokenizer("Person 3")["input_ids"], 0]]


def test_generated_texts_are_always_the_same_and_differ_among_themselves():
    assert generic_texts(20) == generic_texts(20)
    assert len(set(generic_texts(20))) == 20
    assert generic_texts(30)[:20] == generic_texts(20)


def test_calibration_files(tmp_path):
    plain, lines = tmp_path / "a.txt", tmp_path / "a.jsonl"
    plain.write_text("one\n\ntwo\n")
    lines.write_text('{"text": "one"}\n{"text": "two"}\n')
    for path in (plain, lines):
        assert read_texts(path) == ["one", "two"]
        run = attack(calibration=str(path))
        assert run.texts() == ["one", "two"]
        assert run.inputs() == {"calibration": digest(["one", "two"])}
    assert attack(calibration=str(plain), calibration_samples=1).texts() == ["one"]
    bad = {
        "none.txt": None,
        "empty.txt": "\n",
        "x.jsonl": "{",
        "y.jsonl": '{"t": 1}',
        "z.jsonl": '{"text": 1}',
    }
    for name, content in bad.items():
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(AuditorError, match=f"calibration file .*{name}"):
            read_texts(tmp_path / name)
