"""Rounded UNets: every format on every layout, what is rounded, and that the subject stays."""

import numpy as np
import pytest
import torch
from shapes_subjects import open_shapes, shapes_examiner
from tiny_pipelines import LAYOUTS, make_pipeline
from torch import nn

from attacks.quantization.rounded_unet import FORMATS, rounded
from attacks.quantization.unet import UNetQuantization, UNetQuantizationParameters
from auditor.attack import AttackContext
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.models.preserve import weights_digest

GROUP = 8
"""Divides the inputs of all layers of the tiny pipelines."""


def quantization(**more):
    return UNetQuantization(UNetQuantizationParameters(group_size=GROUP, **more))


def weights(unet, kinds):
    return {n: m.weight.detach() for n, m in unet.named_modules() if isinstance(m, kinds)}


CASES = [(format_, "pixel") for format_ in FORMATS] + [
    (format_, layout)
    for format_ in ("int8", "nf4", "rtn-3")
    for layout in LAYOUTS
    if layout != "pixel"
]


@pytest.mark.parametrize(("format_", "layout"), CASES)
def test_a_rounded_copy_is_measured_and_the_subject_stays(
    format_, layout, subjects, evaluator, tmp_path
):
    subject = subjects[layout]
    digest = weights_digest(subject.network)
    record = quantization(format=format_).measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert weights_digest(subject.network) == digest
    asked = {fact.id for fact in (*evaluator.sets.forget, *evaluator.sets.retain)}
    assert {row.fact for row in record.rows} == asked
    assert record.notes["pictures"] == len(evaluator.sets.forget)
    kinds = (nn.Linear, nn.Conv2d) if format_.startswith("rtn") else nn.Linear
    layers = weights(subject.denoiser, kinds)
    total = sum(p.numel() for p in subject.denoiser.parameters())
    assert record.notes["layers_quantized"] == len(layers)
    assert record.notes["weights_quantized"] == sum(w.numel() for w in layers.values())
    assert record.notes["share_quantized"] == record.notes["weights_quantized"] / total < 1


@pytest.mark.parametrize("format_", FORMATS)
def test_the_copy_sees_other_noise(format_, subjects):
    subject = subjects["pixel"]
    noisy = torch.randn(1, *subject.input_shape, generator=torch.Generator().manual_seed(0))
    given = (noisy, torch.tensor([500]), subject.encode(["a orb"]))
    with torch.no_grad():
        plain = subject.predict(*given)
        state = rounded(subject.denoiser, format_, "all", GROUP)
        with subject.with_denoiser(state.denoiser) as copy:
            seen = copy.predict(*given)
        again = subject.predict(*given)
    assert torch.equal(plain, again)
    error = (seen - plain).norm() / plain.norm()
    assert 0 < error < (0.05 if format_.endswith("8") else 2)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounding_to_nearest_has_even_steps_for_each_output_channel(bits, subjects):
    unet = subjects["pixel"].denoiser
    state = rounded(unet, f"rtn-{bits}", "all", GROUP)
    plain, found = (weights(u, (nn.Linear, nn.Conv2d)) for u in (unet, state.denoiser))
    top = 2 ** (bits - 1) - 1
    assert any(w.ndim == 4 for w in plain.values())
    for name, weight in plain.items():
        step = weight.flatten(1).abs().amax(1) / top
        step = step.reshape(-1, *[1] * (weight.ndim - 1))
        assert (found[name] - weight).abs().max() <= (step / 2).max() * 1.001
        codes = state.codes[name].float().view_as(weight)
        torch.testing.assert_close(found[name], codes * step)
        assert codes.abs().max() == top
    assert torch.equal(state.denoiser.conv_in.bias, unet.conv_in.bias)


