"""Exact fields on the project's own product returns, by kind of paper: text layer, scan, photo, fax, screen.

python bench/rma.py [--workers N]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from partage.demo.samples.draw import Sample, draw_samples
from partage.documents.answer import Processed
from partage.documents.pool import ReaderPool
from partage.documents.process import Document, process
from partage.documents.schemas import BUILT_IN
from partage.documents.settings import DocumentSettings
from partage.documents.sniff import kind_of


async def read(samples: list[Sample], scratch: Path, workers: int) -> list[Processed]:
    async with ReaderPool(DocumentSettings(data_dir=scratch, workers=workers)) as pool, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(process(document(sample), pool, None, lambda _: None)) for sample in samples]
    return [task.result() for task in running]


def document(sample: Sample) -> Document:
    kind = kind_of(sample.path.read_bytes(), sample.path.name)
    return Document(path=sample.path, kind=kind, name=sample.name, schema=BUILT_IN["rma"], model=None)


def report(samples: list[Sample], answers: list[Processed]) -> None:
    asked: Counter[str] = Counter()
    exact: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    for sample, answer in zip(samples, answers, strict=True):
        for page in answer.pages:
            pages[page.read_by] += 1
            seconds[page.read_by] += page.seconds
        for field in answer.fields:
            value = None if field.found is None else field.found.value
            asked[sample.kind] += 1
            exact[sample.kind] += value == sample.truth[field.name]
            if value != sample.truth[field.name]:
                print(f"{sample.name} {field.name}: read {value!r}, is {sample.truth[field.name]!r}")
    for kind in asked:
        print(f"{kind:8} {exact[kind]:4} of {asked[kind]:4} fields exact  {exact[kind] / asked[kind]:6.1%}")
    for method in pages:
        print(f"{method:12} {pages[method]} pages, {seconds[method] / pages[method]:.2f} s per page")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        samples = draw_samples(Path(scratch))
        report(samples, asyncio.run(read(samples, Path(scratch), arguments.workers)))


if __name__ == "__main__":
    main()
