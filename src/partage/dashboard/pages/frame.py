"""What all pages share: the head with the way to the others, the banner, and news of the hub as long as the page is open."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nicegui import ui
from nicegui.element import Element

from partage.client.hub_client import HubClient
from partage.client.services import Documents, Rag
from partage.dashboard.panels import Banner, Panel
from partage.dashboard.picture import Picture
from partage.dashboard.poller import Poller
from partage.errors import PartageError

PAGES = (("/", "Overview"), ("/models", "Models"), ("/chat", "Chat"), ("/documents", "Documents"), ("/ask", "Ask"))
STYLE = Path(__file__).parents[1] / "style.css"
THEME = """<script>
  const wanted = () => localStorage.getItem("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const paint = () => { document.documentElement.dataset.theme = wanted(); };
  paint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
</script>"""
"""In the head, so that no page flashes in the other theme."""
OTHER_THEME = '() => { localStorage.setItem("theme", wanted() === "dark" ? "light" : "dark"); paint(); }'


@dataclass(frozen=True, slots=True)
class Parts:
    """What pages are made with."""

    poller: Poller
    hub: HubClient
    documents: Documents
    rag: Rag


@contextmanager
def page(here: str, parts: Parts) -> Generator[Callable[[Sequence[Panel]], None]]:
    """A page's body is built inside; the value given takes the panels that follow the hub."""
    ui.add_head_html(f"<style>{STYLE.read_text(encoding='utf-8')}</style>{THEME}")
    title = dict(PAGES)[here]
    ui.page_title(f"{title} · Partage")
    tag("a", "Skip to the content", "skip").props("href=#content")
    with ui.header(elevated=False).classes("top"):
        tag("a", "Partage", "brand").props("href=/")
        with tag("nav").props('aria-label="Pages"'):
            for path, name in PAGES:
                tag("a", name).props(f"href={path} {'aria-current=page' if path == here else ''}")
        button("Light or dark", classes="small theme").on("click", js_handler=OTHER_THEME)
    with tag("div", classes="content").props("id=content tabindex=-1") as content:
        banner = Banner()
        tag("h1", title)

        def follow(panels: Sequence[Panel]) -> None:
            _follow(parts.poller, content, [banner, *panels])

        yield follow


def _follow(poller: Poller, content: Element, panels: Sequence[Panel]) -> None:
    def show(picture: Picture) -> None:
        content.classes(toggle=None, add="away" if picture.away else "", remove="" if picture.away else "away")
        for panel in panels:
            panel.show(picture)

    def leave() -> None:
        poller.listeners.remove(show)

    show(poller.picture)
    poller.listeners.append(show)
    content.client.on_delete(leave)
    poller.hurry()


def tag(name: str, text: str = "", classes: str = "") -> Element:
    """A plain HTML element."""
    element = Element(name).classes(classes)
    element._text = text or None  # noqa: SLF001 NiceGUI's own elements set it so
    return element


def say(element: Element, text: str) -> None:
    """Change the text of a plain element."""
    element._text = text  # noqa: SLF001 as above
    element.update()


def button(text: str, act: Callable[..., object] | None = None, classes: str = "") -> Element:
    element = tag("button", text, classes).props("type=button")
    return element.on("click", act, args=[]) if act else element


async def confirmed(question: str, consequence: str, verb: str) -> bool:
    """Ask in a dialog; Escape and a click beside it mean no."""
    with ui.dialog() as dialog, tag("div", classes="card"):
        dialog.props["aria-label"] = question
        tag("h2", question)
        tag("p", consequence)
        with tag("div", classes="acts"):
            button("Cancel", dialog.close).props("autofocus")
            button(verb, lambda: dialog.submit(verb), "strong")
    try:
        return await dialog == verb
    finally:
        dialog.delete()


@contextmanager
def told() -> Generator[None]:
    """Our errors go to the person at the page."""
    try:
        yield
    except PartageError as error:
        ui.notify(error.message, type="negative", multi_line=True, timeout=10_000, close_button="Close")
