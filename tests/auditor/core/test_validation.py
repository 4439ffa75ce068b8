"""What pydantic finds wrong, in words: places, and names that may be meant."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from auditor.core.paths import FilePath, ModelPath, context
from auditor.core.validation import did_you_mean, problems


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    delta: float = Field(default=0.1, lt=1)
    alpha: float = 0.05

    @field_validator("alpha")
    @classmethod
    def _positive(cls, value):
        if value <= 0:
            raise ValueError("must be positive")
        return value


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    needed: str
    policy: Inner | None = None
    several: tuple[Annotated[Inner, Field()], ...] = ()


def said(content):
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(content)
    return dict(line.split(": ", 1) for line in problems(caught.value, model=Outer))


def test_every_problem_has_its_place_and_unknown_keys_their_close_names():
    found = said(
        {
            "policy": {"delta": 2, "alpa": 0.1, "alpha": -1},
            "several": [{}, {"zzz": 1}],
            "polcy": {},
        }
    )
    assert found.keys() == {
        "needed",
        "policy.delta",
        "policy.alpa",
        "policy.alpha",
        "several.1.zzz",
        "polcy",
    }
    assert found["needed"] == "is missing"
    assert found["policy.alpa"] == "there is no such key; did you mean `alpha`?"
    assert found["policy.alpha"] == "must be positive"
    assert found["several.1.zzz"] == "there is no such key; the keys are alpha, delta"
    assert "`policy`" in found["polcy"]


def test_a_name_far_from_all_is_met_with_nothing():
    assert did_you_mean("zzz", ["alpha", "beta"]) == ""
    assert did_you_mean("Bta", ["alpha", "beta"]) == "did you mean `beta`?"


class Paths(BaseModel):
    file: FilePath | None = None
    model: ModelPath | None = None
    models: tuple[ModelPath, ...] = ()


def test_paths_start_at_the_folder_of_the_context(tmp_path):
    (tmp_path / "models" / "u").mkdir(parents=True)
    content = {
        "file": "facts.jsonl",
        "model": "models/u",
        "models": ["models/u", "org/name", "./missing", "/absolute", "~/home"],
    }
    found = Paths.model_validate(content, context=context(tmp_path))
    assert found.file == str(tmp_path / "facts.jsonl")
    assert found.model == str(tmp_path / "models/u")
    assert found.models[:4] == (
        str(tmp_path / "models/u"),
        "org/name",
        str(tmp_path / "missing"),
        "/absolute",
    )
    assert not found.models[4].startswith("~")
    assert Paths.model_validate(found.model_dump(), context=context(tmp_path)) == found
    assert Paths.model_validate(content).model_dump(mode="json") == content


class Defaulted(BaseModel):
    count: int
    double: int = Field(default_factory=lambda validated: 2 * validated["count"])


def test_a_default_that_waits_for_the_wrong_key_is_no_problem_of_its_own():
    with pytest.raises(ValidationError) as caught:
        Defaulted.model_validate({"count": "many"})
    [line] = problems(caught.value)
    assert line.startswith("count: ")
