"""An MCP server that misbehaves on demand: `python rogue.py MODE[=ARGUMENT] ...`; modes can be combined.

Standard library only, imported late, so that a process is up in a few hundredths of a second. It speaks JSON-RPC over
stdin and stdout in both eras (`initialize`, and `server/discover` with an envelope in each request). Each process
writes a file named by its pid into the folder $ROGUE_PIDS, if that is set, and dies after two minutes whatever happens.

    good                speaks both eras (the default); tools: echo add sleep_forever write read
    legacy              knows `initialize` only; anything unknown is answered with -32601
    modern              refuses `initialize`
    exits_on_discover   legacy, and exits when its first message is not `initialize`
    ignores_discover    legacy, and never answers `server/discover`
    lives=SECONDS       dies after so long, instead of two minutes
    exit_at_start=WORDS a line on stderr (by default, one about a database), exit code 1
    silent              reads, never answers
    slow_start=PORT     connects to 127.0.0.1:PORT and serves when that connection ends (`servers.Gate`)
    waits=PORT          tool `wait`: connects to 127.0.0.1:PORT, and answers when that connection ends (`servers.Gate`)
    hangs_once          the first process answers no call of `read`, those after it do (with $ROGUE_PIDS)
    crash_mid_call      tool `crash`: exits with code 3
    bad_tool            lists a tool `broken` whose inputSchema is null
    results=JSON        by method: its results, one for each request and the last for all that follow, or {"error": …}
                        ("never" for no answer)
    pages               one tool per page, five pages
    endless_pages       a page after each page
    bad_utf8            tool `bad_utf8`: a byte that is not UTF-8 in the result
    bad_json            tool `bad_json`: an answer that stops in the middle of the object
    surrogate           tool `surrogate`: half an emoji in the result, as an escape
    deep=N              tool `deep`: N nested lists in the result
    digits=N            tool `digits`: an integer of N digits in the result
    huge=N              tool `huge`: N MiB of text on one line
    banner              lines that are not JSON on stdout, first and before each answer
    stderr_flood        2 MiB on stderr, first and before each answer
    outlives_eof        lives on after the end of stdin, until SIGTERM
    ignores_eof         lives on after the end of stdin, and ignores SIGTERM
    fails_at_end        at the end of stdin: words on stderr, exit code 1
    garbage_at_end      at the end of stdin: lines that are no message, a reply to nobody and half of another
    flood_at_end        at the end of stdin: writes to stdout until it is killed
    slow_end            ends 0.3 s after its stdin
    stops_reading       reads nothing more behind the first call that it has answered
    many=N              N more tools
    churns=N            N more tools, with other names in every list, behind each of which it announces a change
    floods=METHOD       behind its list of tools, sends requests or notifications of METHOD without end, and reads no
                        more; `noise`: lines that are no messages; `noise:N`: N of them, and then it serves on
    no_tools=CODE:WORDS announces prompts and resources alone, and refuses `tools/list` so; without them it is silent
    tools_come=PORT     has no tools until `servers.Gate` opens, and says then that they have changed
    grandchild          starts a child that holds its stdout open and never ends
    list_changed        tool `grow`: adds a tool `grown_N` and notifies
    announces=JSON      what that notification has besides its method, in the handshake era
    progress            tool `progress`: three progress notifications, then the result
    counts=FILE         appends the name of each executed tool to FILE, a line each
    log=FILE            appends each line received to FILE
    env                 tool `environment`: its environment as JSON
    ids=KIND            answers with other ids: float text zero same null none foreign (see IDS)
    call_ids=KIND       the same, for calls only
    holds=N             answers no call before there were N of them; the last first
    answers=FILE        tool `answer`: line number `line` of FILE is the result, whatever is there; or, if there is a
                        $ID in it, the whole reply ($NEXT begins another line)
    spoils=FILE         tool `spoil`: line number `line` of FILE, base64, is written before the reply ($ID: its id)
    twice               sends each reply twice, with the right id
    chatty=KIND         answers notifications too: an empty result with `null`, an error with `zero`
    schema=JSON         tool `judged` with this inputSchema
    tools=JSON          lists these definitions too, as they are; each that has a name can be called
    book=FILE           lists the definitions in FILE and no others, byte for byte, as they are when it is asked; an
                        object of two lists there is two pages
"""

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Json = dict[str, Any]
    Tool = Callable[["Rogue", Json, Json], Json]

