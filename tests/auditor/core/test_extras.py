"""What is not installed is answered with the extra that brings it."""

import pytest

from auditor.core import extras
from auditor.core.extras import missing_extra


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("torch", "audit"),
        ("transformers", "audit"),
        ("sklearn", "audit"),
        ("rouge_score", "audit"),
        ("diffusers", "images"),
        ("torch_fidelity", "inception"),
        ("sigstore", "sigstore"),
        ("gguf", "gguf"),
        ("xllamacpp", "gguf"),
        ("numpy", None),
        ("nonesuch", None),
    ],
)
def test_a_package_has_the_extra_that_brings_it(package, extra):
    assert extras.extra_of(package) == extra


def test_what_an_included_extra_brings_is_listed_with_that_one_alone():
    assert {"torch", "transformers"} <= {*extras.distributions("audit")}
    assert extras.included("audit") == extras.included("sigstore") == ()
    assert extras.included("gguf") == extras.included("ray") == ("audit",)
    assert extras.included("inception") == ("audit", "images")
    assert set(extras.distributions("gguf")) == {"gguf", "xllamacpp"}
    assert set(extras.distributions("inception")) == {"torch-fidelity", "torchvision"}


def test_a_missing_package_of_an_extra_is_named_with_it():
    error = missing_extra(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert error is not None
    assert error.exit_code == 2
    assert "pip install 'unlearning-auditor[audit]'" in str(error)


@pytest.mark.parametrize("name", ["torch.nonesuch", "nonesuch", None])
def test_other_import_errors_are_left_alone(name):
    assert missing_extra(ModuleNotFoundError("No module", name=name)) is None


def test_nothing_that_opens_models_is_a_dependency_of_the_core():
    from importlib.metadata import requires

    core = {text.split(">")[0] for text in requires("unlearning-auditor") if "extra ==" not in text}
    heavy = {"torch", "transformers", "diffusers", "datasets", "pandas", "scikit-learn"}
    assert not core & heavy
    assert {"numpy", "scipy", "pyarrow", "pydantic"} <= core
