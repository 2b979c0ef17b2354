"""Small plots as inline SVG: no script, colours from `plots.css`, and for whoever does not see them a text that says it all.

Sizes are those of a view box; the page scales it. Every text that comes from elsewhere is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from api.pages import words

_SIDE, _LEFT, _BOTTOM, _EDGE = 300, 40, 34, 8
_RANGE_WIDTH, _ROW, _TOP = 340, 34, 30
_BAR_WIDTH = 300


@dataclass(frozen=True, slots=True)
class Band:
    """One range of a plot: what it is called, and its ends."""

    name: str
    low: float
    high: float


def range_plot(value: float, unit: str, bands: Sequence[Band], name: str) -> Markup:
    """A value against published ranges, one below the other.

    Parameters
    ----------
    value, unit
        The value, in the unit of the ranges.
    bands
        At least one.
    name
        Of what was measured, for the text.
    """
    low, high = min(value, *(band.low for band in bands)), max(value, *(band.high for band in bands))
    room = (high - low) * 0.12
    low, high = low - room, high + room

    def x(at: float) -> float:
        return round((at - low) / (high - low) * _RANGE_WIDTH, 1)

    height = _TOP + _ROW * len(bands)
    parts = [Markup('<line class="value-line" x1="{0}" y1="22" x2="{0}" y2="{1}"/>').format(x(value), height - 14)]
    for place, band in enumerate(bands):
        y = _TOP + _ROW * place
        parts.append(
            Markup(
                '<rect class="band" x="{}" y="{}" width="{}" height="12" rx="3"/>'
                '<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>'
                '<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>'
                '<text class="band-name" x="{}" y="{}" text-anchor="middle">{}</text>'
            ).format(
                *(x(band.low), y, round(x(band.high) - x(band.low), 1)),
                *(
                    x(band.low),
                    y + 24,
                    words.figure(band.low, unit),
                    x(band.high),
                    y + 24,
                    words.figure(band.high, unit),
                ),
                *(x((band.low + band.high) / 2), y + 24, band.name),
            )
        )
    at = min(max(x(value), 30), _RANGE_WIDTH - 30)
    parts.append(
        Markup('<text class="value-text" x="{}" y="10" text-anchor="middle">{} {}</text>').format(
            at, words.figure(value, unit), unit
        )
    )
    parts.append(Markup('<path class="value-mark" d="M{0} 26l-5 -8h10z"/>').format(x(value)))
    said = "; ".join(
        f"{band.name or 'reference'} {words.figure(band.low, unit)} to {words.figure(band.high, unit)} {unit}, "
        f"the value is {_placed(value, band)}"
        for band in bands
    )
    return _svg("range-plot", _RANGE_WIDTH, height, f"{name}: {words.figure(value, unit)} {unit}. {said}.", parts)


def _placed(value: float, band: Band) -> str:
    return "below it" if value < band.low else "above it" if value > band.high else "within it"


def probability_bar(share: float, threshold: float | None, tone: str) -> Markup:
    """A probability from 0 to 1 as a bar with its threshold.

    Parameters
    ----------
    tone
        `positive`, `negative` or `unjudged`: how the bar is coloured.
    """
    fill = round(share * _BAR_WIDTH, 1)
    parts = [
        Markup('<rect class="track" x="0" y="4" width="{}" height="12" rx="3"/>').format(_BAR_WIDTH),
        Markup('<rect class="fill {}" x="0" y="4" width="{}" height="12" rx="3"/>').format(tone, fill),
    ]
    said = f"{share:.0%} of 100 %"
    if threshold is not None:
        at = round(threshold * _BAR_WIDTH, 1)
        parts.append(
            Markup('<line class="threshold" x1="{0}" y1="0" x2="{0}" y2="20"/>').format(at)
            + Markup('<text class="tick" x="{}" y="31" text-anchor="middle">threshold {:.0f} %</text>').format(
                min(max(at, 40), _BAR_WIDTH - 40), threshold * 100
            )
        )
        said += f"; threshold {threshold:.0%}"
    return _svg("probability", _BAR_WIDTH, 34 if threshold is not None else 20, said, parts)


def balance_bar(percent: float, most: float = 40.0) -> Markup:
    """How far left and right differ: a bar to the side that is larger, the patient's right on the left as in images."""
    length = round(min(abs(percent), most) / most * 40, 1)
    x = 40 - length if percent < 0 else 40
    parts = [
        Markup('<line class="axis" x1="40" y1="0" x2="40" y2="12"/>'),
        Markup('<rect class="balance" x="{}" y="2" width="{}" height="8"/>').format(x, length),
    ]
    return Markup('<svg class="balance-bar" viewBox="0 0 80 12" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def reliability_plot(rows: Sequence[Mapping[str, Any]], said: str, seen: str) -> Markup:
    """A reliability diagram: what was said against what was seen, each bin with its interval and its number of cases.

    Parameters
    ----------
    rows
        With `said`, `seen`, `low`, `high` (0 to 1) and `cases`, as a record of an evaluation has them.
    said, seen
        Names of the axes.
    """
    parts = [
        _axes(said, seen),
        Markup('<line class="ideal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(*_at(0, 0), *_at(1, 1)),
    ]
    most = max((int(row["cases"]) for row in rows), default=1)
    for row in rows:
        x, y = _at(row["said"], row["seen"])
        parts.append(
            Markup('<line class="whisker" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>').format(
                x, _at(0, row["low"])[1], _at(0, row["high"])[1]
            )
            + Markup('<circle class="dot" cx="{}" cy="{}" r="{}"/>').format(
                x, y, round(2.5 + 3 * (row["cases"] / most) ** 0.5, 1)
            )
        )
    text = "; ".join(
        f"said {row['said']:.2f}, seen {row['seen']:.2f} ({row['low']:.2f} to {row['high']:.2f}, {row['cases']} cases)"
        for row in rows
    )
    return _svg("square-plot", _SIDE, _SIDE, f"Reliability diagram. {text}.", parts)


def roc_plot(points: Sequence[Sequence[float]], area: str) -> Markup:
    """A ROC curve with its area.

    Parameters
    ----------
    points
        (false positive rate, sensitivity), from (0, 0) to (1, 1).
    area
        The area with its interval, in words.
    """
    line = " ".join(",".join(map(str, _at(x, y))) for x, y in points)
    parts = [
        _axes("1 \N{MINUS SIGN} specificity", "Sensitivity"),
        Markup('<line class="ideal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(*_at(0, 0), *_at(1, 1)),
        Markup('<polyline class="curve" points="{}"/>').format(line),
        Markup('<text class="plot-note" x="{}" y="{}" text-anchor="end">{}</text>').format(*_at(0.98, 0.06), area),
    ]
    return _svg("square-plot", _SIDE, _SIDE, f"ROC curve. {area}.", parts)


def _at(x: float, y: float) -> tuple[float, float]:
    span = _SIDE - _LEFT - _EDGE
    return round(_LEFT + x * span, 1), round(_SIDE - _BOTTOM - y * (_SIDE - _BOTTOM - _EDGE), 1)


def _axes(across: str, up: str) -> Markup:
    (x0, y0), (x1, y1) = _at(0, 0), _at(1, 1)
    parts = [
        Markup('<rect class="frame" x="{}" y="{}" width="{}" height="{}"/>').format(
            x0, y1, round(x1 - x0, 1), round(y0 - y1, 1)
        )
    ]
    for step in (0.0, 0.25, 0.5, 0.75, 1.0):
        (x, _), (_, y) = _at(step, 0), _at(0, step)
        parts.append(
            Markup(
                '<line class="grid" x1="{0}" y1="{2}" x2="{0}" y2="{1}"/><line class="grid" x1="{3}" y1="{5}" x2="{4}" y2="{5}"/>'
            ).format(x, y1, y0, x0, x1, y)
            + Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{:g}</text>').format(x, y0 + 14, step)
            + Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{:g}</text>').format(x0 - 5, y + 4, step)
        )
    parts.append(
        Markup('<text class="axis-name" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (x0 + x1) / 2, _SIDE - 4, across
        )
    )
    parts.append(
        Markup(
            '<text class="axis-name" transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>'
        ).format((y0 + y1) / 2, up)
    )
    return Markup("").join(parts)


def _svg(name: str, width: float, height: float, said: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="plot {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        name, width, height, said, Markup("").join(parts)
    )
