"""Keyless signing is an extra: without it, an error says what to do."""

import importlib.util

import pytest

from auditor.certificate.files import write_certificate
from auditor.cli.main import run


@pytest.mark.skipif(
    importlib.util.find_spec("sigstore") is not None, reason="the extra sigstore is installed"
)
def test_without_the_extra(small, tmp_path, capsys):
    file = tmp_path / "certificate.json"
    write_certificate(small(), file)
    assert run(["sign", str(file), "--sigstore"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "pip install 'unlearning-auditor[sigstore]'" in said
    assert "Signing with a key (--key) needs nothing of it" in said
    assert list(tmp_path.iterdir()) == [file]


def test_a_bundle_is_not_written_over(small, tmp_path, capsys):
    file, bundle = tmp_path / "certificate.json", tmp_path / "certificate.sigstore.json"
    write_certificate(small(), file)
    bundle.write_text("{}", encoding="utf-8")
    assert run(["sign", str(file), "--sigstore"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert bundle.read_text(encoding="utf-8") == "{}"
