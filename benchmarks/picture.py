"""Ratios as bars, in SVG: a logarithmic axis, and a mark where each has to reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

LABELS, PLOT, LINE, TOP = 300, 480, 18, 34  # pixels: widths, height of a line, above the first
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
AHEAD, BEHIND = "#2a7f62", "#b5452c"


@dataclass(frozen=True)
class Bar:
    """How many times as good ours is as the better peer, and how many it has to be."""

    label: str
    ratio: float
    wanted: float | None


def draw(bars: Sequence[Bar]) -> str:
    """The picture. A ratio beyond the axis ends at its border; its number stands beside it."""
    most = max([10.0, *(bar.ratio for bar in bars)])
    least = min([0.5, *(bar.ratio for bar in bars)])
    ticks = [tick for tick in TICKS if least * 0.5 <= tick <= most * 2]
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def x(ratio: float) -> float:
        ratio = min(max(ratio, ticks[0]), ticks[-1])
        return LABELS + PLOT * (math.log(ratio) - low) / (high - low)

    height, width = TOP + LINE * len(bars) + 6, LABELS + PLOT + 60
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    font = 'font-family="sans-serif" font-size="11"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LABELS}" y="12">times the better peer; the mark: what must hold</text>',
    ]
    for tick in ticks:
        colour = "#444" if tick == 1 else "#ddd"
        lines.append(
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 4}" y2="{height}" '
            f'stroke="{colour}"/>'
            f'<text x="{x(tick):.1f}" y="{TOP - 8}" text-anchor="middle">{tick:g}</text>'
        )
    for number, bar in enumerate(bars):
        lines.append(_bar(bar, TOP + LINE * number, x(1), x(bar.ratio)))
        if bar.wanted is not None:
            at = x(bar.wanted)
            y = TOP + LINE * number
            lines.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y}" y2="{y + LINE - 3}" '
                'stroke="black" stroke-width="2"/>'
            )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(bar: Bar, y: int, one: float, end: float) -> str:
    colour = BEHIND if bar.ratio < (bar.wanted or 1) else AHEAD
    left, length = min(one, end), max(abs(end - one), 1)
    return (
        f'<text x="{LABELS - 8}" y="{y + 11}" text-anchor="end">{escape(bar.label)}</text>'
        f'<rect x="{left:.1f}" y="{y + 2}" width="{length:.1f}" height="{LINE - 7}" '
        f'fill="{colour}"/>'
        f'<text x="{max(one, end) + 5:.1f}" y="{y + 11}">{bar.ratio:.3g}</text>'
    )
