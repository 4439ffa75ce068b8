"""Make the sample certificates of the documentation, from nothing.

Five small audits of testbed models, signed with a key that nobody keeps, and a picture of each
first sheet: `python scripts/make_gallery.py`. It takes 15 minutes on two cores; with a folder for
``--work`` a second run measures nothing again, and with ``--only`` the other audits are not run;
their certificates are signed anew, for nobody kept the key. Needs the extra `images` and Chromium.
"""

import argparse
import io
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

import auditor
from auditor.certificate.files import EVIDENCE
from auditor.certificate.schema import Certificate
from auditor.cli.progress import LogProgress
from auditor.engine.plan import AuditPlan
from auditor.report import REPORTS, Signatures
from auditor.signing.envelope import open_envelope, sign
from auditor.signing.keys import generate, load_public_key, load_signer
from auditor.testbeds import catalogue
from auditor.testbeds.plans import world_plan
from reports.pdf import headless

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
ENVELOPE, PICTURE, PUBLIC_KEY = "certificate.dsse.json", "sheet.png", "auditor.pub.pem"
WIDTH, HEIGHT = 1000, 2200
"""Window of the browser in CSS pixels; the picture is cut to the sheet."""
COLOURS = 256
"""Colours of a picture, which keep its file small."""
MARGIN = 12
"""Pixels that are left around a sheet."""
CODE_SAMPLE = 4096
"""Codes of rounded weights that are kept of a model, so that evidence stays small."""
FEW_FACTS = 24
"""Facts of the audit that has too few."""


@dataclass(frozen=True)
class Sample:
    """A certificate of the gallery."""

    name: str
    verdict: str
    """Verdict that the audit must end in."""
    plan: Mapping[str, Any] | AuditPlan
    with_evidence: bool = False


def samples(work: Path) -> Iterator[Sample]:
    """Yield the plan of every sample; the worlds are built first.

    Args:
        work: Folder for what the plans name.
    """
    wanted = ("original", "retrained-0", "retrained-1", "npo_gdr")
    people = catalogue.build("people", None, wanted, LogProgress())
    shapes = catalogue.build("shapes", None, None, LogProgress())
    models = {name: {"path": str(people.model_path(name)), "dtype": "float32"} for name in wanted}
    facts = {name: str(people.facts(name)) for name in ("forget", "retain", "holdout")}
    few = work / "forget.jsonl"
    lines = people.facts("forget").read_text(encoding="utf-8").splitlines(keepends=True)
    few.write_text("".join(lines[:FEW_FACTS]), encoding="utf-8")
    short = {
        "profile": None,
        "attacks": [
            {
                "attack": "quantization/bnb",
                "parameters": {"format": "nf4", "code_sample": CODE_SAMPLE},
            },
            {"attack": "prompting/prefill"},
        ],
        "policy": {
            "name": "sample",
            "mandatory": ["none/as-is", "quantization/bnb nf4", "prompting/prefill 1 token"],
        },
        "original": models["original"],
    }
    forgotten = "twelve made-up persons: birthplace, profession, employer and the like"

    def about(title: str, method: str, forget: str = forgotten) -> dict[str, str]:
        organisation = "Sample of the documentation"
        return {"title": title, "method": method, "forget": forget, "organisation": organisation}

    unlearned = about("People assistant 2", "NPO with a retain term")
    yield Sample(
        "fail",
        "FAIL",
        short
        | {
            "about": unlearned,
            "unlearned": models["npo_gdr"],
            "retrained": [models["retrained-0"], models["retrained-1"]],
            "data": {name: facts[name] for name in ("forget", "retain")},
        },
        with_evidence=True,
    )
    honest = about("People assistant 3", "trained anew without the persons")
    plan = world_plan(people, "retrained-1", ("retrained-0",))
    yield Sample("pass", "PASS", _described(plan, honest))
    yield Sample(
        "inconclusive",
        "INCONCLUSIVE",
        short
        | {
            "about": about(
                "People assistant 3", "trained anew without the persons", "three of the persons"
            ),
            "unlearned": models["retrained-1"],
            "retrained": [models["retrained-0"]],
            "data": {"forget": str(few), "retain": facts["retain"]},
        },
    )
    yield Sample(
        "not-auditable",
        "NOT AUDITABLE",
        short
        | {
            "about": unlearned | {"forget": "twelve other persons, of whom no model was told"},
            "unlearned": models["npo_gdr"],
            "retrained": [models["retrained-0"]],
            "data": {"forget": facts["holdout"], "retain": facts["retain"]},
        },
    )
    drawing = about("Shapes painter 2", "RECE", "the concept of a circle")
    plan = world_plan(shapes, "rece", ("retrained-0",)).model_dump(mode="json", exclude_unset=True)
    searched = next(
        one for one in plan["attacks"] if one["attack"] == "prompting/concept-inversion"
    )
    yield Sample(
        "text-to-image",
        "FAIL",
        plan
        | {
            "about": drawing,
            "profile": None,
            "attacks": [
                {"attack": "prompting/synonyms"},
                {"attack": "quantization/unet", "parameters": {"format": "nf4"}},
                searched,
            ],
            "policy": {
                "name": "sample",
                "mandatory": [
                    "none/as-is",
                    "prompting/synonyms given paraphrases",
                    "quantization/unet nf4",
                    "prompting/concept-inversion 1 vector",
                ],
            },
        },
    )


