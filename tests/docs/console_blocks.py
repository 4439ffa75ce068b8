"""Console blocks of Markdown pages, and what pages say of them in HTML comments.

A page may hold, invisible to its readers:

* ``<!-- given: models, plan -->``: what a reader has by then (`given.py` lists what there is);
* ``<!-- not run: network: why -->`` before a block: the block is left out, for this reason;
* ``<!-- exit: 1 -->`` before a block: its last command ends with this code, the others with 0.

A block of another language with a title (``yaml title="plan.yaml"``) is a file of the reader's.
Lines of a console block that are no commands are output that must appear, in this order.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
REASONS = {
    "network": "needs the network, or models of billions of weights from it",
    "gpu": "needs a GPU",
    "cluster": "needs a cluster or an object storage",
    "minutes": "takes more than 20 seconds",
    "server": "runs until it is interrupted",
    "environment": "makes or changes an environment of Python, or a checkout",
    "elsewhere": "needs what another tool or somebody else makes",
}
"""Why a block may be left out."""

_COMMENT = re.compile(r"<!-- (given|not run|exit): (.*?) -->", re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Given:
    """What the reader has from here on."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A file that the page shows."""

    name: str
    content: str


@dataclass(frozen=True)
class Command:
    """A command, and the lines of output that are shown after it."""

    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A console block."""

    place: str
    commands: tuple[Command, ...]
    left_out: str | None
    exit_code: int


Step = Given | File | Block


def parse_page(page: Path) -> list[Step]:
    """Read the steps of a page in order."""
    steps: list[Step] = []
    said: dict[str, str] = {}
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            said = dict(_COMMENT.findall(token.content))
            if "given" in said:
                steps.append(Given(tuple(said["given"].split(", "))))
        elif token.type == "fence":
            place = f"{page.relative_to(ROOT)}:{token.map[0] + 1}"
            language, _, rest = token.info.partition(" ")
            title = _TITLE.search(rest)
            if language == "console":
                steps.append(_block(token.content, said, place))
            elif title:
                steps.append(File(title[1], token.content))
            elif language in ("", "sh", "bash", "shell") and "auditor " in token.content:
                raise ValueError(f"{place}: commands stand in a block of language `console`")
            said = {}
    return steps


def _block(content: str, said: dict[str, str], place: str) -> Block:
    left_out = said.get("not run")
    if left_out and left_out.partition(":")[0] not in REASONS:
        raise ValueError(f"{place}: the reason must begin with one of {', '.join(REASONS)}")
    commands: list[Command] = []
    lines = iter(content.splitlines())
    for line in lines:
        if line.startswith("$ "):
            text = line[2:]
            while text.endswith("\\"):
                text = text[:-1] + next(lines).strip()
            commands.append(Command(text, ()))
        elif line.strip() not in ("", "…"):
            if not commands:
                raise ValueError(f"{place}: output stands before any command")
            last = commands.pop()
            commands.append(Command(last.text, (*last.shown, " ".join(line.split()))))
    return Block(place, tuple(commands), left_out, int(said.get("exit", 0)))
