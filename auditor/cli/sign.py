"""`auditor sign`: a certificate, signed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditor.certificate.schema import Certificate
from auditor.cli.console import OUT, next_step
from auditor.cli.options import FILE, json_option, passphrase_of, passphrase_option
from auditor.core.errors import AuditorError, MalformedError
from auditor.core.files import write_whole
from auditor.core.reading import read_regular

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

_SUFFIX = ".dsse.json"


@click.command("sign")
@click.argument("certificate_file", metavar="CERT", type=FILE)
@click.option("--key", type=FILE, help="Your secret key (PEM).")
@passphrase_option
@click.option(
    "--kms",
    metavar="URI",
    help="Your secret key in a service: awskms:KEY, gcpkms:KEY, azurekms:KEY, hv:KEY/VERSION "
    "(Vault) or hsm:ID.",
)
@click.option("--public-key", type=FILE, help="Public part of that key (PEM).")
@click.option("--sigstore", is_flag=True, help="Sign keyless instead; needs the extra sigstore.")
@click.option(
    "--trust-config",
    type=FILE,
    metavar="FILE",
    help="Root of trust and addresses of another Sigstore service than the public one.",
)
@click.option("--out", type=FILE, help="File to write.  [default: CERT with the ending .dsse.json]")
@json_option
def command(
    certificate_file: Path,
    key: Path | None,
    passphrase_file: Path | None,
    kms: str | None,
    public_key: Path | None,
    sigstore: bool,
    trust_config: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sign a certificate, or add a signature to a signed one.

    The certificate becomes the predicate of an in-toto statement about the audited models, in a
    DSSE envelope. A certificate whose content does not match its id is not signed, and no file is
    written over but an envelope of another certificate. The page beside it says who signed, then.
    """
    if [key is not None, kms is not None, sigstore].count(True) != 1:
        raise AuditorError(
            "give one of --key with your secret key, --kms with the name of one that a service "
            "keeps, and --sigstore."
        )
    said: dict[str, str] = {}
    if sigstore:
        written = _keyless(certificate_file, out, trust_config)
    else:
        with _signer(key, passphrase_of(passphrase_file), kms, public_key) as signer:
            written, said = _with_key(certificate_file, signer, out)
    page = _page_again(written)
    if as_json:
        click.echo(json.dumps({"file": str(written), **said}))
        return
    OUT.print(str(written), markup=False, highlight=False)
    for name, value in said.items():
        OUT.print(f"{name}: {value}", markup=False, highlight=False)
    if page is not None:
        OUT.print(f"rendered again, with its signatures: {page}", markup=False, highlight=False)
    whose = "--identity NAME --issuer URL" if sigstore else "--key PUBLIC-KEY"
    next_step(f"auditor verify {written} {whose}")


def _page_again(written: Path) -> Path | None:
    """Render the page beside an envelope again, with its signatures.

    Returns:
        The page; None where there is none of this certificate, or the file is no envelope.
    """
    from auditor.report import REPORTS, Signatures
    from auditor.signing.reading import read

    page = written.with_name(written.name.removesuffix(_SUFFIX) + ".html")
    if not written.name.endswith(_SUFFIX) or not page.is_file():
        return None
    certificate, keys = read(written)
    if keys is None or certificate.certificate_id.encode() not in page.read_bytes():
        return None
    try:
        content = REPORTS.get("html").written(certificate, Signatures(keys, checked=False))
    except AuditorError:  # what draws the page is not installed; it is signed all the same
        return None
    write_whole(page, content)
    return page


@contextmanager
def _signer(
    key: Path | None, passphrase: bytes | None, kms: str | None, public: Path | None
) -> Iterator["Signer"]:
    """Yield what signs: a key of a file, or of a service."""
    from auditor.signing.keys import load_signer
    from auditor.signing.kms import signing_with

    if (kms is None) != (public is None):
        raise AuditorError("--kms and --public-key belong together.")
    if kms is not None and public is not None:
        with signing_with(kms, public, passphrase) as signer:
            yield signer
    elif key is not None:
        yield load_signer(key, passphrase)


def _with_key(source: Path, signer: "Signer", out: Path | None) -> tuple[Path, dict[str, str]]:
    from auditor.signing.envelope import add_signature, sign
    from auditor.signing.reading import parse

    given = _bytes(source)
    certificate, claimed = parse(given, str(source))
    if claimed is None:
        target = out or source.with_name(source.stem + _SUFFIX)
        content = sign(certificate, [signer])
    else:
        target = out or source
        content = add_signature(given, signer, str(source))
    if claimed is None or not (target.exists() and target.samefile(source)):
        _check_loss(target, certificate)
    write_whole(target, content)  # the signatures that it holds already must not be lost
    return target, {
        "keyid": signer.public_key.keyid,
        "certificate": certificate.certificate_id,
        "verdict": certificate.verdict.verdict,
    }


def _keyless(source: Path, out: Path | None, trust: Path | None) -> Path:
    from auditor.signing.keyless import sign_keyless
    from auditor.signing.reading import read

    certificate = read(source)[0]
    target = out or source.with_name(f"{source.stem}.sigstore.json")
    if target.exists():
        raise AuditorError(f"{target} exists already; choose another place with --out.")
    write_whole(target, sign_keyless(certificate, trust).encode())
    return target


def _bytes(source: Path) -> bytes:
    try:
        return read_regular(source)
    except OSError as error:
        raise MalformedError(
            f"the certificate {source} cannot be read: {error.strerror}."
        ) from error


def _check_loss(target: Path, certificate: Certificate) -> None:
    """Refuse to write over what would be lost.

    That is signatures of this certificate, or a file of another sort.

    An envelope of another certificate is left from an earlier audit, and gives way.
    """
    from auditor.signing.reading import read

    if not target.exists():
        return
    try:
        held, keys = read(target)
    except AuditorError as error:
        raise AuditorError(
            f"{target} exists and is no signed certificate, so it is not written over; choose "
            "another place with --out."
        ) from error
    if keys is None:
        raise AuditorError(
            f"{target} is a certificate that nobody signed, and is not written over; choose "
            "another place with --out."
        )
    if held == certificate:
        raise AuditorError(
            f"{target} holds this certificate, signed by {', '.join(keys) or 'nobody'}; sign that "
            "file to add a signature, or choose another place with --out."
        )
