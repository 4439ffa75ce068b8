"""`auditor keygen`: a pair of keys for signing certificates."""

import json
from pathlib import Path

import click

from auditor.cli.console import OUT, next_step
from auditor.cli.options import FILE, json_option, passphrase_of, passphrase_option


@click.command("keygen")
@click.argument("name", type=FILE)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["ed25519", "ecdsa-p256"]),
    default="ed25519",
    show_default=True,
    help="Algorithm.",
)
@passphrase_option
@json_option
def command(name: Path, kind: str, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a key pair to sign certificates with.

    NAME.pem is secret, NAME.pub.pem is for everybody who verifies. Keys made by openssl do as well:
    `openssl genpkey -algorithm ed25519 -out NAME.pem`.
    """
    from auditor.signing.keys import KINDS, generate

    private, public = name.with_name(f"{name.name}.pem"), name.with_name(f"{name.name}.pub.pem")
    keyid = generate(private, public, KINDS[kind], passphrase_of(passphrase_file))
    if as_json:
        click.echo(json.dumps({"keyid": keyid, "private": str(private), "public": str(public)}))
        return
    OUT.print(f"secret key: {private} (readable by you alone; keep it off the audited machine)")
    OUT.print(f"public key: {public} (give it to whoever verifies, by a way they trust)")
    OUT.print(f"key id: {keyid}", highlight=False)
    next_step(f"auditor sign CERT --key {private}")