@pytest.mark.parametrize("format_", ["nf4", "fp4"])
def test_four_bits_are_what_the_library_itself_multiplies_with(format_, subjects):
    """Against bitsandbytes' own layer, in training mode, where it uses no kernel of the CPU's."""
    import bitsandbytes as bnb

    layer = subjects["sd1"].denoiser.time_embedding.linear_1
    state = rounded(subjects["sd1"].denoiser, format_, "all", GROUP)
    ours = state.denoiser.time_embedding.linear_1
    theirs = bnb.nn.Linear4bit(
        layer.in_features, layer.out_features, compute_dtype=torch.float32, quant_type=format_
    )
    theirs.weight = bnb.nn.Params4bit(
        layer.weight.data.clone(),
        requires_grad=False,
        quant_type=format_,
        compress_statistics=False,
    )
    theirs.bias = layer.bias
    theirs.to("cpu").train()
    given = torch.randn(5, layer.in_features, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(given), theirs(given), rtol=1e-5, atol=1e-5)
    assert not torch.equal(ours.weight, layer.weight)


@pytest.mark.parametrize(
    ("layers", "ends"),
    [("cross-attention", ("attn2.to_k", "attn2.to_v")), ("linear", None)],
)
@pytest.mark.parametrize("format_", ["nf4", "rtn-2"])
def test_only_the_wanted_layers_are_rounded(format_, layers, ends, subjects):
    unet = subjects["sdxl"].denoiser
    state = rounded(unet, format_, layers, GROUP)
    expected = {n for n in weights(unet, nn.Linear) if ends is None or n.endswith(ends)}
    before, after = unet.state_dict(), state.denoiser.state_dict()
    changed = {n.removesuffix(".weight") for n in before if not torch.equal(before[n], after[n])}
    assert changed == expected == set(state.codes)


def test_a_unet_without_such_layers_is_not_passed_off_as_rounded():
    unet = make_pipeline("pixel").unet
    for name in [n for n in weights(unet, nn.Linear) if n.endswith(("to_k", "to_v"))]:
        unet.set_submodule(name, nn.Identity())
    with pytest.raises(MeasurementError, match=r"no layer that nf4 rounds .*cross-attention"):
        rounded(unet, "nf4", "cross-attention", GROUP)


def test_a_group_size_that_does_not_fit_is_refused(subjects):
    with pytest.raises(UnavailableError, match="groups of 48 do not divide"):
        rounded(subjects["sd1"].denoiser, "torchao-int4", "all", 48)


@pytest.mark.parametrize("format_", ["int8", "nf4", "torchao-int4", "rtn-4"])
def test_the_code_flip_share_counts_the_changed_weights(format_, subjects, evaluator, tmp_path):
    attack, subject = quantization(format=format_), subjects["pixel"]
    name = "time_embedding.linear_1"
    original = attack.measure(subject, AttackContext(evaluator, 0, tmp_path))
    with subject.preserve_weights(), torch.no_grad():
        subject.denoiser.get_submodule(name).weight.neg_()
        unlearned = attack.measure(subject, AttackContext(evaluator, 0, tmp_path))
    found = attack.explain(unlearned, original)
    assert found.measure == "code_flip_share"
    assert found.layers[name] > 0.7  # what rounds to zero stays
    assert {share for layer, share in found.layers.items() if layer != name} == {0.0}


def test_levels_have_names_of_their_own():
    attacks = [
        UNetQuantization(UNetQuantizationParameters(**preset.parameters))
        for preset in UNetQuantization.presets
    ]
    names = [a.variant for a in attacks]
    assert len(set(names)) == len(names)
    assert {"int8", "nf4", "rtn-2", "rtn-2 cross-attention"} < set(names)


@pytest.mark.slow
def test_two_bits_undo_erasures_that_eight_keep(shapes_world, tmp_path):
    evaluator = shapes_examiner(shapes_world, 24)

    def k(name, **chosen):
        subject = open_shapes(shapes_world, name)
        rows = quantization(**chosen).measure(subject, AttackContext(evaluator, 0, tmp_path)).rows
        return np.mean([row.k for row in rows if row.set == "forget"])

    coarse = {"format": "rtn-2", "layers": "linear"}
    assert k("original", **coarse) > 0.7
    assert k("retrained-0", **coarse) < 0.1
    for name in ("rece", "mace"):
        assert k(name, **coarse) > 0.3
        assert k(name, format="int8") < 0.1
