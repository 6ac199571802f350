"""A real browser without a window, driven by its own protocol."""

import contextlib
import itertools
import json
import re
import shutil
import subprocess

import aiohttp
import pytest


class Tab:
    """A page in a browser.

    Args:
        socket: To the browser's DevTools, attached to the page.
        session: Its name for that.
    """

    def __init__(self, socket, session=None):
        self._socket = socket
        self._session = session
        self._numbers = itertools.count(1)

    async def do(self, method, **params):
        """Gives a command of the DevTools protocol, and returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.send_json(message)
        while True:
            answer = await self._socket.receive_json(timeout=30)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def tell(self, expression):
        """Returns the value of JavaScript, also of a promise."""
        answer = await self.do(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression):
        """Waits until JavaScript is true."""
        await self.tell(
            f"""new Promise((done, fail) => {{
                const start = performance.now();
                (function look() {{
                    if ({expression}) done();
                    else if (performance.now() - start > 20000)
                        fail(document.body.innerText);
                    else setTimeout(look, 20);
                }})();
            }})"""
        )

    async def choose(self, selector, *paths):
        """Chooses files in an input, as a person does in the dialogue."""
        root = await self.do("DOM.getDocument")
        found = await self.do(
            "DOM.querySelector", nodeId=root["root"]["nodeId"], selector=selector
        )
        await self.do("DOM.setFileInputFiles", files=[*map(str, paths)], **found)

    async def press(self, key, code):
        """Presses a key."""
        for kind in ("keyDown", "keyUp"):
            await self.do(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                text="\r" if key == "Enter" else "",
                windowsVirtualKeyCode=code,
            )


@contextlib.asynccontextmanager
async def tab(address, folder):
    """Opens a page in a new browser, whose profile goes to a folder."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium on this machine's PATH")
    browser = subprocess.Popen(
        [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu"),
            "--disable-background-networking",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "about:blank",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in browser.stderr:
            if found := re.search(r"listening on (ws://\S+)", line):
                break
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(found[1], max_msg_size=2**26) as socket,
        ):
            target = await Tab(socket).do("Target.createTarget", url="about:blank")
            attached = await Tab(socket).do(
                "Target.attachToTarget", flatten=True, **target
            )
            page = Tab(socket, attached["sessionId"])
            await page.do("Page.enable")
            await page.do("Page.navigate", url=address)
            await page.until(
                f"location.href.startsWith({json.dumps(address)})"
                " && document.readyState === 'complete'"
            )
            yield page
    finally:
        browser.kill()
        browser.wait()
        browser.stderr.close()
