"""`auditor gate`: the gate of a release pipeline.

It lets a model through or does not.
"""

import json
from pathlib import Path

import click

from auditor.cli.console import OUT, foreign, print_verdict
from auditor.cli.evidence import evidence_option, key_options
from auditor.cli.options import json_option


@click.command("gate")
@click.argument("certificate_file", metavar="CERT", type=Path)
@click.option(
    "--policy",
    required=True,
    metavar="POLICY",
    help="A policy file, or a ready-made policy (`auditor policy list`).",
)
@evidence_option
@key_options
@json_option
def command(
    certificate_file: Path,
    policy: str,
    evidence: Path | None,
    keys: tuple[Path, ...],
    threshold: int,
    as_json: bool,
) -> int:
    """Decide again under a policy, from the stored evidence.

    No model is needed. CERT is a certificate or a signed envelope. With --key its signatures are
    checked first. The exit code is that of the verdict: 0 PASS, 1 FAIL, 3 INCONCLUSIVE or NOT
    AUDITABLE, 4 a mandatory attack failed; 10 to 17 say that the certificate or its evidence does
    not hold.
    """
    from auditor.api.certificates import gate

    gated = gate(certificate_file, policy, keys=keys, threshold=threshold, store=evidence)
    demanded, signers = gated.policy, gated.signers or ()
    if as_json:
        report = {
            "certificate": gated.certificate.certificate_id,
            "policy": {"name": demanded.name, "digest": demanded.digest},
            "same_policy": gated.same_policy,
            "signed_by": list(signers),
            "missing": list(gated.missing),
            "verdict": gated.verdict.model_dump(mode="json"),
        }
        click.echo(json.dumps(report))
        return gated.verdict.exit_code
    print_verdict(gated.verdict)
    decided = "the audit's own" if gated.same_policy else "another than the audit's"
    OUT.print(foreign(f"policy: {demanded.name} ({decided}), {demanded.digest}"))
    signed = f"signed by {', '.join(signers)}" if signers else "signatures: not checked (no --key)"
    OUT.print(signed, highlight=False)
    return gated.verdict.exit_code
