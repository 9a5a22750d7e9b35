"""The page to try a chat, with a picture where the model sees: the answer as it comes, and what it took."""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing
from dataclasses import dataclass, field

from nicegui.element import Element
from nicegui.events import GenericEventArguments, UploadEventArguments

from partage.client.wire import ChatPiece
from partage.dashboard.numbers import rate, seconds
from partage.dashboard.pages.forms import file_button, fill, form, select, writing
from partage.dashboard.pages.frame import Parts, button, page, say, tag, told
from partage.dashboard.panels import Panel, TalkPanel
from partage.dashboard.picture import Picture
from partage.json_value import JsonObject
from partage.work import Image, Message

PICTURE_BYTES = 10 << 20
REDRAW_S = 0.1
"""An answer that grows is drawn again so often, not at every token."""


def build(parts: Parts) -> None:
    with page("/chat", parts) as follow, tag("section", classes="panel").props("aria-label=Chat"):
        talk = TalkPanel()
        chat = Chat(parts, talk)
        with form(chat.send):
            chat.area = writing("Your message", "text", "Enter sends, Shift+Enter begins a new line")
            with tag("div", classes="acts"):
                chat.chosen = ModelChoice(select("Model", "model", ()))
                chat.picture_button = file_button("Add a picture", "image/*", chat.take_picture, PICTURE_BYTES)
                button("New conversation", chat.forget)
                chat.stop_button = button("Stop", chat.stop)
                tag("button", "Send", "strong").props("type=submit")
            chat.picture_note = tag("p", classes="quiet").props("role=status")
        chat.idle()
    follow([chat.chosen])


class ModelChoice(Panel):
    """The models that chat, as the hub has them now; what was chosen stays chosen."""

    part = "models"

    def __init__(self, chosen: Element) -> None:
        super().__init__("span")
        self._chosen = chosen
        self._names: list[str] | None = None

    def show(self, picture: Picture) -> None:
        models = [dict(one) for one in picture.panels.get(self.part) or () if isinstance(one, dict)]  # pyright: ignore
        able = [one for one in models if {"chat", "completion"} & set(one["can"])]
        names = [str(one["name"]) for one in able]
        if names == self._names:
            return
        self._names = names
        sees = {str(one["name"]) for one in able if "vision" in one["can"]}
        fill(self._chosen, [(name, f"{name} (sees pictures)" if name in sees else name) for name in names])


@dataclass
class Chat:
    parts: Parts
    talk: TalkPanel
    messages: list[Message] = field(default_factory=list[Message])
    shown: list[JsonObject] = field(default_factory=list[JsonObject])
    picture: Image | None = None
    answering: asyncio.Task[object] | None = None
    area: Element = field(init=False)
    chosen: ModelChoice = field(init=False)
    picture_button: Element = field(init=False)
    picture_note: Element = field(init=False)
    stop_button: Element = field(init=False)

    async def take_picture(self, event: UploadEventArguments) -> None:
        self.picture = Image(data=await event.file.read(), media_type=event.file.content_type or "image/png")
        say(self.picture_note, f"{event.file.name} goes with the next message.")

    def forget(self) -> None:
        self.stop()
        self.messages.clear()
        self.shown.clear()
        self.picture = None
        say(self.picture_note, "")
        self._draw()

    def stop(self) -> None:
        if self.answering is not None:
            self.answering.cancel()

    async def send(self, event: GenericEventArguments) -> None:
        text, model = str(event.args.get("text", "")).strip(), str(event.args.get("model", ""))
        if not text or self.answering is not None:
            return
        if not model:
            say(self.picture_note, "There is no model that chats. Fetch one: partage pull smollm2:135m")
            return
        self._said(text)
        self.answering = asyncio.current_task()
        self.idle()
        try:
            with told():
                await self._answer(model)
        finally:
            self.shown[-1]["growing"] = False
            self.answering = None
            self.idle()
            self._draw()

    def idle(self) -> None:
        """Set the buttons for whether an answer is under way."""
        self.stop_button.set_visibility(self.answering is not None)

    def _said(self, text: str) -> None:
        pictures = (self.picture,) if self.picture else ()
        self.messages.append(Message(role="user", content=text, images=pictures))
        address = ""
        if self.picture:
            address = f"data:{self.picture.media_type};base64,{base64.b64encode(self.picture.data).decode()}"
        self.shown.append({"role": "user", "who": "You", "text": text, "picture": address})
        self.picture = None
        say(self.picture_note, "")
        self.area.client.run_javascript(f"getHtmlElement({self.area.id}).value = ''")

    async def _answer(self, model: str) -> None:
        shown: JsonObject = {"role": "assistant", "who": model, "text": "", "thinking": "", "growing": True}
        self.shown.append(shown)
        self._draw()
        loop = asyncio.get_running_loop()
        drawn_s = began_s = loop.time()
        first_s: float | None = None
        texts: list[str] = []
        thoughts: list[str] = []
        async with aclosing(self.parts.hub.stream_chat(model, self.messages)) as pieces:
            async for piece in pieces:
                now_s = loop.time()
                if first_s is None and (piece.text or piece.thinking):
                    first_s = now_s - began_s
                texts.append(piece.text)
                thoughts.append(piece.thinking)
                if piece.done:
                    shown["told"] = _told(piece, first_s)
                if piece.done or now_s - drawn_s > REDRAW_S:
                    shown["text"], shown["thinking"] = "".join(texts), "".join(thoughts)
                    drawn_s = now_s
                    self._draw()
        self.messages.append(Message(role="assistant", content="".join(texts)))

    def _draw(self) -> None:
        self.talk.draw([dict(one) for one in self.shown])


def _told(last: ChatPiece, first_s: float | None) -> str:
    usage = last.usage
    speed = usage.output_tokens / usage.decode_s if usage.decode_s > 0 else None
    parts = [
        f"{usage.output_tokens} tokens",
        f"{rate(speed)} per second" if speed else "",
        f"first after {seconds(first_s)}" if first_s is not None else "",
        f"loaded in {seconds(last.load_s)}" if last.load_s > 0.05 else "",
        "cut at the limit" if last.finish_reason == "length" else "",
    ]
    return ", ".join(filter(None, parts))
