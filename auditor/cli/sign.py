"""`auditor sign`: a certificate, signed."""

import json
from pathlib import Path

import click

from auditor.cli.console import OUT
from auditor.cli.options import json_option, passphrase_of, passphrase_option
from auditor.errors import AuditorError

_SUFFIX = ".dsse.json"


@click.command("sign")
@click.argument("certificate_file", metavar="CERT", type=Path)
@click.option("--key", type=Path, help="Your secret key (PEM).")
@passphrase_option
@click.option("--sigstore", is_flag=True, help="Sign keyless instead; needs the extra sigstore.")
@click.option("--out", type=Path, help="File to write.  [default: CERT with the ending .dsse.json]")
@json_option
def command(
    certificate_file: Path,
    key: Path | None,
    passphrase_file: Path | None,
    sigstore: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sign a certificate, or add a signature to one that others have signed.

    The certificate becomes the predicate of an in-toto statement about the audited models, in a
    DSSE envelope. A certificate whose content does not match its id is not signed.
    """
    if (key is None) == (not sigstore):
        raise AuditorError("give either --key with your secret key, or --sigstore.")
    said: dict[str, str] = {}
    if key is None:
        written = _keyless(certificate_file, out)
    else:
        written, said = _with_key(certificate_file, key, passphrase_of(passphrase_file), out)
    if as_json:
        click.echo(json.dumps({"file": str(written), **said}))
        return
    OUT.print(str(written), markup=False, highlight=False)
    for name, value in said.items():
        OUT.print(f"{name}: {value}", markup=False, highlight=False)


def _with_key(
    source: Path, key: Path, passphrase: bytes | None, out: Path | None
) -> tuple[Path, dict[str, str]]:
    from auditor.signing.envelope import add_signature, sign
    from auditor.signing.keys import load_signer
    from auditor.signing.reading import read

    signer = load_signer(key, passphrase)
    certificate, claimed = read(source)
    if claimed is None:
        target = out or source.with_name(source.stem + _SUFFIX)
        content = sign(certificate, [signer])
    else:
        target = out or source
        content = add_signature(source.read_bytes(), signer, str(source))
    target.write_bytes(content)
    return target, {
        "keyid": signer.public_key.keyid,
        "certificate": certificate.certificate_id,
        "verdict": certificate.verdict.verdict,
    }


def _keyless(source: Path, out: Path | None) -> Path:
    from auditor.signing.keyless import sign_keyless
    from auditor.signing.reading import read

    target = out or source.with_name(f"{source.stem}.sigstore.json")
    target.write_text(sign_keyless(read(source)[0]), encoding="utf-8")
    return target
