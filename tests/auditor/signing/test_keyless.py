"""Keyless signing is an extra: without it, an error says what to do."""

import importlib.util

import pytest

from auditor.cli.main import run
from auditor.errors import AuditorError
from auditor.signing.keyless import sign_keyless


@pytest.mark.skipif(
    importlib.util.find_spec("sigstore") is not None, reason="the extra sigstore is installed"
)
def test_without_the_extra(small, tmp_path, capsys):
    with pytest.raises(AuditorError, match=r"unlearning-auditor\[sigstore\]"):
        sign_keyless(small())
    assert run(["sign", str(tmp_path / "c.json"), "--sigstore", "--key", "k.pem"]) == 2
    assert "either --key" in capsys.readouterr().err
