"""A small world whose models are trained in seconds, and audits of it."""

import pytest
from small_world import small
from told_otherwise import told_otherwise

from auditor.engine.plan import parse_plan

__all__ = ["small", "told_otherwise"]


@pytest.fixture(scope="session")
def small_plan(small):
    """A plan that puts the second retrained model on trial, with controls."""

    def make(dtype="float32", **changes):
        def spec(name):
            return {"path": str(small.model_path(name)), "dtype": dtype}

        content = {
            "unlearned": spec("retrained-1"),
            "original": spec("original"),
            "retrained": [spec("retrained-0")],
            "data": {name: str(small.facts(name)) for name in ("forget", "retain")},
            "profile": None,
            "attacks": [{"attack": "quantization/bnb", "parameters": {"format": "nf4"}}],
            "policy": {"mandatory": ["none/as-is", "quantization/bnb"]},
            "metrics": {"reported": []},
            "controls": True,
        }
        return parse_plan(content | changes, "the test's plan")

    return make
