"""Reads who asked for what, and when, from files with a header: CSV or JSON lines, by the names that public traces give.

Known by name: Azure LLM inference 2023 and 2024, LMSYS-27 (as CSV, and as the VTC artifact's JSON lines), Aegaeon, BurstGPT,
Mooncake, Vidur's processed traces; and whatever else calls its columns like one of them.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from partage.errors import PartageError

TIME = [
    "arrival_s",
    "arrived_at",
    "request_time",
    "req_time",
    "arrival_time",
    "arrival",
    "timestamp",
    "time",
    "created_at",
    "start_time",
]
MODEL = ["model", "model_name", "adapter_dir", "model_id", "base_model"]
CLIENT = ["client", "client_id", "user", "user_id", "tenant", "tenant_id"]
PROMPT = [
    "input_tokens",
    "contexttokens",
    "context_tokens",
    "prompt_tokens",
    "request_tokens",
    "num_prefill_tokens",
    "input_length",
    "prompt_length",
    "prompt_len",
    "input_len",
]
OUTPUT = [
    "output_tokens",
    "generatedtokens",
    "generated_tokens",
    "completion_tokens",
    "response_tokens",
    "num_decode_tokens",
    "output_length",
    "output_len",
]

_BLOCKS = "hash_ids"
"""Mooncake's traces have it, and their clock counts whole milliseconds; Bailian's too, with seconds and fractions."""
_EPOCH = 10**8
"""A number of seconds that large is a date; one a thousand times larger, a date in milliseconds, and so on."""


class TraceUnreadable(PartageError):
    """The trace is not in a format that is known."""


@dataclass(frozen=True, slots=True)
class Record:
    at_s: float
    """From the beginning of the trace; dates count from the first one."""
    model: str
    """Empty: the trace names none."""
    client: str
    """Empty: the trace names none."""
    prompt_tokens: int
    output_tokens: int


def read_records(path: Path) -> list[Record]:
    """In the order of the file. Raises TraceUnreadable."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            first = lines.readline()
            rows = _json_rows if first.lstrip().startswith("{") else _csv_rows
            header, values = rows(itertools.chain([first], lines))
            return list(_records(header, values))
    except (
        OSError,
        ValueError,
        IndexError,
        TypeError,
        csv.Error,
    ) as error:  # text and JSON that cannot be read are ValueErrors
        raise TraceUnreadable(f"{path}: {error}") from error


Rows = Iterable[Sequence[object]]


def _csv_rows(lines: Iterable[str]) -> tuple[list[str], Rows]:
    rows = csv.reader(lines)
    return next(rows, []), (row for row in rows if row)


def _json_rows(lines: Iterable[str]) -> tuple[list[str], Rows]:
    objects = (json.loads(line) for line in lines if line.strip())
    first = next(objects)
    header = list(first)
    return header, ([one.get(name) for name in header] for one in itertools.chain([first], objects))


@dataclass(frozen=True, slots=True)
class _Columns:
    time: int
    prompt: int
    output: int
    model: int | None
    client: int | None
    unit_s: float
    """What a whole number of the clock counts."""

    @classmethod
    def of(cls, header: Sequence[str]) -> _Columns:
        """Raises ValueError."""
        names = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in header]

        def find(known: Sequence[str]) -> int | None:
            return next((names.index(name) for name in known if name in names), None)

        time, prompt, output = find(TIME), find(PROMPT), find(OUTPUT)
        if time is None or prompt is None or output is None:
            raise ValueError(
                f"the header {list(header)} is of no known trace: it needs a time ({', '.join(TIME[:4])}, ...), tokens in "
                f"({', '.join(PROMPT[:3])}, ...) and tokens out ({', '.join(OUTPUT[:3])}, ...)"
            )
        return cls(time, prompt, output, find(MODEL), find(CLIENT), 0.001 if _BLOCKS in names else 1.0)


def _records(header: Sequence[str], rows: Rows) -> Iterator[Record]:
    columns = _Columns.of(header)
    start_s: float | None = None
    for row in rows:
        at_s, is_date = _clock(row[columns.time], columns.unit_s)
        if is_date:
            start_s = at_s if start_s is None else start_s
            at_s = max(0.0, at_s - start_s)
        yield Record(
            at_s,
            "" if columns.model is None else str(row[columns.model]),
            "" if columns.client is None else str(row[columns.client]),
            _whole(row[columns.prompt]),
            _whole(row[columns.output]),
        )


def _whole(value: object) -> int:
    number = float(str(value))
    if not 0 <= number < 1e9:
        raise ValueError(f"{value} is no number of tokens")
    return int(number)


def _clock(value: object, unit_s: float) -> tuple[float, bool]:
    """Seconds, and whether they are a date: `12.5`, `00:01:02.5`, `2023-11-16 18:15:46.6805900`, 1700158546 (also in ms, us, ns)."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        if re.fullmatch(r"\d+:\d\d:\d\d(\.\d+)?", text):
            hours, minutes, seconds = text.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds), False
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp(), True
    if not 0 <= number < float("inf"):
        raise ValueError(f"{value} is no time") from None
    if number < _EPOCH:
        return number * (unit_s if text.isdigit() else 1.0), False
    while number >= _EPOCH * 1000:
        number /= 1000
    return number, True
