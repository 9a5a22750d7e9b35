"""Exact match per field on a directory of receipts: NNN.jpg with its key NNN.json (company, date, address, total).

    python bench/receipts.py DIR [--cache DIR] [--workers N]

Company and address are compared without case and punctuation (spaces count); dates as dates; totals as numbers.
The second figure leaves spaces out as well: the difference is what lost spaces cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from partage.documents.calls import Read, ReadPage
from partage.documents.extract import extract
from partage.documents.fields.dates import dates_in
from partage.documents.page import Page
from partage.documents.pool import ReaderPool
from partage.documents.schemas import BUILT_IN
from partage.documents.settings import DocumentSettings
from partage.documents.sniff import Kind


def words(text: str) -> str:
    return " ".join(re.sub(r"[^A-Z0-9]+", " ", text.upper()).split())


def day(text: str) -> str:
    return next((span.value.isoformat() for span in dates_in(text)), text)


def money(text: str) -> str:
    digits = re.sub(r"[^0-9.]", "", text)
    return f"{float(digits):.2f}" if digits else text


FORMS: dict[str, Callable[[str], str]] = {"company": words, "date": day, "address": words, "total": money}


async def read_all(scans: list[Path], cache: Path, workers: int) -> dict[str, Page]:
    settings = DocumentSettings(data_dir=cache, workers=workers)
    pages: dict[str, Page] = {}

    async def read(scan: Path) -> None:
        kept = cache / f"{scan.stem}.json"
        if not kept.exists():
            reply = await pool.call(ReadPage(str(scan), Kind.JPEG, 1))
            assert isinstance(reply, Read)
            kept.write_bytes(msgspec.json.encode(reply.page))
        pages[scan.stem] = msgspec.json.decode(kept.read_bytes(), type=Page)

    async with ReaderPool(settings) as pool, asyncio.TaskGroup() as tasks:
        for scan in scans:
            tasks.create_task(read(scan))
    return pages


def report(directory: Path, pages: dict[str, Page]) -> None:
    exact, spaceless = dict.fromkeys(FORMS, 0), dict.fromkeys(FORMS, 0)
    for name, page in sorted(pages.items()):
        key = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        for field in extract((page,), BUILT_IN["receipt"]):
            read = "" if field.found is None else str(field.found.value)
            want, got = FORMS[field.name](key[field.name]), FORMS[field.name](read)
            exact[field.name] += want == got
            spaceless[field.name] += want.replace(" ", "") == got.replace(" ", "")
            if want != got:
                print(f"{name} {field.name:8} read {read!r}, key {key[field.name]!r}")
    print(f"\n{len(pages)} receipts, {sum(page.seconds for page in pages.values()) / len(pages):.2f} s per page")
    for field in FORMS:
        print(f"{field:8} {exact[field] / len(pages):6.1%} exact, {spaceless[field] / len(pages):6.1%} without spaces")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cache", type=Path, help="keep what was recognised here, for work on the rules")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    scans = sorted(scan for scan in arguments.directory.resolve().glob("*.jpg") if scan.with_suffix(".json").exists())
    with tempfile.TemporaryDirectory() as scratch:
        cache = arguments.cache or Path(scratch)
        cache.mkdir(parents=True, exist_ok=True)
        report(arguments.directory, asyncio.run(read_all(scans, cache, arguments.workers)))


if __name__ == "__main__":
    main()
