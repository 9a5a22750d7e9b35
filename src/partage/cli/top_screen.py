"""The screen of `partage top`: devices above, one table at a time, everything from the keyboard; fits 80 columns by 24."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, Protocol

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, Static

from partage.cli.top_rows import TABS, Picture, Row, device_lines, rows_of, sorted_rows
from partage.errors import PartageError

EVERY_S = 1.0


class Orders(Protocol):
    """client/hub_client.py."""

    async def unload(self, model: str) -> None: ...

    async def pin(self, model: str, *, pinned: bool) -> None: ...

    async def pause(self, model: str, *, paused: bool) -> None: ...

    async def pause_lease(self, lease: str, *, paused: bool) -> None: ...


class TopApp(App[None]):
    TITLE = "partage top"
    CSS = """
    #devices { height: auto; max-height: 8; padding: 0 1; }
    #tabs { height: 1; padding: 0 1; color: $accent; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    DataTable { height: 1fr; }
    #detail { height: auto; max-height: 3; padding: 0 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"tab('{name}')", name, show=False) for number, name in enumerate(TABS, 1)),
        Binding("tab", "next_tab", "table", priority=True),
        Binding("s", "sort", "sort"),
        Binding("r", "reverse", "reverse"),
        Binding("slash", "filter", "filter"),
        Binding("u", "unload", "unload"),
        Binding("p", "pin", "pin"),
        Binding("h", "halt", "pause/go on"),
        Binding("space", "freeze", "freeze"),
        Binding("escape", "clear", "clear", show=False),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, ask: Callable[[], Awaitable[Picture]], orders: Orders) -> None:
        super().__init__()
        self._ask = ask
        self._orders = orders
        self._picture: Picture | None = None
        self._tab = next(iter(TABS))
        self._sort: dict[str, tuple[int, bool]] = dict.fromkeys(TABS, (0, False))
        self._words = ""
        self._frozen = False
        self._said = ""
        self._unload: str | None = None
        """The model that a second `u` unloads."""
        self._rows: list[Row] = []

    def compose(self) -> ComposeResult:
        yield Static(id="devices", markup=False)
        yield Static(id="tabs", markup=False)
        yield Input(placeholder="only rows with these words; Enter keeps, Esc clears", id="filter")
        yield DataTable[str](cursor_type="row", zebra_stripes=True)
        yield Static(id="detail", markup=False)
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self.set_interval(EVERY_S, self.refresh_picture)
        await self.refresh_picture()

    async def refresh_picture(self) -> None:
        """Ask the hub, and say so where it does not answer; the last picture stays."""
        if self._frozen:
            return
        try:
            self._picture = await self._ask()
            self._said = "" if self._said.startswith("hub:") else self._said
        except PartageError as error:
            self._said = f"hub: {error.message}"
        self._draw()

    def action_tab(self, name: str) -> None:
        self._tab = name
        self._draw()

    def action_next_tab(self) -> None:
        names = list(TABS)
        self.action_tab(names[(names.index(self._tab) + 1) % len(names)])

    def action_sort(self) -> None:
        column, descending = self._sort[self._tab]
        self._sort[self._tab] = ((column + 1) % len(TABS[self._tab]), descending)
        self._draw()

    def action_reverse(self) -> None:
        column, descending = self._sort[self._tab]
        self._sort[self._tab] = (column, not descending)
        self._draw()

    def action_filter(self) -> None:
        self.query_one(Input).add_class("shown").focus()

    def action_clear(self) -> None:
        field = self.query_one(Input)
        field.value = ""
        field.remove_class("shown")
        self._unload = None
        self.query_one(DataTable).focus()

    def action_freeze(self) -> None:
        """The picture, not the hub."""
        self._frozen = not self._frozen
        self._draw()

    async def action_unload(self) -> None:
        """Asked twice: a model somebody is talking to should not leave by one wrong key."""
        model = self._selected_model()
        if model is None:
            return
        if self._unload != model:
            self._unload = model
            self._say(f"press u again to unload {model}, Esc to leave it")
            return
        self._unload = None
        await self._order(self._orders.unload(model), f"{model} leaves as soon as nobody uses it")

    async def action_pin(self) -> None:
        model = self._selected_model()
        if model is not None:
            row = next(row for row in self._rows if row.key == model)
            pinned = not row.cells[-1].text
            await self._order(
                self._orders.pin(model, pinned=pinned), f"{model} is {'pinned' if pinned else 'no longer pinned'}"
            )

    async def action_halt(self) -> None:
        """Of a model or of who holds a lease: it computes nothing until the same key lets it go."""
        row = self._selected()
        if self._tab not in {"models", "leases"} or row is None:
            self._say("choose a model or a lease first: keys 1 and 6")
            return
        paused = not row.halted
        order = self._orders.pause if self._tab == "models" else self._orders.pause_lease
        done = "computes nothing until h lets it go" if paused else "goes on"
        await self._order(order(row.key, paused=paused), f"{row.key} {done}")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._words = event.value
        self._draw()

    def on_input_submitted(self) -> None:
        self.query_one(Input).remove_class("shown")
        self.query_one(DataTable).focus()

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()

    def _draw(self) -> None:
        self._show_tabs()
        if self._picture is None:
            self._show_detail()
            return
        self.query_one("#devices", Static).update("\n".join(device_lines(self._picture)))
        column, descending = self._sort[self._tab]
        wanted = [row for row in rows_of(self._tab, self._picture) if row.matches(self._words)]
        self._rows = sorted_rows(wanted, column, descending=descending)
        table = self.query_one(DataTable)
        before = table.cursor_row
        table.clear(columns=True)
        arrow = "▼" if descending else "▲"
        for number, name in enumerate(TABS[self._tab]):
            table.add_column(f"{name}{arrow}" if number == column else name)
        for row in self._rows:
            table.add_row(*(cell.text for cell in row.cells))
        table.move_cursor(row=max(0, min(before, len(self._rows) - 1)))
        self._show_detail()

    def _show_tabs(self) -> None:
        counts = {name: len(rows_of(name, self._picture)) for name in TABS} if self._picture else {}
        tabs = [
            f"[{number} {name} {counts.get(name, 0)}]"
            if name == self._tab
            else f" {number} {name} {counts.get(name, 0)} "
            for number, name in enumerate(TABS, 1)
        ]
        self.query_one("#tabs", Static).update("".join(tabs) + (" frozen" if self._frozen else ""))

    def _show_detail(self) -> None:
        row = self._selected()
        empty = "nothing here" if self._picture else "asking the hub ..."
        self.query_one("#detail", Static).update(self._said or (row.detail if row else empty))

    def _selected(self) -> Row | None:
        cursor = self.query_one(DataTable).cursor_row
        return self._rows[cursor] if 0 <= cursor < len(self._rows) else None

    def _selected_model(self) -> str | None:
        row = self._selected()
        if self._tab != "models" or row is None:
            self._say("choose a model first: key 1")
            return None
        return row.key

    def _say(self, words: str) -> None:
        self._said = words
        self._show_detail()

    async def _order(self, order: Awaitable[None], done: str) -> None:
        try:
            await order
        except PartageError as error:
            self._say(error.message)
        else:
            self._say(done)
        await self.refresh_picture()
