"""Hook of mkdocs: pages of the repository's root on the site, and links that lead to them.

Schemas of certificates are put beside the page about them, and sample certificates are rendered.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from auditor.report import REPORTS, Signatures
from auditor.signing.envelope import open_envelope
from auditor.signing.keys import load_public_key

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md"} | {
    str(path.relative_to(ROOT)): str(path.relative_to(ROOT))
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md")])
    if path.name != "README.md"
}
GALLERY = ROOT / "docs" / "gallery"
ENVELOPE = "certificate.dsse.json"
_SAMPLE = re.compile(rf"\[certificate\]\(([\w-]+)/{re.escape(ENVELOPE)}\)")
"""Link to a sample certificate, by the folder that it is in."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside the folder of documentation."""
    for source, place in PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for schema in sorted((ROOT / "auditor" / "certificate").glob("*.schema.json")):
        place = f"reference/{schema.name}"
        files.append(File.generated(config, place, abs_src_path=str(schema)))
    key = load_public_key(GALLERY / "auditor.pub.pem")
    for sample in sorted(GALLERY.glob(f"*/{ENVELOPE}")):
        opened = open_envelope(sample.read_bytes(), [key], name=str(sample))
        place = f"gallery/{sample.parent.name}/certificate.html"
        page = REPORTS.get("html").written(
            opened.certificate, Signatures(opened.keys, checked=True)
        )
        files.append(File.generated(config, place, content=page))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between the root and the folder `docs` into links within the site."""
    if page.file.src_uri in PAGES.values():
        return re.sub(r"\]\((\.\./)?docs/", r"](\1", markdown)
    shown = rf"[page](\1/certificate.html), [signed certificate](\1/{ENVELOPE})"
    markdown = _SAMPLE.sub(shown, markdown)
    markdown = markdown.replace("](../../auditor/certificate/", "](")
    markdown = re.sub(r"\]\(((?:\.\./)*)\.\./(?=[A-Z]|benchmarks/)", r"](\1", markdown)
    return markdown.replace("](README.md", "](index.md").replace("](../README.md", "](../index.md")
