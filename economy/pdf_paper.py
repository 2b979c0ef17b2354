"""Paper for documents that are filed: A4, numbered pages, the same bytes whenever the same is printed.

A document is a list of blocks, each with a height and a way to draw itself. Blocks are laid on pages first, so that every
page knows how many there are; drawing comes after.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from economy.money import decimal_text

WIDTH, HEIGHT = 595.276, 841.89
LEFT, RIGHT, TOP, BOTTOM = 51.0, 544.276, 790.0, 66.0
REGULAR, BOLD, FIXED = "Helvetica", "Helvetica-Bold", "Courier"
INK, FAINT, RULE, TINT, ACCENT = (
    (0.09, 0.13, 0.17),
    (0.36, 0.42, 0.47),
    (0.80, 0.84, 0.87),
    (0.955, 0.965, 0.972),
    (0.04, 0.40, 0.43),
)
Colour = tuple[float, float, float]

_PLAIN = str.maketrans({"\u202f": "\u00a0", "\u2212": "-", "\u2192": ">", "\u2011": "-"})


@dataclass(frozen=True, slots=True)
class Block:
    """Something that is not torn between two pages.

    Attributes
    ----------
    height
        In points.
    draw
        Called with the pen and the upper edge.
    keep
        How many of the following blocks must stand on the same page: a heading does not end a page.
    head
        Repeated above this block where it begins a page: a table's head.
    """

    height: float
    draw: Callable[[Pen, float], None]
    keep: int = 0
    head: Block | None = None


class Pen:
    """Draws text and rules on the page at hand. All measures are points from the lower left corner."""

    def __init__(self, canvas: Any) -> None:
        self._canvas = canvas

    def text(self, x: float, y: float, text: str, size: float = 8.5, font: str = REGULAR, colour: Colour = INK) -> None:
        """Text that begins at x."""
        self._set(size, font, colour)
        self._canvas.drawString(x, y, printable(text))

    def right(
        self, x: float, y: float, text: str, size: float = 8.5, font: str = REGULAR, colour: Colour = INK
    ) -> None:
        """Text that ends at x."""
        self._set(size, font, colour)
        self._canvas.drawRightString(x, y, printable(text))

    def rule(self, y: float, colour: Colour = RULE, width: float = 0.5) -> None:
        """A line over the width of the text."""
        self._canvas.setStrokeColorRGB(*colour)
        self._canvas.setLineWidth(width)
        self._canvas.line(LEFT, y, RIGHT, y)

    def band(self, y: float, height: float, colour: Colour = TINT) -> None:
        """A filled band over the width of the text."""
        self._canvas.setFillColorRGB(*colour)
        self._canvas.rect(LEFT, y, RIGHT - LEFT, height, stroke=0, fill=1)

    def cells(self, x: float, y: float, size: float, colour: Colour = ACCENT) -> None:
        """The mark: a cell of a comb."""
        path = self._canvas.beginPath()
        corners = [(0.0, 1.0), (0.866, 0.5), (0.866, -0.5), (0.0, -1.0), (-0.866, -0.5), (-0.866, 0.5)]
        path.moveTo(x, y + size)
        for across, up in corners[1:]:
            path.lineTo(x + across * size, y + up * size)
        path.close()
        self._canvas.setFillColorRGB(*colour)
        self._canvas.drawPath(path, stroke=0, fill=1)

    def _set(self, size: float, font: str, colour: Colour) -> None:
        self._canvas.setFont(font, size)
        self._canvas.setFillColorRGB(*colour)


def printable(text: str) -> str:
    """Text in what the standard fonts have (Windows-1252); what they have not becomes a question mark."""
    return text.translate(_PLAIN).encode("cp1252", "replace").decode("cp1252")


def figure(amount: int, scale: int) -> str:
    """An amount as an exact decimal with all its places, thousands apart."""
    whole, dot, rest = decimal_text(abs(amount), scale).partition(".")
    return f"{'-' if amount < 0 else ''}{int(whole):,}{dot}{rest}".replace(",", "\u00a0")


def wrapped(text: str, width: float, size: float = 8.5, font: str = REGULAR) -> list[str]:
    """Text cut into lines of a width; a word that is too long is cut too, because ids have no spaces."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    def fits(piece: str) -> bool:
        return bool(stringWidth(piece, font, size) <= width)

    made: list[str] = []
    line = ""
    for word in printable(text).split(" "):
        if fits(f"{line} {word}" if line else word):
            line = f"{line} {word}" if line else word
            continue
        rest = word
        made += [line] if line else []
        while not fits(rest):
            count = max((number for number in range(1, len(rest)) if fits(rest[:number])), default=1)
            made.append(rest[:count])
            rest = rest[count:]
        line = rest
    return [*made, line] if line or not made else made


def printed(
    blocks: Sequence[Block],
    dress: Callable[[Pen, int, int], float],
    *,
    title: str,
    subject: str,
) -> bytes:
    """The document as a PDF.

    Parameters
    ----------
    blocks
        In order.
    dress
        Draws what every page has, given its number and how many there are; says where its blocks begin.
    title, subject
        For the file's properties.
    """
    from reportlab.pdfgen.canvas import Canvas

    content = io.BytesIO()
    canvas = Canvas(content, pagesize=(WIDTH, HEIGHT), invariant=1, pageCompression=1, lang="en")
    canvas.setTitle(title)
    canvas.setSubject(subject)
    canvas.setAuthor("BitHive")
    canvas.setCreator("BitHive")
    pen, pages = Pen(canvas), _laid(blocks, dress)
    for number, page in enumerate(pages, 1):
        y = dress(pen, number, len(pages))
        for block in page:
            block.draw(pen, y)
            y -= block.height
        canvas.showPage()
    canvas.save()
    return content.getvalue()


def _laid(blocks: Sequence[Block], dress: Callable[[Pen, int, int], float]) -> list[list[Block]]:
    """Blocks by page."""
    pages: list[list[Block]] = []
    left = -1.0
    for place, block in enumerate(blocks):
        together = block.height + sum(item.height for item in blocks[place + 1 : place + 1 + block.keep])
        if left < together or not pages:
            pages.append([])
            left = dress(_Blind(), len(pages), 0) - BOTTOM
            if block.head is not None:
                pages[-1].append(block.head)
                left -= block.head.height
        pages[-1].append(block)
        left -= block.height
    return pages or [[]]


class _Blind(Pen):
    """Draws nothing: for measuring."""

    def __init__(self) -> None:
        super().__init__(_Nothing())


class _Nothing:
    def __getattr__(self, _name: str) -> Any:
        return lambda *_given, **_named: self
