"""Shows a demo's result: tables for people, one object for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from partage.demo.figures import Spread
from partage.demo.outcome import DemoResult, DocumentOutcome, QuestionOutcome, Turn, Verdict, exact_share, speed, ttft
from partage.demo.status import Quantiles
from partage.json_value import JsonObject

PLAIN_WIDTH = 150
"""Columns where the output is no terminal: a file has no width, and a table cut at 80 columns loses its numbers."""
NOTHING = "-"
QUOTED_CHARACTERS = 260
STYLES = {
    Verdict.EXACT: "green",
    Verdict.WRONG: "bold red",
    Verdict.MISSING: "yellow",
    Verdict.INVENTED: "bold red",
    Verdict.ABSENT: "dim",
}


def to_json(result: DemoResult) -> JsonObject:
    """The whole result, with the problems and the exit code, as JSON builtins."""
    return msgspec.to_builtins(result) | {"problems": list(result.problems), "exit_code": result.exit_code}


def render(result: DemoResult, console: Console) -> None:
    if not console.is_terminal:
        console = Console(file=console.file, width=PLAIN_WIDTH, color_system=None)
    for part in parts(result):
        console.print(part)


def parts(result: DemoResult) -> Iterator[RenderableType]:
    yield models(result)
    yield clients(result)
    yield comparison(result)
    yield documents(result)
    yield fields(result)
    if any(misread_rows(result)):
        yield misread(result)
    yield questions(result)
    yield verdict(result)


def models(result: DemoResult) -> Table:
    table = _table(
        "Models in memory", "model", "device", ">estimated", ">measured", ">estimate is", ">load", ">slots", ">context"
    )
    for resident in result.residents:
        table.add_row(
            resident.model,
            ", ".join(resident.devices) or NOTHING,
            mebibytes(resident.estimated_bytes),
            mebibytes(resident.measured_bytes),
            _deviation(resident.estimated_bytes, resident.measured_bytes),
            seconds(resident.load_s),
            _count(resident.slots),
            _count(resident.context_tokens),
        )
    table.caption = "\n".join(
        f"{device.device} ({device.name}): at most {mebibytes(device.peak_bytes)} held of {mebibytes(device.budget_bytes)}"
        for device in result.devices
    )
    return table


def clients(result: DemoResult) -> Table:
    table = _table(
        "Clients of the hub (its own figures; times p50 / p95, tokens/s p50)",
        "client", "class", ">requests", ">refused", ">waiting", ">first token", ">tokens/s", ">tokens",
    )  # fmt: skip
    for client in result.clients:
        table.add_row(
            client.name,
            client.class_,
            str(client.requests),
            str(client.refused),
            _quantiles(client.queued_s, seconds),
            _quantiles(client.ttft_s, seconds),
            _rate(client.tokens_per_s.p50 if client.tokens_per_s else None),
            str(client.output_tokens),
        )
    if "documents" not in {client.name for client in result.clients}:
        methods = dict.fromkeys(page.method for document in result.documents for page in document.pages)
        read_by = " and ".join(method.replace("_", " ") for method in methods)
        table.caption = f"documents asked no model: its pages were read by {read_by or 'nothing'}"
    return table


def comparison(result: DemoResult) -> Table:
    table = _table(
        f"Chat with {result.chat_model}, timed by the client (first token p50 / p95, tokens/s p50)",
        "", ">turns", ">failed", ">first token", ">slowest", ">tokens/s",
    )  # fmt: skip
    alone, beside = result.chat_alone, result.chat_beside
    for name, turns in (("alone", alone), ("while documents are processed", beside)):
        first = ttft(turns)
        table.add_row(
            name,
            str(len(turns)),
            str(_failed(turns)),
            _spread(first, seconds),
            seconds(first.worst if first else None),
            _rate(rate.p50 if (rate := speed(turns)) else None),
        )
    table.add_row(
        "beside / alone",
        "",
        "",
        _ratio(ttft(alone), ttft(beside)),
        "",
        _ratio(speed(alone), speed(beside)).split(" /")[0],
    )
    return table


def documents(result: DemoResult) -> Table:
    pages = sum(len(document.pages) for document in result.documents)
    table = _table(
        f"Documents: {len(result.documents)} with {pages} pages in {seconds(result.documents_s)}, {result.indexed} files indexed",
        "document", "kind", "read by", ">s/page", ">in all", ">exact", ">wrong", ">missing",
    )  # fmt: skip
    for document in result.documents:
        read_by = ", ".join(dict.fromkeys(page.method.replace("_", " ") for page in document.pages))
        table.add_row(
            document.name,
            document.kind,
            read_by or NOTHING,
            seconds(document.page_s),
            seconds(document.seconds),
            str(document.count(Verdict.EXACT)),
            _alarm(document.count(Verdict.WRONG, Verdict.INVENTED)),
            _alarm(document.count(Verdict.MISSING)),
        )
    shares = (
        (name, exact_share(result.documents, scanned=scanned)) for name, scanned in (("text", False), ("scanned", True))
    )
    table.caption = "exact: " + ", ".join(
        f"{name} {NOTHING if share is None else f'{share:.1%}'}" for name, share in shares
    )
    return table


def fields(result: DemoResult) -> RenderableType:
    return Group(Text("Fields read", style="bold"), *(_fields(document) for document in result.documents), Text())


def misread_rows(result: DemoResult) -> Iterator[tuple[str, str, str, str, str]]:
    for document in result.documents:
        for field in document.fields:
            if field.verdict not in (Verdict.EXACT, Verdict.ABSENT):
                yield document.name, field.field, field.verdict, _value(field.read), _value(field.truth)


def misread(result: DemoResult) -> Table:
    table = _table("Fields that are not as printed", "document", "field", "verdict", "read", "printed")
    for row in misread_rows(result):
        table.add_row(*(Text(cell) for cell in row))
    return table


def questions(result: DemoResult) -> RenderableType:
    return Group(Text("Questions", style="bold"), *(_question(question) for question in result.questions), Text())


def _question(question: QuestionOutcome) -> Text:
    good = question.cited and question.answered
    shown = Text.assemble(
        ("  right  " if good else "  wrong  ", "green" if good else "bold red"),
        (question.question, "bold"),
        f"  {seconds(question.seconds)}\n",
    )
    if question.error is not None:
        return shown.append(f"         failed: {question.error}\n", "red")
    shown.append(f"         {_shortened(question.answer)}\n")
    for citation in question.citations:
        page = "" if citation.page is None else f" page {citation.page}"
        shown.append(f"         [{citation.document}{page}] {_shortened(citation.text, 90)}\n", "dim")
    if not question.cited:
        shown.append(f"         not cited: {question.expected}\n", "red")
    return shown


def verdict(result: DemoResult) -> Text:
    problems = result.problems
    if not problems:
        return Text(f"Everything that must hold holds ({seconds(result.seconds)}).", style="bold green")
    head = f"{len(problems)} thing{'s' if len(problems) > 1 else ''} that must hold did not:"
    return Text("\n  ".join((head, *problems)), style="bold red")


def _table(title: str, *columns: str) -> Table:
    """A column that begins with ">" is set flush right."""
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    return table


def mebibytes(count: int | None) -> str:
    return NOTHING if count is None else f"{count / 2**20:,.1f} MiB"


def seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _rate(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def _count(value: int | None) -> str:
    return NOTHING if value is None else str(value)


def _alarm(count: int) -> Text:
    return Text(str(count), style="bold red" if count else "dim")


def _deviation(estimated: int | None, measured: int | None) -> str:
    return NOTHING if estimated is None or not measured else f"{estimated / measured - 1:+.1%}"


def _quantiles(quantiles: Quantiles | None, shown: Callable[[float | None], str]) -> str:
    return NOTHING if quantiles is None else f"{shown(quantiles.p50)} / {shown(quantiles.p95)}"


def _spread(spread: Spread | None, shown: Callable[[float | None], str]) -> str:
    return NOTHING if spread is None else f"{shown(spread.p50)} / {shown(spread.p95)}"


def _ratio(alone: Spread | None, beside: Spread | None) -> str:
    if alone is None or beside is None or not alone.p50 or not alone.p95:
        return NOTHING
    return f"{beside.p50 / alone.p50:.2f}x / {beside.p95 / alone.p95:.2f}x"


def _failed(turns: tuple[Turn, ...]) -> int:
    return sum(turn.error is not None for turn in turns)


def _fields(document: DocumentOutcome) -> Text:
    line = Text.assemble("  ", (document.name, "bold"))
    if document.error is not None:
        return line.append(f"  {document.error}", "red")
    for field in document.fields:
        if field.read is not None:
            line.append(f"  {field.field} ", "dim").append(str(field.read), STYLES[field.verdict])
    return line


def _value(value: str | float | None) -> str:
    return NOTHING if value is None else str(value)


def _shortened(text: str, length: int = QUOTED_CHARACTERS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."
