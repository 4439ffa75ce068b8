"""Pictures on the page: all of them, in their order, and nothing else."""

import re

import pytest
from chromium import EXECUTABLE
from hand_made_certificates import honest_certificate
from hand_made_pictures import (
    AS_IS,
    SHAPES,
    image_examples,
    not_pictures,
    pictured_certificate,
    text_of,
)
from hostile_texts import HOSTILE, LONG, MARKER, hostile_certificate
from pages import page_of, parsed, part
from parsed_page import Page

from auditor.certificate.media import ImageExamplesPart
from reports.html import render
from reports.image_examples import gallery, shot

NO_PICTURES = not_pictures()


def hostile_pictures():
    """The hostile certificate with pictures, about which every text is an attack as well."""
    examples = image_examples()
    for number, fact in enumerate(examples["facts"]):
        fact |= dict.fromkeys(("entity", "prompt", "answer"), f"{HOSTILE} {LONG}")
        fact["fact"] = f"{HOSTILE}{number}"
        for view in fact["views"]:
            view["attack"] = f"{view['attack']} {HOSTILE}"
            view["pictures"] = {
                arm if arm == "unlearned" else f"{arm} {HOSTILE}": p
                for arm, p in view["pictures"].items()
            }
    honest = hostile_certificate().model_dump()
    return type(hostile_certificate()).model_validate(honest | {"image_examples": examples})


@pytest.fixture
def pictured():
    return pictured_certificate()


@pytest.fixture
def page():
    return parsed("pictures")


def shown_pictures(certificate):
    """The section of pictures alone."""
    return Page(part("image_examples", certificate))


def test_every_picture_says_whose_it_is(page, pictured):
    images = page.named("img")
    pairs = 4 * 5 * 2 - 1
    by_attack = 4 * 2 * 5
    assert len(images) == pairs + by_attack
    first = pictured.image_examples.facts[0]
    assert images[0]["alt"] == f"before: unlearned, fact shape-000 (circle), under {AS_IS}, K 0.05"
    assert images[0]["src"] == f"data:image/png;base64,{first.views[0].pictures['unlearned']}"
    assert (
        images[1]["alt"]
        == "after: unlearned, fact shape-000 (circle), under quantization/bnb fp4, K 0.96"
    )
    assert images[1]["src"] == f"data:image/png;base64,{first.views[1].pictures['unlearned']}"
    given = {p for f in pictured.image_examples.facts for v in f.views for p in v.pictures.values()}
    assert {image["src"].removeprefix("data:image/png;base64,") for image in images} == given
    assert all(re.fullmatch(r"data:image/png;base64,[\w+/]+=*", i["src"]) for i in images)


def test_the_worst_leak_comes_first_and_the_model_under_audit_too(page):
    told = [image["alt"] for image in page.named("img")]
    order = list(dict.fromkeys(re.search(r"\((\w+)\)", alt)[1] for alt in told))
    assert order == list(SHAPES)
    arms = list(dict.fromkeys(re.search(r": ([\w-]+), fact", alt)[1] for alt in told))
    assert arms == ["unlearned", "original", "retrained-0", "retrained-1", "retrained-2"]
    assert "no picture" in page.said
    assert "Shown: 4 of 40 facts with pictures; 1,203 more views" in page.said


def test_the_order_of_facts_under_an_attack_is_that_attacks_own():
    examples = image_examples()
    for view in examples["facts"][3]["views"]:
        if view["attack"].endswith("fp4"):
            view["k"]["unlearned"] = 0.99
    shown = gallery(honest_certificate("FAIL", image_examples=examples))
    under = {label: [fact.answer for fact, _ in facts] for label, facts in shown.attacks}
    assert list(under) == ["quantization/bnb fp4", "quantization/bnb nf4"]
    assert under["quantization/bnb fp4"] == ["ring", "circle", "square", "triangle"]
    assert under["quantization/bnb nf4"] == list(SHAPES)
    assert [pair.fact.answer for pair in shown.pairs] == list(SHAPES)
    assert shown.pairs[3].after.attack == "quantization/bnb fp4"