HANDSHAKE, MODERN = "2025-11-25", "2026-07-28"
META = "io.modelcontextprotocol/"
INFO = {"name": "rogue", "version": "1"}
LIFETIME_S = 120
METHOD_NOT_FOUND, INVALID_PARAMS, UNSUPPORTED_VERSION = -32601, -32602, -32022


class Rogue:
    """One server process: its modes, and what the client asked for so far."""

    def __init__(self, modes: "dict[str, str]") -> None:
        self.modes = modes
        self.legacy = bool(modes.keys() & {"legacy", "exits_on_discover", "ignores_discover"})
        self.listeners: list[str] = []
        self.grown = self.churned = 0
        self.results: dict[str, list[Json]] = json.loads(modes.get("results") or "{}")
        self.held: list[Json] = []
        self.calls = 0

    def serve(self) -> None:
        """Answer line by line until the end of stdin."""
        for line in sys.stdin.buffer:
            self.note("log", line.decode("utf-8", "replace").rstrip("\n"))
            if "silent" not in self.modes:
                self.receive(json.loads(line))
            if "stops_reading" in self.modes and b'"tools/call"' in line:
                sleep_on()
            if "churns" in self.modes and b'"tools/list"' in line:
                self.churned += 1
                self.announce()
            if "floods" in self.modes and b'"tools/list"' in line:
                flood(self, self.modes["floods"])

    def receive(self, message: "Json") -> None:
        method, params = message.get("method"), message.get("params") or {}
        if "exits_on_discover" in self.modes and method == "server/discover":
            sys.exit("rogue: expected initialize")
        if "id" not in message and "chatty" in self.modes:
            told: dict[str, Json] = {
                "null": {"result": {}},
                "zero": error(METHOD_NOT_FOUND, f"Method not found: {method}"),
            }
            kind = self.modes["chatty"]
            self.send({"jsonrpc": "2.0", **IDS[kind](0), **told[kind]})
        if "id" not in message or method is None or ("ignores_discover" in self.modes and method == "server/discover"):
            return
        answer = self.answer(str(method), params, message)
        if answer is not None:
            self.disturb()
            self.reply({"jsonrpc": "2.0", "id": message["id"], **answer}, is_call=method == "tools/call")

    def reply(self, answer: "Json", *, is_call: bool) -> None:
        self.held.append(answer)
        self.calls += is_call
        if is_call and self.calls < int(self.modes.get("holds", 1)):
            return
        kind = self.modes.get("call_ids" if is_call and "call_ids" in self.modes else "ids", "right")
        while self.held:
            held = self.held.pop()
            id = held.pop("id")
            for _ in range(1 + ("twice" in self.modes)):
                self.send({**held, **IDS[kind](id)})

    def answer(self, method: str, params: "Json", message: "Json") -> "Json | None":
        """The `result` or `error` of a request; None where it is answered by hand or never."""
        if told := self.results.get(method):
            return read_told(told[0] if len(told) == 1 else told.pop(0))
        if method == "server/discover" and not self.legacy:
            return self.complete({"supportedVersions": [MODERN], "capabilities": self.capabilities()}, cached=True)
        if method == "initialize" and "modern" in self.modes:
            return error(UNSUPPORTED_VERSION, "no handshake here", {"supported": [MODERN], "requested": HANDSHAKE})
        if method == "initialize":
            self.legacy = True
            version = params.get("protocolVersion", HANDSHAKE)
            return {"result": {"protocolVersion": version, "capabilities": self.capabilities(), "serverInfo": INFO}}
        if method == "ping" and self.legacy:
            return {"result": {}}
        if method == "subscriptions/listen" and not self.legacy:
            return self.listen(message)
        if method == "tools/list" and "no_tools" in self.modes:
            code, _, words = self.modes["no_tools"].partition(":")
            return error(int(code), words) if code else None
        if method == "tools/list":
            return self.list_tools(params.get("cursor"), message)
        if method == "tools/call":
            return self.call(params, message)
        return error(METHOD_NOT_FOUND, f"Method not found: {method}")

    def capabilities(self) -> "Json":
        if "no_tools" in self.modes:
            return {"prompts": {}, "resources": {}}
        return {"tools": {"listChanged": bool(self.modes.keys() & {"list_changed", "churns", "book"})}}

    def announce(self) -> None:
        """Say that the tools have changed."""
        for listener in self.listeners or ([None] if self.legacy else []):
            self.notify("tools/list_changed", {}, listener)

    def complete(self, result: "Json", *, cached: bool = False) -> "Json":
        """The result with what the modern era adds to it."""
        if not self.legacy:
            result |= {"resultType": "complete", "_meta": {META + "serverInfo": INFO}}
            result |= {"ttlMs": 0, "cacheScope": "private"} if cached else {}
        return {"result": result}

    def listen(self, message: "Json") -> None:
        self.listeners.append(message["id"])
        self.notify("subscriptions/acknowledged", {"notifications": {"toolsListChanged": True}}, message["id"])

    def page(self, cursor: "str | None") -> "Json":
        number = int(cursor or 0)
        if "endless_pages" in self.modes:
            return {"tools": [describe(f"tool_{number}")], "nextCursor": str(number + 1)}
        tools = self.tools()
        if "pages" not in self.modes:
            return {"tools": tools}
        page: Json = {"tools": tools[number : number + 1]}
        return page | ({"nextCursor": str(number + 1)} if number + 1 < len(tools) else {})

    def list_tools(self, cursor: "str | None", message: "Json") -> "Json | None":
        return (
            self.read_book(cursor, message) if "book" in self.modes else self.complete(self.page(cursor), cached=True)
        )

    def read_book(self, cursor: "str | None", message: "Json") -> None:
        """Send the definitions as they are written."""
        with open(self.modes["book"], encoding="utf-8") as file:  # noqa: PTH123  pathlib costs start-up time
            written = file.read().replace("\n", " ")
        page: Json = {"tools": "$TOOLS"}
        if written.startswith("{"):
            pages = list(json.loads(written).values())
            written = json.dumps(pages[int(cursor or 0)])
            page |= {"nextCursor": "1"} if cursor is None else {}
        answer = {"jsonrpc": "2.0", "id": message["id"], **self.complete(page, cached=True)}
        self.write(json.dumps(answer).replace('"$TOOLS"', written).encode())

    def tools(self) -> "list[Json]":
        if "book" in self.modes:
            with open(self.modes["book"], encoding="utf-8") as file:  # noqa: PTH123  pathlib costs start-up time
                book = json.load(file)
            return [tool for page in book.values() for tool in page] if isinstance(book, dict) else book
        names = [*TOOLS, *(tool for mode, tool in TOOL_OF_MODE.items() if mode in self.modes)]
        names += [f"grown_{number + 1}" for number in range(self.grown)]
        many = int(self.modes.get("many") or self.modes.get("churns") or 0)
        names += [f"list_{self.churned}_of_{number}" for number in range(many)]
        broken = [{**describe("broken"), "inputSchema": None}] if "bad_tool" in self.modes else []
        judged = [{"name": "judged", "inputSchema": json.loads(self.modes.get("schema") or "{}")}]
        odd = json.loads(self.modes.get("tools") or "[]")
        return [*map(describe, names), *broken, *(judged if "schema" in self.modes else []), *odd]

    def call(self, params: "Json", message: "Json") -> "Json | None":
        name = params["name"]
        if name not in [tool.get("name") for tool in self.tools() if isinstance(tool, dict)]:
            return error(INVALID_PARAMS, f"Unknown tool: {name}")
        self.note("counts", name)
        if name == "read" and "hangs_once" in self.modes and self.is_first():
            return None
        if name in SILENT_TOOLS:
            SILENT_TOOLS[name](self, params, message)
            return None
        run = TOOLS.get(name) or SPECIAL_TOOLS.get(name) or echo
        return self.complete(run(self, params.get("arguments") or {}, message))

    def is_first(self) -> bool:
        return len(os.listdir(os.environ["ROGUE_PIDS"])) == 1  # noqa: PTH208  pathlib costs start-up time

    def notify(self, event: str, params: "Json", listener: "str | None" = None) -> None:
        if listener is None and event == "tools/list_changed" and "announces" in self.modes:
            self.send({"jsonrpc": "2.0", "method": f"notifications/{event}", **json.loads(self.modes["announces"])})
            return
        stamp = {"_meta": {META + "subscriptionId": listener}} if listener is not None else {}
        self.send({"jsonrpc": "2.0", "method": f"notifications/{event}", "params": params | stamp})

    def send(self, message: "Json") -> None:
        self.write(json.dumps(message).encode())

    def write(self, line: bytes) -> None:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    def disturb(self) -> None:
        """What this process does first, and again before each answer."""
        if "banner" in self.modes:
            self.write("Rogue 1.0 läuft ✓\n{not json".encode())
        if "stderr_flood" in self.modes:
            os.write(2, b"rogue: all is well\n" * (2**21 // 19))

    def note(self, mode: str, line: str) -> None:
        if mode in self.modes:
            with open(self.modes[mode], "a", encoding="utf-8") as file:  # noqa: PTH123  pathlib costs start-up time
                file.write(line + "\n")


def read_told(answer: "Any") -> "Json | None":
    if answer == {"error": "never"}:
        return None
    return answer if isinstance(answer, dict) and "error" in answer else {"result": answer}


IDS: "dict[str, Callable[[Any], Json]]" = {
    "right": lambda id: {"id": id},
    "float": lambda id: {"id": float(id)},
    "text": lambda id: {"id": str(id)},
    "zero": lambda _: {"id": 0},
    "same": lambda _: {"id": 1},
    "third": lambda _: {"id": 3},
    "less": lambda id: {"id": id - 1},
    "more": lambda id: {"id": id + 1},
    "spelled": lambda id: {"id": f"{id}.0"},
    "null": lambda _: {"id": None},
    "none": lambda _: {},
    "foreign": lambda id: {"id": f"reply to {id}"},
    "list": lambda id: {"id": [id]},
}


def error(code: int, message: str, data: object = None) -> "Json":
    return {"error": {"code": code, "message": message} | ({"data": data} if data else {})}


def text(words: str) -> "Json":
    return {"content": [{"type": "text", "text": words}], "isError": False}


def describe(name: str) -> "Json":
    properties = ARGUMENTS.get(name, {})
    if "_of_" in name:
        properties = {"article": "string", "count": "integer", "mode": "string"}
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    hints = {"annotations": {"readOnlyHint": True}} if name == "read" else {}
    return {"name": name, "inputSchema": {**schema, "required": list(properties)}, **hints}


def answer(rogue: Rogue, arguments: "Json", message: "Json") -> None:
    with open(rogue.modes["answers"], encoding="utf-8") as file:  # noqa: PTH123  pathlib costs start-up time
        result = list(file)[int(arguments["arguments"]["line"])]
    if "$ID" not in result:
        result = f'{{"jsonrpc": "2.0", "id": $ID, "result": {result.strip()}}}'
    rogue.write(result.strip().replace("$NEXT", "\n").replace("$ID", str(message["id"])).encode())


def spoil(rogue: Rogue, arguments: "Json", message: "Json") -> "Json":
    import base64

    with open(rogue.modes["spoils"], "rb") as file:  # noqa: PTH123  pathlib costs start-up time
        line = base64.b64decode(list(file)[int(arguments["line"])])
    rogue.write(line.replace(b"$ID", str(message["id"]).encode()))
    return text("good")


def echo(_: Rogue, arguments: "Json", __: "Json") -> "Json":
    return text(str(arguments.get("text", "")))


def add(_: Rogue, arguments: "Json", __: "Json") -> "Json":
    return text(str(arguments["a"] + arguments["b"]))


def write(_: Rogue, arguments: "Json", __: "Json") -> "Json":
    with open(arguments["path"], "w", encoding="utf-8") as file:  # noqa: PTH123  pathlib costs start-up time
        file.write("written by rogue\n")
    return text("written")


def read(_: Rogue, __: "Json", ___: "Json") -> "Json":
    return text("nothing has changed")


def crash(_: Rogue, __: "Json", ___: "Json") -> "Json":
    os._exit(3)


def huge(rogue: Rogue, _: "Json", __: "Json") -> "Json":
    return text("x" * (int(rogue.modes["huge"]) << 20))


def surrogate(_: Rogue, __: "Json", ___: "Json") -> "Json":
    return text("half an emoji: \ud83d")


def environment(_: Rogue, __: "Json", ___: "Json") -> "Json":
    return text(json.dumps(dict(os.environ)))


def grow(rogue: Rogue, _: "Json", __: "Json") -> "Json":
    rogue.grown += 1
    rogue.announce()
    return text(f"there are {rogue.grown} more tools now")


def progress(rogue: Rogue, _: "Json", message: "Json") -> "Json":
    token = message["params"].get("_meta", {}).get("progressToken")
    for step in range(1, 4) if token is not None else ():
        rogue.notify("progress", {"progressToken": token, "progress": step, "total": 3, "message": f"step {step}"})
    return text("done")


def bad_utf8(rogue: Rogue, _: "Json", message: "Json") -> None:
    answer = {"jsonrpc": "2.0", "id": message["id"], **rogue.complete(text("caf?"))}
    rogue.write(json.dumps(answer).encode().replace(b"?", b"\xe9"))


def bad_json(rogue: Rogue, _: "Json", message: "Json") -> None:
    rogue.write(f'{{"jsonrpc": "2.0", "id": {json.dumps(message["id"])}, "result": {{"content": ['.encode())


def deep(rogue: Rogue, _: "Json", message: "Json") -> None:
    levels = int(rogue.modes["deep"])
    answer_with(rogue, message, "[" * levels + "]" * levels)


def digits(rogue: Rogue, _: "Json", message: "Json") -> None:
    answer_with(rogue, message, "7" * int(rogue.modes["digits"]))


def answer_with(rogue: Rogue, message: "Json", value: str) -> None:
    """Answer with `value`, JSON that the json module might refuse to write, in the structured content."""
    answer = {
        "jsonrpc": "2.0",
        "id": message["id"],
        **rogue.complete(text("look") | {"structuredContent": {"value": 0}}),
    }
    rogue.write(json.dumps(answer).replace('"value": 0', f'"value": {value}').encode())


def wait(rogue: Rogue, _: "Json", __: "Json") -> "Json":
    wait_for_gate(rogue.modes["waits"])
    return text("waited")


def sleep_forever(_: Rogue, __: "Json", ___: "Json") -> None:
    """Nothing: the call stays open, and all others are served."""


ARGUMENTS = {
    "echo": {"text": "string"},
    "add": {"a": "number", "b": "number"},
    "write": {"path": "string"},
    "answer": {"line": "integer"},
    "spoil": {"line": "integer"},
}
TOOLS: "dict[str, Tool | None]" = {"echo": echo, "add": add, "sleep_forever": None, "write": write, "read": read}
SPECIAL_TOOLS: "dict[str, Tool]" = {
    "crash": crash,
    "huge": huge,
    "surrogate": surrogate,
    "environment": environment,
    "grow": grow,
    "progress": progress,
    "spoil": spoil,
    "wait": wait,
}
SILENT_TOOLS: "dict[str, Callable[[Rogue, Json, Json], None]]" = {
    "sleep_forever": sleep_forever,
    "bad_utf8": bad_utf8,
    "bad_json": bad_json,
    "deep": deep,
    "digits": digits,
    "answer": answer,
}
TOOL_OF_MODE = {
    **{mode: mode for mode in ("bad_utf8", "bad_json", "surrogate", "deep", "digits", "huge", "progress")},
    "crash_mid_call": "crash",
    "list_changed": "grow",
    "env": "environment",
    "answers": "answer",
    "spoils": "spoil",
    "waits": "wait",
}


def wait_for_gate(port: str) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", int(port))) as gate:
        gate.recv(1)


def let_tools_come(rogue: Rogue) -> None:
    import threading

    def wait() -> None:
        wait_for_gate(rogue.modes["tools_come"])
        del rogue.modes["no_tools"]
        for listener in rogue.listeners or [None]:
            rogue.notify("tools/list_changed", {}, listener)

    threading.Thread(target=wait, daemon=True).start()


def start_grandchild() -> None:
    """Start it and wait until it has signed in: it closes its end of the pipe then."""
    import subprocess

    waiting, signed_in = os.pipe()
    command = [sys.executable, "-S", "-E", __file__, f"sleeper={signed_in}"]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[signed_in])
    os.close(signed_in)
    os.read(waiting, 1)


def sign_in(modes: "dict[str, str]") -> None:
    """Leave the pid for the test that looks for survivors, and never outlive a test run by much."""
    if folder := os.environ.get("ROGUE_PIDS"):
        with open(os.path.join(folder, str(os.getpid())), "w", encoding="utf-8") as file:  # noqa: PTH118, PTH123
            file.write(" ".join(modes))
    if hasattr(os, "fork"):
        import signal

        signal.alarm(int(modes.get("lives", LIFETIME_S)))


def sleep_on() -> None:
    import signal

    while True:
        signal.pause()


QUESTION = {"message": "Are you there?", "requestedSchema": {"type": "object", "properties": {}}}
FLOODS: "dict[str, Json]" = {
    "elicitation/create": QUESTION,
    "sampling/createMessage": {"messages": [], "maxTokens": 5},
    "notifications/message": {"level": "info", "data": "x" * 200},
    "notifications/progress": {"progressToken": 1, "progress": 1},
}


def flood(rogue: Rogue, method: str) -> None:
    number, limit = 0, int(method.partition(":")[2] or 0)
    while number < limit:
        number += 1
        rogue.write(b"INFO listening on port %d" % number)
    if limit:
        return
    while True:
        number += 1
        message = {"jsonrpc": "2.0", "method": method, "params": FLOODS.get(method, {})}
        if method == "noise":
            rogue.write(b"INFO listening on port %d" % number)
        elif method.startswith("notifications/"):
            rogue.send(message)
        else:
            rogue.send(message | {"id": number})


def end(rogue: Rogue) -> None:
    """What it does once its stdin has ended."""
    if "fails_at_end" in rogue.modes:
        sys.exit("rogue: the cache could not be written")
    if "garbage_at_end" in rogue.modes:
        rogue.write(b'bye\xff\n{"jsonrpc": "2.0", "id": 999, "result": {}}\n{"jsonrpc": "2.0", "id": 3, "resu')
    if "slow_end" in rogue.modes:
        import time

        time.sleep(0.3)
    while "flood_at_end" in rogue.modes:
        rogue.write(b"x" * 65_536)


def main(modes: "dict[str, str]") -> None:
    sign_in(modes)
    if "sleeper" in modes:
        os.close(int(modes["sleeper"]))
        sleep_on()
    if "exit_at_start" in modes:
        sys.exit(modes["exit_at_start"] or "rogue: cannot start: the database is missing")
    if "ignores_eof" in modes:
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "slow_start" in modes:
        wait_for_gate(modes["slow_start"])
    if "grandchild" in modes:
        start_grandchild()
    rogue = Rogue(modes)
    rogue.disturb()
    if "tools_come" in modes:
        let_tools_come(rogue)
    rogue.serve()
    end(rogue)
    if modes.keys() & {"outlives_eof", "ignores_eof"}:
        sleep_on()


if __name__ == "__main__":
    main({mode: argument for mode, _, argument in (word.partition("=") for word in sys.argv[1:])})
