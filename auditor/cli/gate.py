"""`auditor gate`: the gate of a release pipeline.

It lets a model through or does not.
"""

import json
from pathlib import Path

import click

from auditor.cli.completion import among, policies
from auditor.cli.console import OUT, foreign, next_step, print_verdict
from auditor.cli.evidence import (
    check_trust,
    evidence_option,
    identity_of,
    key_options,
    unsigned_option,
)
from auditor.cli.options import FILE, json_option
from auditor.policy import is_ready_made

_NEXT = {"PASS": "release exactly these files; auditor verify CERT --model DIR compares a folder"}
_OTHERWISE = "let no release through; auditor render CERT --as text says what to do"


@click.command("gate")
@click.argument("certificate_file", metavar="CERT", type=FILE)
@click.option(
    "--policy",
    required=True,
    metavar="POLICY",
    shell_complete=among(policies, or_file=True),
    help="A policy file, or a ready-made policy (`auditor policy list`).",
)
@evidence_option
@key_options
@unsigned_option
@json_option
def command(
    certificate_file: Path,
    policy: str,
    evidence: str | Path | None,
    keys: tuple[Path, ...],
    threshold: int,
    identity: str | None,
    issuer: str | None,
    trust_config: Path | None,
    unsigned: bool,
    as_json: bool,
) -> int:
    """Decide again under a policy, from the stored evidence.

    No model is needed. CERT is a certificate, a signed envelope or a Sigstore bundle. With --key or
    --identity its signatures are checked first; one that nobody signed is read with --unsigned
    only. The exit code is that of the verdict: 0 PASS, 1 FAIL, 3 INCONCLUSIVE or NOT AUDITABLE, 4 a
    mandatory attack failed; 10 to 17 say that the certificate or its evidence does not hold.
    """
    trusted = identity_of(identity, issuer, trust_config)
    check_trust(keys, unsigned, trusted)
    from auditor.api.certificates import gate

    gated = gate(
        certificate_file,
        policy,
        keys=keys,
        threshold=threshold,
        identity=trusted,
        store=evidence,
    )
    demanded, signers = gated.policy, gated.signers or ()
    if as_json:
        report = {
            "certificate": gated.certificate.certificate_id,
            "policy": {
                "name": demanded.name,
                "digest": demanded.digest,
                "ready_made": is_ready_made(demanded),
            },
            "same_policy": gated.same_policy,
            "signed_by": list(signers),
            "missing": list(gated.missing),
            "verdict": gated.verdict.model_dump(mode="json"),
        }
        click.echo(json.dumps(report))
        return gated.verdict.exit_code
    print_verdict(gated.verdict)
    origin = "ready-made" if is_ready_made(demanded) else "not a ready-made one"
    decided = "the audit's own" if gated.same_policy else "another than the audit's"
    OUT.print(foreign(f"policy: {demanded.name} ({origin}, {decided}), {demanded.digest}"))
    if signers:
        OUT.print(f"signed by {', '.join(signers)}", highlight=False)
    else:
        OUT.print(
            "[bold red]unsigned[/]: anybody may have written this certificate (no signer named)"
        )
    next_step(_NEXT.get(gated.verdict.verdict, _OTHERWISE))
    return gated.verdict.exit_code
