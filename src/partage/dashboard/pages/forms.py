"""Native forms: their inputs by name in one message when they are sent, and a file beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments, UploadEventArguments

from partage.dashboard.pages.frame import button, tag

SEND = "(event) => { event.preventDefault(); emit(Object.fromEntries(new FormData(event.target))); }"
SEND_BY_ENTER = (
    '(event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) '
    "{ event.preventDefault(); event.target.form.requestSubmit(); } }"
)


def form(send: Callable[[GenericEventArguments], Awaitable[None]]) -> Element:
    """`send` gets {name: text} as `event.args`."""
    return tag("form").on("submit", send, js_handler=SEND)


def select(label: str, name: str, options: Sequence[tuple[str, str]]) -> Element:
    """`options`: (value, text)."""
    with tag("label", classes="field"):
        tag("span", label)
        with tag("select").props(f"name={name}") as chosen:
            fill(chosen, options)
    return chosen


def fill(chosen: Element, options: Sequence[tuple[str, str]]) -> None:
    chosen.clear()
    with chosen:
        for value, text in options:
            tag("option", text).props["value"] = value


def writing(label: str, name: str, hint: str = "") -> Element:
    """A field of several lines; Enter sends the form, Shift+Enter begins a new line."""
    with tag("label", classes="field"):
        tag("span", label)
        area = tag("textarea").props(f"name={name} required rows=3")
        area.props["placeholder"] = hint
    area.on("keydown", js_handler=SEND_BY_ENTER)
    return area


def file_button(
    text: str, accept: str, take: Callable[[UploadEventArguments], Awaitable[None]], most_bytes: int
) -> Element:
    """Opens the browser's file dialog; the file goes to `take`."""

    def too_large() -> None:
        ui.notify(
            f"Not taken: larger than {most_bytes >> 20} MiB, or not of the kind that is asked for", type="negative"
        )

    upload = ui.upload(on_upload=take, on_rejected=too_large, auto_upload=True, max_file_size=most_bytes)
    upload.props["accept"] = accept
    return button(text).on("click", js_handler=f"() => getElement({upload.id}).pickFiles()")
