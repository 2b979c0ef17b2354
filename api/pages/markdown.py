"""Markdown of our own documents as HTML. Raw HTML, images and foreign link schemes are shown as text or dropped."""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False})
    parser.disable(["image", "html_inline", "html_block", "autolink"])
    parser.enable("table")
    return parser


def render(text: str, below: int = 0) -> Markup:
    """CommonMark with tables as HTML, in which nothing of the text runs.

    Parameters
    ----------
    text
        A document of the repository: an error's page or a model card. Links keep `http`, `https` and relative addresses.
    below
        Level of the heading that it stands under: its own begin one deeper.
    """
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1]) + below)}"
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - the parser escapes everything; raw HTML is off
