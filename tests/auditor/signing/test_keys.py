"""Keys: ours and openssl's, guarded and told apart."""

import shutil
import stat
import subprocess

import pytest

from auditor.core.errors import AuditorError
from auditor.signing.envelope import open_envelope, sign
from auditor.signing.keys import KINDS, generate, load_public_key, load_signer

OPENSSL = shutil.which("openssl")
MADE = {
    "ed25519": ["genpkey", "-algorithm", "ed25519"],
    "ecdsa-p256": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ec-sec1": ["ecparam", "-name", "prime256v1", "-genkey", "-noout"],
    "p384": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "rsa": ["genpkey", "-algorithm", "RSA"],
    "ed448": ["genpkey", "-algorithm", "ED448"],
    "secp112r1": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp112r1"],
    "ec-with-parameters": ["ecparam", "-name", "prime256v1", "-genkey"],
}


@pytest.fixture
def made(tmp_path):
    """A key pair of openssl."""
    if OPENSSL is None:
        pytest.skip("openssl is not installed")

    def make(kind):
        private, public = tmp_path / f"{kind}.pem", tmp_path / f"{kind}.pub.pem"
        subprocess.run([OPENSSL, *MADE[kind], "-out", private], check=True, capture_output=True)
        subprocess.run(
            [OPENSSL, "pkey", "-in", private, "-pubout", "-out", public],
            check=True,
            capture_output=True,
        )
        return private, public

    return make


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256", "ec-sec1", "ec-with-parameters"])
def test_keys_of_openssl_sign_and_verify(made, small, kind):
    private, public = made(kind)
    signer, key = load_signer(private), load_public_key(public)
    assert signer.public_key.keyid == key.keyid
    assert open_envelope(sign(small(), [signer]), [key]).keys == (key.keyid,)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("p384", "secp384r1"),
        ("rsa", "another kind"),
        ("ed448", "another kind"),
        ("secp112r1", "another kind"),
    ],
)
def test_other_kinds_are_refused(made, kind, said):
    for load, file in zip((load_signer, load_public_key), made(kind), strict=True):
        with pytest.raises(AuditorError, match=f"(?s){said}.*Ed25519"):
            load(file)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_secret_key_is_its_owners_alone_and_never_written_over(tmp_path, kind):
    private, public = tmp_path / "k" / "a.pem", tmp_path / "k" / "a.pub.pem"
    keyid = generate(private, public, KINDS[kind])
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert load_public_key(public).keyid == keyid == load_signer(private).public_key.keyid
    before = private.read_bytes()
    with pytest.raises(AuditorError, match="never written over"):
        generate(private, tmp_path / "other.pub.pem", KINDS[kind])
    assert private.read_bytes() == before


def test_a_passphrase_of_openssl(made, small, tmp_path):
    private, public = made("ecdsa-p256")
    guarded = tmp_path / "guarded.pem"
    words = ["-aes256", "-passout", "pass:open sesame", "-out", guarded]
    subprocess.run([OPENSSL, "pkey", "-in", private, *words], check=True, capture_output=True)
    signer = load_signer(guarded, b"open sesame")
    assert open_envelope(sign(small(), [signer]), [load_public_key(public)])


def test_one_key_in_two_files_counts_once(made, small, tmp_path):
    """The files differ in their bytes, the key does not."""
    private, public = made("ecdsa-p256")
    files = [public]
    for name, option in (
        ("short", ["-ec_conv_form", "compressed"]),
        ("long", ["-ec_param_enc", "explicit"]),
    ):
        file = tmp_path / f"{name}.pem"
        arguments = ["pkey", "-in", private, "-pubout", *option, "-out", file]
        subprocess.run([OPENSSL, *arguments], check=True, capture_output=True)
        files.append(file)
    assert len({file.read_bytes() for file in files}) == 3
    keys = [load_public_key(file) for file in files]
    assert len({key.keyid for key in keys}) == 1
    content = sign(small(), [load_signer(private)])
    assert len(open_envelope(content, keys).keys) == 1
    with pytest.raises(AuditorError, match="the same key counts once"):
        open_envelope(content, keys, threshold=2)


def test_a_name_that_is_taken_leaves_nothing_behind(tmp_path):
    taken = tmp_path / "taken"
    taken.symlink_to(tmp_path / "elsewhere")
    free = tmp_path / "free"
    for private, public in ((taken, free), (free, taken), (free, free), (tmp_path, free)):
        with pytest.raises(AuditorError, match="never written over"):
            generate(private, public, "ed25519")
        assert sorted(tmp_path.iterdir()) == [taken]
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(AuditorError, match="exists already"):
        generate(file / "a.pem", file / "a.pub.pem", "ed25519")


def test_a_passphrase_guards_it(tmp_path):
    private, public = tmp_path / "a.pem", tmp_path / "a.pub.pem"
    generate(private, public, "ed25519", b"open sesame")
    assert b"ENCRYPTED" in private.read_bytes()
    assert load_signer(private, b"open sesame")
    with pytest.raises(AuditorError, match="passphrase right"):
        load_signer(private, b"close sesame")
    with pytest.raises(AuditorError, match="with --passphrase-file"):
        load_signer(private)
    generate(tmp_path / "b.pem", tmp_path / "b.pub.pem", "ed25519")
    with pytest.raises(AuditorError, match="not protected"):
        load_signer(tmp_path / "b.pem", b"open sesame")


def test_mixed_up_files_are_told_apart(tmp_path):
    private, public = tmp_path / "a.pem", tmp_path / "a.pub.pem"
    generate(private, public, "ed25519")
    with pytest.raises(AuditorError, match="needs the private one"):
        load_signer(public)
    with pytest.raises(AuditorError, match="keep this one to yourself"):
        load_public_key(private)
    both = tmp_path / "both.pem"
    both.write_bytes(public.read_bytes() + private.read_bytes())
    assert load_signer(both).public_key.keyid == load_public_key(public).keyid
    with pytest.raises(AuditorError, match="keep this one to yourself"):
        load_public_key(both)
    public.write_text("-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n")
    with pytest.raises(AuditorError, match="no public key"):
        load_public_key(public)
    with pytest.raises(AuditorError, match="cannot be read"):
        load_public_key(tmp_path / "nonesuch")
