import pytest

from auditor.attack import ATTACKS, PROFILES
from auditor.engine.expansion import expand, instantiate
from auditor.testbeds.plans import world_plan
from auditor.testbeds.shapes import plans
from auditor.testbeds.shapes.attack_settings import SETTINGS
from auditor.testbeds.shapes.world import build


@pytest.fixture
def world(tiny_shapes, tmp_path):
    return build(tiny_shapes, tmp_path, ["original", "retrained-0", "uce"])


def label(attack, parameters):
    return f"{attack} {instantiate(attack, dict(parameters)).variant}"


def test_everything_that_an_audit_needs_is_there(world):
    plan = world_plan(world, "uce", ["retrained-0"])
    assert plan.unlearned.path == str(world.model_path("uce"))
    assert {spec.kind for spec in plan.arms.values()} == {"text-to-image"}
    assert {(s.sampling.steps, s.sampling.guidance) for s in plan.arms.values()} == {(10, 1)}
    assert plan.data.images == str(world.image_folder)
    assert plan.metrics.classifier == str(world.classifier)
    assert [plan.data.forget.path, plan.data.retain.path, plan.data.holdout.path] == [
        str(world.facts(name)) for name in ("forget", "retain", "holdout")
    ]


@pytest.mark.parametrize("profile", PROFILES)
def test_settings_replace_the_levels_of_the_profile_and_add_none(world, profile):
    plan = world_plan(world, "uce", ["retrained-0"], profile)
    alone = expand(plan.model_copy(update={"attacks": ()}))
    labels = [variant.label for variant in expand(plan)]
    assert sorted(labels) == sorted(variant.label for variant in alone)
    asked = {label(request.attack, request.parameters) for request in plan.attacks}
    settings = {label(name, p) for name, every in SETTINGS.items() for p in every}
    assert asked == settings & set(labels)


def test_every_setting_stands_for_a_level_of_its_attack():
    for name, every in SETTINGS.items():
        levels = {label(name, preset.parameters) for preset in ATTACKS.get(name).presets}
        for parameters in every:
            assert label(name, parameters) in levels, f"{name} {parameters}"


def test_the_original_is_named_where_a_setting_asks_for_it(world, monkeypatch):
    settings = {"prompting/adversarial-prefix": ({"objective": "p4d", "original": plans.ORIGINAL},)}
    monkeypatch.setattr(plans, "SETTINGS", settings)
    (request,) = world_plan(world, "uce", ["retrained-0"], "standard").attacks
    assert request.parameters["original"] == str(world.model_path("original"))
    assert not world_plan(world, "uce", ["retrained-0"], "quick").attacks
