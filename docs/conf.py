"""How the pages of this folder become a site: `make docs`. The pages stay plain Markdown, read as well where they lie."""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

HERE = Path(__file__).parent
_PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = _PROJECT["name"]
release = version = _PROJECT["version"]
project_copyright = "the authors of knscope"
extensions = ["myst_parser"]
root_doc = "README"
exclude_patterns = ["build"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"{project} {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
pygments_style = "default"
highlight_language = "none"
smartquotes = False


def _contents(text: str) -> str:
    """The index page with a table of contents for each of its lines `**Title**: [page](page.md) · …`."""
    trees = []
    for title, line in re.findall(r"^\*\*(.+?)\*\*: (.+)$", text, re.MULTILINE):
        pages = "\n".join(f"{name} <{page}>" for name, page in re.findall(r"\[(.+?)\]\((.+?)\.md\)", line))
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```")
    return "\n\n".join((text, *trees))


def _read(app: Any, name: str, source: list[str]) -> None:
    """Links to files outside this folder become their names: the site does not hold them."""
    text = source[0] if "/" in name else re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", source[0])
    if name == "decisions/README":
        text += "\n\n```{toctree}\n:hidden:\n:glob:\n\n[0-9]*\n```\n"
    source[0] = _contents(text) if name == root_doc else text


def _begin_at_index(app: Any, failed: Exception | None) -> None:
    """A server shows `index.html` first."""
    if failed is None:
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app: Any) -> None:
    app.add_lexer("csv", TextLexer)
    app.connect("source-read", _read)
    app.connect("build-finished", _begin_at_index)
