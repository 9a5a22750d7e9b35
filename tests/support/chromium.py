"""A headless Chromium driven over its DevTools protocol: open pages, press keys, run JavaScript, take pictures."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp

Said: TypeAlias = Any
"""What came out of JSON."""

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


@dataclass
class Browser:
    socket: aiohttp.ClientWebSocketResponse
    _ids: itertools.count[int] = field(default_factory=itertools.count)
    _answers: dict[int, asyncio.Future[Said]] = field(default_factory=dict[int, "asyncio.Future[Said]"])
    tabs: dict[str, Tab] = field(default_factory=dict[str, "Tab"])

    async def send(self, method: str, session: str | None = None, **params: object) -> Said:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self.socket.send_json(message | ({"sessionId": session} if session else {}))
        async with asyncio.timeout(20):
            return await answer

    async def listen(self) -> None:
        async for message in self.socket:
            said = json.loads(message.data)
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if answer.done():
                    continue
                if "error" in said:
                    answer.set_exception(RuntimeError(said["error"]["message"]))
                else:
                    answer.set_result(said.get("result"))
            elif said.get("sessionId") in self.tabs:
                self.tabs[said["sessionId"]].hear(said["method"], said["params"])

    async def open(self, url: str = "about:blank", *, width: int = 1280, height: int = 900) -> Tab:
        target = (await self.send("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = self.tabs[session] = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.send(f"{domain}.enable")
        await tab.size(width, height)
        if url != "about:blank":
            await tab.go(url)
        return tab


@dataclass
class Tab:
    browser: Browser
    target: str
    session: str
    problems: list[str] = field(default_factory=list[str])
    """Errors and warnings of the console, uncaught exceptions, requests that failed."""
    requests: list[str] = field(default_factory=list[str])
    """Every address the page asked for."""

    def hear(self, method: str, params: Said) -> None:
        match method:
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.problems.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.problems.append(details.get("exception", {}).get("description", details["text"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.problems.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(params["url"])
            case _:
                pass

    async def send(self, method: str, **params: object) -> Said:
        return await self.browser.send(method, self.session, **params)

    async def size(self, width: int, height: int) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    async def prefer(self, scheme: str) -> None:
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def go(self, url: str) -> None:
        await self.send("Page.navigate", url=url)

    async def run(self, script: str) -> Said:
        """The value of an expression; a promise is awaited."""
        answer = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "script failed"))
        return answer["result"].get("value")

    async def until(self, script: str, within_s: float = 10.0) -> Said:
        """Wait until the expression is true."""
        value: Said = None
        try:
            async with asyncio.timeout(within_s):
                while True:
                    try:
                        value = await self.run(f"(({script}) instanceof Node) || ({script})")
                    except RuntimeError:
                        value = None  # while a page is being replaced there is nothing to ask
                    if value:
                        return value
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.run("document.body.innerText")
            raise AssertionError(f"{script} is {value!r} after {within_s} s; the page says: {text[:2000]}") from None

    async def sees(self, text: str, within_s: float = 10.0) -> None:
        await self.until(f"document.body.innerText.includes({json.dumps(text)})", within_s)

    async def text(self) -> str:
        return str(await self.run("document.body.innerText"))

    async def key(self, name: str, text: str = "", *, shift: bool = False) -> None:
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        about: dict[str, object] = {"key": name, "windowsVirtualKeyCode": codes.get(name, ord(name[0]))}
        about |= {"modifiers": 8 if shift else 0}
        await self.send(
            "Input.dispatchKeyEvent", type="keyDown", text=text or ("\r" if name == "Enter" else ""), **about
        )
        await self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    async def type(self, text: str) -> None:
        await self.send("Input.insertText", text=text)

    async def focus(self, script: str) -> None:
        assert await self.run(
            f"(() => {{ const one = {script}; one.focus(); return document.activeElement === one; }})()"
        )

    async def choose_file(self, selector: str, path: Path) -> None:
        document = await self.send("DOM.getDocument")
        node = await self.send("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        await self.send("DOM.setFileInputFiles", files=[str(path)], nodeId=node["nodeId"])

    async def picture(self, path: Path, *, whole: bool = True) -> None:
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))

    async def close(self) -> None:
        await self.browser.send("Target.closeTarget", targetId=self.target)


@asynccontextmanager
async def chromium(profile: Path) -> AsyncGenerator[Browser]:
    """A fresh browser whose profile is a folder that does not exist yet."""
    assert CHROMIUM is not None
    await asyncio.to_thread(profile.mkdir)
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = await _address(profile / "DevToolsActivePort")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, max_msg_size=0) as socket,
        ):
            browser = Browser(socket)
            listening = asyncio.get_running_loop().create_task(
                browser.listen()
            )  # no group: it would wrap what a test says
            try:
                yield browser
            finally:
                listening.cancel()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _address(file: Path) -> str:
    async with asyncio.timeout(30):
        while len(lines := _lines(file)) < 2:  # noqa: ASYNC110 - the browser tells only the file
            await asyncio.sleep(0.05)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
