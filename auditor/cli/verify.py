"""`auditor verify`: whether a certificate can be relied on."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.text import Text

from auditor.certificate.schema import Certificate
from auditor.cli.console import OUT, foreign
from auditor.cli.evidence import evidence_option, key_options, open_evidence, trusted_certificate
from auditor.cli.options import json_option, quiet_option
from auditor.cli.progress import chosen_progress
from auditor.core.errors import AuditorError

_SHOWN = 600
"""Characters of what a check found."""


@click.command("verify")
@click.argument("certificate_file", metavar="CERT", type=Path)
@key_options
@click.option(
    "--unsigned",
    is_flag=True,
    help="Check the rest of a certificate that nobody signed; anybody may have written it.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[ARM=]DIR",
    help="A model on disk to compare with the certificate; without ARM the unlearned one.",
)
@evidence_option
@quiet_option
@json_option
def command(
    certificate_file: Path,
    keys: tuple[Path, ...],
    threshold: int,
    unsigned: bool,
    models: tuple[str, ...],
    evidence: Path | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Check a certificate: signature, evidence, verdict, model.

    The verdict and every figure are worked out again from the evidence. Exit code 0 says that all
    that could be checked holds, whatever the verdict is; each refusal has its own: 10 no
    certificate, 11 altered, 12 not signed by a trusted key, 13 a signature made for something else,
    14 the evidence says otherwise, 15 evidence changed or missing, 16 another model, 17 expired.
    """
    if bool(keys) == unsigned:
        raise AuditorError(
            "give the public key that you trust (--key), or --unsigned to check a certificate that "
            "nobody signed. A key that comes with a certificate proves nothing."
        )
    certificate, checks = _signature(certificate_file, keys, threshold)
    checks |= _validity(certificate)
    checks |= _evidence(certificate, certificate_file, evidence, quiet)
    checks |= _models(certificate, models)
    if as_json:
        verdict = certificate.verdict.verdict
        report = {"certificate": certificate.certificate_id, "verdict": verdict, "checks": checks}
        click.echo(json.dumps(report))
        return 0
    for name, said in checks.items():
        mark = ("-", "yellow") if said.startswith("not checked") else ("✓", "green")
        OUT.print(Text.assemble(mark, " ", foreign(f"{name}: {said}", _SHOWN)))
    OUT.print(f"the certificate says: [bold]{certificate.verdict.verdict}[/]", highlight=False)
    return 0


def _signature(
    path: Path, keys: tuple[Path, ...], threshold: int
) -> tuple[Certificate, dict[str, str]]:
    from auditor.signing.reading import read

    if keys:
        certificate, signers = trusted_certificate(path, keys, threshold)
        said = f"holds, by {', '.join(signers)}"
    else:
        certificate, claimed = read(path)
        said = "not checked: no key was given" if claimed else "not checked: nobody signed"
    form = f"follows schema {certificate.schema_version}; its content has the id that it names"
    return certificate, {"signature": said, "form": form}


def _validity(certificate: Certificate) -> dict[str, str]:
    from auditor.verification.validity import check_expired_certificate

    check_expired_certificate(certificate, datetime.now(UTC))
    limit = certificate.timing.expires
    return {"validity": f"until {limit}" if limit else "no limit was set"}


def _evidence(
    certificate: Certificate, path: Path, evidence: Path | None, quiet: bool
) -> dict[str, str]:
    from auditor.verification.evidence import check_changed
    from auditor.verification.recompute import check_contradiction

    if evidence is None and not (path.parent / "evidence").is_dir():
        missing = "not checked: there is no evidence beside the certificate (--evidence)"
        return {"evidence": missing, "verdict": missing}
    store = open_evidence(path, evidence)
    jobs = check_changed(certificate, store, chosen_progress(quiet))
    check_contradiction(certificate, store)
    return {
        "evidence": f"{jobs} jobs in {store.name} are those that it was made from",
        "verdict": "follows from the evidence, and so does every figure that rests on it",
    }


def _models(certificate: Certificate, models: tuple[str, ...]) -> dict[str, str]:
    from auditor.verification.model import check_false_arms, check_other_model

    check_false_arms(certificate)
    if not models:
        return {"model": "not checked: no model was given (--model)"}
    checked = {}
    arms = {part.arm for part in certificate.identity.arms}
    for given in models:
        arm, _, folder = given.partition("=")
        if arm not in arms:
            arm, folder = "unlearned", given
        check_other_model(certificate, arm, Path(folder))
        checked[f"model {arm}"] = f"{folder} is the one that was audited"
    return checked
