"""The way back from a browser: a port of this machine that it is sent to, or the address that somebody pastes."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
from anyio.abc import SocketAttribute, SocketStream
from mcp.shared.auth import AuthorizationCodeResult

from bridge.errors import SignInFailed
from bridge.hub.sign_in.words import MOST
from bridge.visible import show_line

PATH = "/callback"
MAX_BYTES = 16_384
READ_S = 10.0
"""How long a browser may take to send its request."""
_HEADERS = "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"


class Callback:
    """Waits for the one answer that belongs to a sign-in; whatever else comes is refused, and waited on."""

    def __init__(self, port: int) -> None:
        self.redirect_uri = f"http://localhost:{port}{PATH}"
        self._state: str | None = None
        self._come = anyio.Event()
        self._result: AuthorizationCodeResult | SignInFailed | None = None

    def expect(self, url: str) -> None:
        """Take the state from the address that the browser is sent to: only an answer that repeats it counts."""
        self._state = _get(parse_qs(urlsplit(url).query), "state")

    async def wait(self) -> AuthorizationCodeResult:
        """Wait for the answer. Raises SignInFailed where it is a refusal."""
        await self._come.wait()
        if isinstance(self._result, SignInFailed):
            raise self._result
        assert self._result
        return self._result

    def take(self, address: str) -> str | None:
        """Take the address that the browser came back with; return what is wrong with it."""
        try:
            query = parse_qs(urlsplit(address.strip()).query or address.strip().lstrip("?"))
        except ValueError:
            return "that is no address"
        code, error, state = _get(query, "code"), _get(query, "error"), _get(query, "state")
        if code is None and error is None:
            return "there is no code in that address; it is the one that the browser shows after you have signed in"
        if self._state is None or state != self._state:
            return "that address belongs to another sign-in"
        if self._come.is_set():
            return "that address was used already"
        if error is not None:
            said = " ".join(filter(None, (error, _get(query, "error_description"))))
            self._result = SignInFailed(f"the authority refuses: {show_line(said)[:MOST]}")
        else:
            self._result = AuthorizationCodeResult(code=code or "", state=state, iss=_get(query, "iss"))
        self._come.set()
        return None

    async def answer(self, stream: SocketStream) -> None:
        """Answer one connection of a browser."""
        async with stream:
            with anyio.move_on_after(READ_S):
                status, text = self._answer(await _read_head(stream))
                body = f"{text}\n".encode()
                head = f"HTTP/1.1 {status}\r\n{_HEADERS}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                await stream.send(head.encode() + body)

    def _answer(self, head: str) -> tuple[str, str]:
        method, _, rest = head.partition(" ")
        target = rest.partition(" ")[0]
        if method != "GET" or target.partition("?")[0] != PATH:
            return "404 Not Found", "There is nothing here."
        if fault := self.take(target):
            return "400 Bad Request", f"Not signed in: {fault}."
        is_refused = isinstance(self._result, SignInFailed)
        return "200 OK", "Not signed in: see the terminal." if is_refused else "Signed in. You can close this page."


@asynccontextmanager
async def open_callback(port: int | None) -> AsyncIterator[Callback]:
    """Listen on a port of this machine, any free one for None. Raises SignInFailed where it is in use."""
    try:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port or 0)
    except OSError as error:
        raise SignInFailed(
            f"port {port} is in use on this machine ({error.strerror or error}); the browser is to come back to it: "
            "end what uses it, or change oauth.callback_port, here and where the client is registered"
        ) from None
    number = listener.extra(SocketAttribute.local_port)
    callback = Callback(number)
    failure: SignInFailed | None = None
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, callback.answer)
        tasks.start_soon(_listen_v6, number, callback)
        try:
            yield callback
        except SignInFailed as error:  # raised below: the task group would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure:
        raise failure


async def _listen_v6(port: int, callback: Callback) -> None:
    """Listen where `localhost` may lead to as well."""
    try:
        listener = await anyio.create_tcp_listener(local_host="::1", local_port=port)
    except OSError:
        return
    async with listener:
        await listener.serve(callback.answer)


async def _read_head(stream: SocketStream) -> str:
    head = b""
    try:
        while b"\r\n" not in head and len(head) < MAX_BYTES:
            head += await stream.receive(MAX_BYTES)
    except anyio.EndOfStream:
        pass
    return head.partition(b"\r\n")[0].decode("latin-1")


def _get(query: Mapping[str, list[str]], name: str) -> str | None:
    """Return a parameter; one that stands there twice counts as missing."""
    values = query.get(name, [])
    return values[0] if len(values) == 1 else None


async def open_browser(url: str, environ: Mapping[str, str]) -> bool:
    """Open the person's browser; False where there is none to be seen. `url` was checked: it is a web address."""
    has_screen = sys.platform in ("win32", "darwin") or environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")
    if not has_screen and not environ.get("BROWSER"):
        return False
    import webbrowser

    return await anyio.to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True)