def test_few_pixels_stay_sharp():
    coarse, fine = (shown_pictures(pictured_certificate(side)).named("img") for side in (32, 33))
    assert {image.get("class") for image in coarse} == {"coarse"}
    assert {image.get("class") for image in fine} == {None}
    assert {(image["width"], image["height"]) for image in fine} == {("33", "33")}


def test_without_pictures_there_is_no_section(certificate):
    for shown in (
        certificate("FAIL"),
        certificate("FAIL", image_examples=image_examples() | {"facts": ()}),
    ):
        assert shown_pictures(shown).elements == []
    assert "pictures" in [heading.get("id") for heading in parsed("pictures").named("h2")]


def test_a_leak_that_was_measured_without_attack_alone_is_shown():
    views = image_examples()
    for fact in views["facts"]:
        fact["views"] = fact["views"][:1]
    page = shown_pictures(honest_certificate("FAIL", image_examples=views))
    assert len(page.named("img")) == 19
    assert "no picture under an attack" in page.said
    assert "attack by attack" not in page.said


def test_the_table_of_models_says_what_was_replaced_and_how_they_draw(page):
    assert "replacement erased/esd-x-circle.safetensors" in page.said
    sampling = 'sampling {"guidance": 1.0, "height": 16, "steps": 15, "width": null}'
    assert page.said.count(sampling) == 5
    plain = parsed("FAIL").said
    assert "replacement erased" not in plain
    assert "sampling" not in plain


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES)
def test_what_is_no_picture_is_never_embedded(content):
    """Even in a certificate that was built without a check."""
    assert shot(text_of(content)) is None
    good = pictured_certificate()
    first = good.image_examples.facts[0].views[0]
    first.pictures["unlearned"] = text_of(content)
    page = shown_pictures(good)
    assert len(page.named("img")) == 4 * 5 * 2 - 1 + 4 * 2 * 5 - 1


@pytest.mark.parametrize("text", ['"><script>', "data:text/html,x", "\x00", "é", HOSTILE])
def test_what_is_not_even_base64_is_never_embedded(text):
    assert shot(text) is None


def test_hostile_texts_around_pictures_stay_texts():
    text = part("image_examples", hostile_pictures())
    page = Page(text)
    assert len(page.named("img")) > 50
    assert page.depth_errors == []
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        assert tag != "img" or set(attributes) <= {"src", "alt", "width", "height", "class"}
    assert all(len(image["alt"]) < 600 for image in page.named("img"))
    assert "<svg onload" not in text


def test_equal_certificates_give_equal_bytes(pictured):
    assert render(pictured) == page_of("pictures")


def test_the_largest_page_fits_a_mail():
    largest = ImageExamplesPart.model_validate(image_examples(64)).model_dump()
    size = sum(len(p) for f in largest["facts"] for v in f["views"] for p in v["pictures"].values())
    largest["facts"] = largest["facts"] * (1_500_000 // size)
    assert len(render(honest_certificate("FAIL", image_examples=largest)).encode()) < 6_000_000


@pytest.mark.slow
@pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("width", "media"), [(320, "screen"), (360, "screen"), (1280, "screen"), (703, "print")]
)
@pytest.mark.parametrize("hostile", [False, True], ids=["honest", "hostile"])
def test_pictures_load_and_nothing_else_is_asked_for(tab, saved, width, media, scheme, hostile):
    page = saved(hostile_pictures() if hostile else pictured_certificate())
    tab.view(width, scheme=scheme, media=media)
    tab.open(page)
    tab.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    loaded = tab.evaluate(
        "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert len(loaded) > 50
    assert set(loaded) == {16}
    asked = [address for address in tab.requests() if not address.startswith("data:image/png;")]
    assert asked == [page.as_uri()]
    assert tab.happened("Log.entryAdded") == []
    assert tab.happened("Page.javascriptDialogOpening") == []
    assert MARKER not in tab.evaluate("document.title")
    assert (
        tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        == 0
    )
    drawn = tab.evaluate(
        "[...document.images].map(i => [i.getBoundingClientRect().width,"
        "i.getBoundingClientRect().height, getComputedStyle(i).imageRendering])"
    )
    assert {rendering for _, _, rendering in drawn} == {"pixelated"}
    assert all(width == pytest.approx(height) and width > 40 for width, height, _ in drawn)
