"""Hook of mkdocs: pages of the repository's root on the site, and links that lead to them.

Schemas of certificates are put beside the page about them.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md"} | {
    str(path.relative_to(ROOT)): str(path.relative_to(ROOT))
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md")])
    if path.name != "README.md"
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside the folder of documentation."""
    for source, place in PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for schema in sorted((ROOT / "auditor" / "certificate").glob("*.schema.json")):
        place = f"reference/{schema.name}"
        files.append(File.generated(config, place, abs_src_path=str(schema)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between the root and the folder `docs` into links within the site."""
    if page.file.src_uri in PAGES.values():
        return re.sub(r"\]\((\.\./)?docs/", r"](\1", markdown)
    markdown = markdown.replace("](../../auditor/certificate/", "](")
    markdown = re.sub(r"\]\(((?:\.\./)*)\.\./(?=[A-Z]|benchmarks/)", r"](\1", markdown)
    return markdown.replace("](README.md", "](index.md").replace("](../README.md", "](../index.md")
