"""`auditor verify`: whether a certificate can be relied on."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from auditor.cli.console import OUT, foreign, next_step
from auditor.cli.evidence import (
    check_trust,
    evidence_option,
    identity_of,
    key_options,
    unsigned_option,
)
from auditor.cli.options import FILE, json_option, quiet_option
from auditor.cli.progress import chosen_progress

if TYPE_CHECKING:
    from auditor.api.certificates import Verification

_UNPROVED = Text(
    "NOT CHECKED: nothing shows that this verdict follows from what was measured.", "bold yellow"
)
_SHOWN = 600
"""Most characters of a check's finding that are shown."""
_LISTED = 4_000
"""Most characters of the list of what cannot be checked."""


@click.command("verify")
@click.argument("certificate_file", metavar="CERT", type=FILE)
@key_options
@unsigned_option
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[ARM=]DIR",
    help="A model on disk to compare with the certificate; without ARM the unlearned one.",
)
@evidence_option
@click.option(
    "--require-evidence",
    is_flag=True,
    help="Refuse a certificate whose evidence is not there (exit code 15).",
)
@quiet_option
@json_option
def command(
    certificate_file: Path,
    keys: tuple[Path, ...],
    threshold: int,
    identity: str | None,
    issuer: str | None,
    trust_config: Path | None,
    unsigned: bool,
    models: tuple[str, ...],
    evidence: str | Path | None,
    require_evidence: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Check a certificate: signature, evidence, verdict, model.

    The verdict, every figure and whatever else follows from evidence, plan and store are worked out
    again; what cannot be, and rests on the signature alone, is listed. Exit code 0 says that all
    that could be checked holds, whatever the verdict is; each refusal has its own: 10 no
    certificate, 11 altered, 12 not signed by a trusted key, 13 a signature made for something else,
    14 the evidence says otherwise, 15 evidence changed or missing, 16 another model, 17 expired.
    """
    trusted = identity_of(identity, issuer, trust_config)
    check_trust(keys, unsigned, trusted)
    from auditor.api.certificates import verify

    done = verify(
        certificate_file,
        keys=keys,
        threshold=threshold,
        identity=trusted,
        store=evidence,
        models=models,
        require_evidence=require_evidence,
        progress=chosen_progress(quiet),
    )
    certificate, checks = done.certificate, _checks(done)
    if as_json:
        verdict = certificate.verdict.verdict
        report = {
            "certificate": certificate.certificate_id,
            "verdict": verdict,
            "checks": checks,
            "signature_alone": list(done.signature_alone),
        }
        click.echo(json.dumps(report))
        return 0
    for name, said in checks.items():
        mark = ("-", "yellow") if said.startswith("not checked") else ("✓", "green")
        unproved = "bold yellow" if name == "verdict" and done.jobs is None else ""
        OUT.print(Text.assemble(mark, " ", foreign(f"{name}: {said}", _SHOWN, unproved)))
    OUT.print(f"the certificate says: [bold]{certificate.verdict.title}[/]", highlight=False)
    if done.jobs is None:
        OUT.print(_UNPROVED)
    resting = "rest on the signature alone" if done.signers else "rest on nobody's signature"
    OUT.print(foreign(f"{', '.join(done.signature_alone)}: {resting}", _LISTED, "dim"))
    next_step(f"auditor gate {certificate_file} --policy release-gate, with the same keys")
    return 0


def _checks(done: "Verification") -> dict[str, str]:
    """Return the checks and their results."""
    certificate, limit = done.certificate, done.certificate.timing.expires
    if done.signers is not None:
        signature = f"holds, by {', '.join(done.signers)}"
    else:
        why = "no key or identity was given" if done.claimed else "nobody signed"
        signature = f"not checked: {why}"
    checks = {
        "signature": signature,
        "form": f"follows schema {certificate.written_version}; its content has the id it names",
        "validity": f"until {limit}" if limit else "no limit was set",
    }
    if done.jobs is None:
        missing = "not checked: no evidence is beside the certificate or one folder up (--evidence)"
        checks |= {"evidence": missing, "verdict": missing}
    else:
        checks |= {
            "evidence": f"{done.jobs} jobs in {done.store} are those that it was made from",
            "verdict": "follows from the evidence, and so does every figure that rests on it",
        }
    if certificate.converted_from is not None:
        checks["sentences"] = (
            "not checked: this release words values itself, and shows the sentences of a "
            "certificate of an earlier schema as they were written"
        )
    if done.not_recomputed:
        checks["reports of attacks"] = (
            f"not checked: {', '.join(done.not_recomputed)} cannot be imported here, so what they "
            "report beside K was not computed again (pip install 'unlearning-auditor[audit]')"
        )
    if not done.models:
        return checks | {"model": "not checked: no model was given (--model)"}
    return checks | {
        f"model {arm}": f"{folder} is the one that was audited"
        for arm, folder in done.models.items()
    }
