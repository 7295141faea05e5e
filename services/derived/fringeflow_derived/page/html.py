"""Chapters as one HTML file that needs nothing else: pictures and style are inside, there are no scripts."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from urllib.parse import quote

from fringeflow_derived.page.blocks import Bars, Block, Chapter, Note, Picture, Section, Table


def document(title: str, chapters: Sequence[Chapter], folder: Path) -> str:
    """Return the whole page; links to files are relative to `folder`."""
    templates = resources.files("fringeflow_derived.page")
    contents = "".join(f'<a href="#{escape(one.anchor)}">{escape(one.title)}</a>' for one in chapters)
    return Template((templates / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=(templates / "page.css").read_text(encoding="utf-8"),
        contents=contents,
        chapters="\n".join(_chapter(one, folder) for one in chapters),
    )


def _chapter(chapter: Chapter, folder: Path) -> str:
    anchors = [f"{chapter.anchor}-{index}" for index, _ in enumerate(chapter.sections)]
    links = "".join(
        f'<a href="#{escape(anchor)}">{escape(section.title)}</a>'
        for anchor, section in zip(anchors, chapter.sections, strict=True)
    )
    body = "\n".join(
        _section(section, anchor, folder) for anchor, section in zip(anchors, chapter.sections, strict=True)
    )
    jumps = f'<nav class="jumps">{links}</nav>' if len(chapter.sections) > 1 else ""
    return f'<article id="{escape(chapter.anchor)}"><h2>{escape(chapter.title)}</h2>{jumps}\n{body}\n</article>'


def _section(section: Section, anchor: str, folder: Path) -> str:
    if not section.blocks:
        return ""
    body = "\n".join(_block(block, folder) for block in section.blocks)
    heading = f"<h3>{escape(section.title)}</h3>"
    return f'<section id="{escape(anchor)}">{heading}\n<div class="blocks">\n{body}\n</div></section>'


def _block(block: Block, folder: Path) -> str:
    if isinstance(block, Picture):
        return _picture(block, folder)
    if isinstance(block, Table):
        return _table(block, folder)
    if isinstance(block, Bars):
        return _bars(block)
    return f'<p class="note">{escape(block.text)}</p>' if isinstance(block, Note) else ""


def _picture(picture: Picture, folder: Path) -> str:
    width, height = struct.unpack(">II", picture.png[16:24])
    data = base64.b64encode(picture.png).decode("ascii")
    files = " ".join(_link(path, folder) for path in dict.fromkeys(picture.files))
    alt = escape(picture.caption.split(". ")[0], quote=True)
    return (
        f'<figure class="{"wide" if picture.wide else "half"}">'
        f'<div class="picture"><img width="{width}" height="{height}" alt="{alt}"'
        f' src="data:image/png;base64,{data}"></div>'
        f'<figcaption>{escape(picture.caption)} <span class="files">{files}</span></figcaption></figure>'
    )


def _table(table: Table, folder: Path) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = []
    for first, *rest in table.rows:
        tag = "td" if table.head else "th"
        cells = "".join(f"<td>{_cell(cell, folder)}</td>" for cell in rest)
        rows.append(f"<tr><{tag}>{_cell(first, folder)}</{tag}>{cells}</tr>")
    kind = "listing" if table.head else "facts"
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    body = f'<table class="{kind}">{top}<tbody>{"".join(rows)}</tbody></table>'
    caption = f"<figcaption>{escape(table.caption)}</figcaption>" if table.caption else ""
    body = f'<figure class="wide table"><div class="scroll">{body}</div>{caption}</figure>'
    return f"<details><summary>{len(table.rows)} files</summary>{body}</details>" if table.folded else body


def _bars(bars: Bars) -> str:
    longest = max((amount for _, amount in bars.amounts), default=0.0) or 1.0
    rows = "".join(
        f'<tr><th>{escape(name)}</th><td class="bar"><i style="width:{100 * amount / longest:.2f}%"></i></td>'
        f"<td>{amount:.2f} {escape(bars.unit)}</td></tr>"
        for name, amount in bars.amounts
    )
    return f'<figure class="wide table"><table class="bars"><tbody>{rows}</tbody></table></figure>'


def _cell(cell: str | Path, folder: Path) -> str:
    return _link(cell, folder) if isinstance(cell, Path) else escape(cell)


def _link(path: Path, folder: Path) -> str:
    relative = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    return f'<a class="file" href="{escape(quote(relative))}">{escape(path.name)}</a>'
