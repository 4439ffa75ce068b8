"""The noise that is added to pictures, and the error of what is predicted of it."""

import pytest
import torch
from tiny_pipelines import open_pipeline

from attacks.image.noise_matching import noised


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_first_timestep_has_noise_in_half_types(dtype, pipelines):
    subject = open_pipeline(pipelines / "sd1", dtype=dtype)
    clean = torch.zeros(2, *subject.input_shape, dtype=getattr(torch, dtype))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = noised(subject, clean, torch.tensor([0, 500]), noise)
    assert noisy.dtype == clean.dtype
    for row, timestep in enumerate((0, 500)):
        deviation = float((1 - subject.signal[timestep]).sqrt())
        torch.testing.assert_close(noisy[row].float(), deviation * noise[row], rtol=0.02, atol=1e-3)
