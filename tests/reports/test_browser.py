"""The certificate in a real browser."""

import re
import shutil
import subprocess

import pytest

from reports.html import render

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.slow

PROBE = """<!doctype html><title>probe</title><body>
<iframe id=f src="{page}" style="width:{width}px;height:4000px;border:0"></iframe>
<script>
document.getElementById('f').onload = e => {{
  const d = e.target.contentDocument;
  document.body.dataset.overflow = d.documentElement.scrollWidth - d.documentElement.clientWidth;
  document.body.dataset.title = d.title;
  document.body.dataset.out = [...d.querySelectorAll('main *')].filter(x =>
    !x.closest('.scroller > *, svg, details:not([open]) > :not(summary), .label, .answers thead')
    && x.getBoundingClientRect().right > d.documentElement.clientWidth + 1).length;
  document.body.dataset.headings = d.querySelectorAll('h1').length;
}};
</script>"""


@pytest.fixture
def browse(tmp_path):
    """Runs headless Chromium and returns what it printed."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")

    def run(*arguments):
        command = [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--allow-file-access-from-files", "--virtual-time-budget=5000"),
            f"--user-data-dir={tmp_path / 'profile'}",
            *arguments,
        ]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True
        ).stdout

    return run


@pytest.fixture
def saved(tmp_path):
    def save(certificate):
        path = tmp_path / "certificate.html"
        path.write_text(render(certificate), encoding="utf-8")
        return path

    return save


@pytest.mark.parametrize("guarded", [True, False], ids=["as it is", "without its policy"])
def test_hostile_text_runs_nothing(browse, saved, hostile, guarded):
    page = saved(hostile)
    if not guarded:  # escaping alone has to hold
        text = page.read_text(encoding="utf-8")
        text, removed = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        assert removed == 1
        page.write_text(text, encoding="utf-8")
    dom = browse("--dump-dom", page.as_uri())
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]
    assert "EXECUTED" not in title
    assert "<h1" in dom
    assert "<img" not in dom
    assert not re.search(r"<\w[^>]*\son\w+=", dom)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out_of_the_page(browse, saved, certificate, hostile, tmp_path, width):
    for shown in (certificate("FAIL"), hostile):
        probe = tmp_path / "probe.html"
        probe.write_text(PROBE.format(page=saved(shown).as_uri(), width=width))
        dom = browse("--dump-dom", f"--window-size={width + 40},900", probe.as_uri())
        assert 'data-headings="1"' in dom
        assert 'data-overflow="0"' in dom
        assert 'data-out="0"' in dom


def test_prints_on_paper(browse, saved, certificate, tmp_path):
    printed = tmp_path / "certificate.pdf"
    page = saved(certificate("FAIL")).as_uri()
    browse("--no-pdf-header-footer", f"--print-to-pdf={printed}", page)
    assert printed.read_bytes().startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes()))
    assert 3 <= pages <= 16