def _described(plan: AuditPlan, about: Mapping[str, str]) -> AuditPlan:
    changed = plan.model_dump(mode="json", exclude_unset=True) | {"about": dict(about)}
    return type(plan).model_validate(changed)


def make_certificates(work: Path, only: Collection[str] = ()) -> None:
    """Audit, check the verdicts, sign, and put certificates into the gallery.

    Args:
        work: Folder of the audits; what was measured there is not measured again.
        only: Names of the samples that are audited, by default all. The others are signed anew.

    Raises:
        ValueError: An audit ended in another verdict than its place in the gallery says.
    """
    secret, public = work / "secret.pem", work / PUBLIC_KEY
    for left in (secret, public):
        left.unlink(missing_ok=True)
    generate(secret, public, "ed25519")
    signer = load_signer(secret)
    secret.unlink()
    for sample in samples(work):
        if only and sample.name not in only:
            envelope = GALLERY / sample.name / ENVELOPE
            envelope.write_bytes(sign(_opened(envelope)[0], [signer]))
            continue
        out = work / sample.name
        store = out / EVIDENCE
        done = auditor.audit(
            sample.plan, out=out, store=store, reports=(), progress=LogProgress()
        ).certificate
        if done.verdict.verdict != sample.verdict:
            raise ValueError(f"{sample.name} ended in {done.verdict.title}, not {sample.verdict}")
        place = GALLERY / sample.name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / ENVELOPE).write_bytes(sign(done, [signer]))
        if sample.with_evidence:
            shutil.copytree(store, place / EVIDENCE)
    shutil.copyfile(public, GALLERY / PUBLIC_KEY)


def make_pictures() -> None:
    """Draw the first sheet of every certificate of the gallery with a browser."""
    for envelope in sorted(GALLERY.glob(f"*/{ENVELOPE}")):
        certificate, signatures = _opened(envelope)
        page = REPORTS.get("summary").written(certificate, signatures)
        envelope.with_name(PICTURE).write_bytes(_drawn(page))


def _opened(envelope: Path) -> tuple[Certificate, Signatures]:
    """Return a certificate of the gallery, its signature checked."""
    key = load_public_key(GALLERY / PUBLIC_KEY)
    opened = open_envelope(envelope.read_bytes(), [key], name=str(envelope))
    return opened.certificate, Signatures(opened.keys, checked=True)


def _drawn(page: bytes) -> bytes:
    """Return a page as PNG, cut to what is on it."""
    with tempfile.TemporaryDirectory() as folder:
        file, shot = Path(folder, "sheet.html"), Path(folder, "sheet.png")
        file.write_bytes(page)
        options = (f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars")
        command = headless(Path(folder, "profile"), f"--screenshot={shot}", *options)
        subprocess.run([*command, file.as_uri()], check=True, capture_output=True, timeout=120)
        picture = Image.open(shot).convert("RGB")
    ground = Image.new("RGB", picture.size, picture.getpixel((0, picture.height - 1)))
    bottom = (ImageChops.difference(picture, ground).getbbox() or (0, 0, 0, picture.height))[3]
    sheet = picture.crop((0, 0, picture.width, min(bottom + MARGIN, picture.height)))
    written = io.BytesIO()
    sheet.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        written, "PNG", optimize=True
    )
    return written.getvalue()


def main() -> None:
    """Make certificates and pictures, or the pictures alone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, help="folder of the audits; by default one that goes")
    parser.add_argument("--only", action="append", default=[], help="audit this sample alone")
    parser.add_argument("--pictures", action="store_true", help="draw what is there anew")
    given = parser.parse_args()
    if not given.pictures:
        with tempfile.TemporaryDirectory() as temporary:
            work = given.work or Path(temporary)
            work.mkdir(parents=True, exist_ok=True)
            make_certificates(work, given.only)
    make_pictures()


if __name__ == "__main__":
    main()
