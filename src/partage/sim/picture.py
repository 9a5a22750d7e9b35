"""One HTML page without any dependency: attainment against load, and who was in memory when, as inline SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from partage.sim.compare import Summary
from partage.sim.run import Result

_COLOURS = ("#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e", "#c2255c", "#868e96", "#f08c00", "#1864ab")
_WIDTH, _HEIGHT, _LEFT, _TOP = 860, 320, 130, 20


def page(title: str, summaries: Sequence[Summary], runs: Sequence[tuple[str, Result]]) -> str:
    """`runs`: one result per policy, of the same workload, for the timelines."""
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        "<h2>Interactive requests served in time, against load</h2>",
        _attainment_chart(summaries),
        *(f"<h2>In memory: {html.escape(policy)}</h2>{_timeline(result)}" for policy, result in runs),
    ]
    style = "body{font:15px system-ui,sans-serif;margin:2em;color:#212529}svg{max-width:100%}text{font-size:12px}"
    body = "\n".join(parts)
    return (
        f"<!doctype html>\n<meta charset=utf-8>\n<title>{html.escape(title)}</title>\n<style>{style}</style>\n{body}\n"
    )


def _attainment_chart(summaries: Sequence[Summary]) -> str:
    policies = list(dict.fromkeys(one.policy for one in summaries))
    most = max((one.load for one in summaries), default=1.0)

    def x(load: float) -> float:
        return _LEFT + load / most * (_WIDTH - _LEFT - 150)

    def y(attainment: float) -> float:
        return _TOP + (1 - attainment) * (_HEIGHT - 2 * _TOP - 20)

    marks = [_text(_LEFT - 8, y(tenth / 10) + 4, f"{tenth * 10} %", "end") for tenth in range(0, 11, 2)]
    marks += [_line(_LEFT, y(tenth / 10), _WIDTH - 150, y(tenth / 10), "#dee2e6") for tenth in range(0, 11, 2)]
    marks += [_text(x(load), _HEIGHT - 5, f"{load:g}", "middle") for load in sorted({one.load for one in summaries})]
    for number, policy in enumerate(policies):
        colour = _COLOURS[number % len(_COLOURS)]
        points = sorted((one.load, one.attainment) for one in summaries if one.policy == policy)
        path = " ".join(f"{x(load):.1f},{y(attainment):.1f}" for load, attainment in points)
        marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        marks.append(f'<g fill="{colour}">{_text(_WIDTH - 140, _TOP + 16 * number + 10, policy, "start")}</g>')
    return _svg(_HEIGHT, marks)


def _timeline(result: Result) -> str:
    models = sorted({stay.model for stay in result.stays})
    rows = {model: _TOP + 22 * number for number, model in enumerate(models)}
    height = _TOP + 22 * len(models) + 20
    scale = (_WIDTH - _LEFT) / max(result.ended_s, 1.0)
    marks = [_text(_LEFT - 8, row + 13, model, "end") for model, row in rows.items()]
    for number, stay in enumerate(result.stays):
        row, colour = rows[stay.model], _COLOURS[models.index(stay.model) % len(_COLOURS)]
        gone_s = result.ended_s if math.isinf(stay.gone_s) else stay.gone_s
        ready_s = min(stay.ready_s, gone_s)
        tip = f"<title>load {number + 1}: {stay.model}, {stay.started_s:.0f} to {gone_s:.0f} s, served {stay.served}</title>"
        for start_s, end_s, opacity in ((stay.started_s, ready_s, 0.35), (ready_s, gone_s, 1.0)):
            width = max(0.5, (end_s - start_s) * scale)
            left = _LEFT + start_s * scale
            marks.append(
                f'<rect x="{left:.1f}" y="{row}" width="{width:.1f}" height="16" fill="{colour}" '
                f'fill-opacity="{opacity}">{tip}</rect>'
            )
    marks += [
        _text(_LEFT + minute * 60 * scale, height - 4, f"{minute:g} min", "middle")
        for minute in _minutes(result.ended_s)
    ]
    return _svg(height, marks)


def _minutes(ended_s: float) -> list[float]:
    step = max(1, round(ended_s / 60 / 8))
    return [float(minute) for minute in range(0, int(ended_s // 60) + 1, step)]


def _svg(height: float, marks: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">{"".join(marks)}</svg>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'
