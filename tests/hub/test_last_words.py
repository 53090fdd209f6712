"""A server whose process ends at its start: how it ended, and what of all that it wrote people are told."""

import sys
from pathlib import Path

import pytest

from tests.fakes.aloud import tell

pytestmark = pytest.mark.anyio

NODE = """node:internal/modules/cjs/loader:1215
  throw err;
  ^

Error: Cannot find module '/srv/dist/index.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1212:15)
    at node:internal/main/run_main_module:28:49 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v22.11.0
"""
ESM = """node:internal/modules/esm/resolve:275
    throw new ERR_MODULE_NOT_FOUND(
          ^

Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'zod' imported from /srv/index.js
    at packageResolve (node:internal/modules/esm/resolve:864:9) {
  code: 'ERR_MODULE_NOT_FOUND'
}

Node.js v20.1.0
"""
NPM = """npm error code E404
npm error 404 Not Found - GET https://registry.example/@corp%2fserver - Not found
npm error 404
npm error 404  '@corp/server@*' is not in this registry.
npm error 404
npm error 404 Note that you can also install from a
npm error 404 tarball, folder, http url, or git url.
npm error A complete log of this run can be found in: /home/me/.npm/_logs/2026-11-29T10_00_00_000Z-debug-0.log
"""
OLD_NPM = """npm ERR! code E404
npm ERR! 404 Not Found - GET https://registry.example/nope - Not found
npm ERR! 404
npm ERR! A complete log of this run can be found in:
npm ERR!     /home/me/.npm/_logs/2026-11-29T10_00_00_000Z-debug-0.log
"""
NPM_PATH = """npm error code ENOENT
npm error syscall lstat
npm error path /app/${APPDATA}
npm error errno -2
npm error enoent ENOENT: no such file or directory, lstat '/app/${APPDATA}'
npm error enoent This is related to npm not being able to find a file.
npm error A complete log of this run can be found in: /home/me/.npm/_logs/x-debug-0.log
"""
NPM_BARE = """npm error could not determine executable to run
npm error A complete log of this run can be found in: /home/me/.npm/_logs/x-debug-0.log
"""
PYTHON = """Traceback (most recent call last):
  File "/srv/server.py", line 1, in <module>
    import fastmcp
ModuleNotFoundError: No module named 'fastmcp'
"""
CHAIN = """Traceback (most recent call last):
  File "/srv/server.py", line 3, in read
    return os.environ["KEY"]
           ~~~~~~~~~~^^^^^^^
KeyError: 'KEY'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/server.py", line 9, in <module>
    main()
  File "/srv/server.py", line 5, in main
    raise mine.NoLicence("the licence has run out") from error
mine.NoLicence: the licence has run out
2026-11-29 10:00:00,000 - INFO - shutting down
"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/srv/server.py", line 9, in <module>
  |     main()
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/server.py", line 5, in main
    |     connect()
    | ConnectionError: the database is down
    +------------------------------------
"""
TWO = """  | ExceptionGroup: both (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: no key
    +---------------- 2 ----------------
    | OSError: no disk
    +------------------------------------
"""
GIT = """git: 'mcp' is not a git command. See 'git --help'.

The most similar command is
\tmv
"""
NPM_NET = """npm error code ENOTFOUND
npm error syscall getaddrinfo
npm error network request to https://registry.example/x failed, reason: getaddrinfo ENOTFOUND registry.example
npm error network This is a problem related to network connectivity.
"""
PNPM = """ ERR_PNPM_FETCH_404  GET https://registry.example/nope: Not Found - 404

This error happened while installing a direct dependency of /x

nope is not in the npm registry, or you have no permission to fetch it.
"""
UV_NET = """error: Request failed after 3 retries
  Caused by: Failed to fetch: `https://packages.example/simple/x/`
  Caused by: client error (Connect)
  Caused by: dns error: failed to lookup address information: Name or service not known
"""
COBRA = """Error: required flag(s) "token" not set
Usage:
  server [flags]

Flags:
  -h, --help           help for server
      --token string   required token
"""
CLAP = """error: the following required arguments were not provided:
  <DIR>

Usage: server <DIR>

For more information, try '--help'.
"""
ZOD = """ZodError: [
  {
    "code": "invalid_type",
    "path": ["API_KEY"],
    "message": "Required"
  }
]
    at get error (/srv/index.js:1:1)
"""
LISTED = "Missing environment variables:\n  - API_KEY\n  - API_URL\n"
REJECTED = """[UnhandledPromiseRejection: This error originated either by throwing inside of an async function, \
or by rejecting a promise which was not handled with .catch(). The promise rejected with the reason "no key".] {
  code: 'ERR_UNHANDLED_REJECTION'
}
"""
SPRING = """***************************
APPLICATION FAILED TO START
***************************

Description:

Web server failed to start. Port 8080 was already in use.

Action:

Identify and stop the process that's listening on port 8080.
"""
HEAP = """<--- Last few GCs --->
FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory
----- Native stack trace -----
 1: 0xb8 node::Abort() [node]
"""
PYDANTIC = """Traceback (most recent call last):
  File "/srv/server.py", line 7, in <module>
    Settings()
pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings
api_key
  Field required [type=missing, input_value={}, input_type=dict]
    For further information visit https://errors.pydantic.dev/2.13/v/missing
"""
UVX = """  × No solution found when resolving tool dependencies:
  ╰─▶ Because mcp-server-nope was not found in the package registry and you
      require mcp-server-nope, we can conclude that your requirements are
      unsatisfiable.
"""
UV_SPAWN = """error: Failed to spawn: `mysql_mcp_server`
  Caused by: No such file or directory (os error 2)
"""
UV_USAGE = """error: unexpected argument '--foo' found

  tip: to pass '--foo' as a value, use '-- --foo'

Usage: uvx [OPTIONS] [COMMAND]

For more information, try '--help'.
"""
DOCKER = """docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?.
See 'docker run --help'.
"""
PULL = """Unable to find image 'corp/server:latest' locally
docker: Error response from daemon: pull access denied for corp/server, repository does not exist or may require \
'docker login': denied: requested access to the resource is denied

Run 'docker run --help' for more information
"""
JAVA = """Exception in thread "main" java.lang.NoClassDefFoundError: org/corp/Server
\tat org.corp.Main.main(Main.java:5)
Caused by: java.lang.ClassNotFoundException: org.corp.Server
\tat java.base/jdk.internal.loader.BuiltinClassLoader.loadClass(BuiltinClassLoader.java:641)
\t... 1 more
"""
JAR = "Error: Unable to access jarfile server.jar\n"
GO = """panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4a1b2c]

goroutine 1 [running]:
main.main()
\t/app/main.go:10 +0x1d
main.(*Server).Serve(0xc000012345, {0x1, 0x2})
\t/app/serve.go:20 +0x2a
exit status 2
"""
GO_LOG = "2026/11/29 10:00:00 failed to read config: open config.yaml: no such file or directory\n"
RUST = """thread 'main' panicked at src/main.rs:5:10:
called `Option::unwrap()` on a `None` value
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""
RUST_FRAMES = """thread 'main' (123) panicked at src/main.rs:5:10:
GITHUB_TOKEN is not set
stack backtrace:
   0: std::panicking::begin_panic
             at /rustc/abc/library/std/src/panicking.rs:1:1
   1: server::main
             at ./src/main.rs:5:10
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
"""
ANYHOW = """Error: could not read the config

Caused by:
    No such file or directory (os error 2)
"""
RUBY = """server.rb:1:in `require': cannot load such file -- mcp (LoadError)
\tfrom server.rb:1:in `<main>'
"""
PHP = """PHP Fatal error:  Uncaught RuntimeException: no database in /srv/server.php:3
Stack trace:
#0 {main}
  thrown in /srv/server.php on line 3
"""
DOTNET = """Unhandled exception. System.InvalidOperationException: No API key was given.
   at Program.<Main>$(String[] args) in /src/Program.cs:line 5
"""
ARGPARSE = """usage: server.py [-h] dir
server.py: error: the following arguments are required: dir
"""
BOX = """Usage: server [OPTIONS]
Try 'server --help' for help.
╭─ Error ──────────────────────────────────────────────────╮
│ Missing option '--api-key'.                              │
╰──────────────────────────────────────────────────────────╯
"""
PINO = """{"level":30,"time":1,"msg":"starting"}
{"level":60,"time":2,"msg":"The token is expired"}
"""
COLOURED = "\x1b[32mINFO\x1b[0m starting\n\x1b[1m\x1b[31mERROR\x1b[0m The token is expired\n\x1b[0m\n"
PROGRESS = "Downloading torch  10%\rDownloading torch  57%\rerror: the disk is full\n[=====>    ] 57%\n⠙ \n"
LATER = "ERROR the key is refused\nINFO shutting down\nINFO bye\n"
WARNED = "(node:1) ExperimentalWarning: SQLite is experimental\n(Use `node --trace-warnings ...` to show it)\nno key\n"
YARN = """error Couldn't find package "nope" on the "npm" registry.
info Visit https://yarnpkg.com/en/docs/cli/run for documentation about this command.
error Command failed with exit code 1.
"""
LOADER = "./server: error while loading shared libraries: libssl.so.1.1: cannot open shared object file\n"
TWICE = "Error: Error: Error: the port is taken\n"
CHINESE = "启动失败：数据库未连接\n"
NOTHING_BUT_NOISE = "}\n^^^^\n"


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        pytest.param(NODE, "Error: Cannot find module '/srv/dist/index.js'", id="node: cropflre/nowen-note#673"),
        pytest.param(ESM, "Cannot find package 'zod' imported from /srv/index.js", id="node, modules"),
        pytest.param(NPM, "npm error code E404: Not Found - GET https://", id="npm: obot-platform/obot#6503"),
        pytest.param(OLD_NPM, "npm ERR! code E404: Not Found", id="old npm: yonaka15/mcp-server-redmine#8"),
        pytest.param(NPM_PATH, "npm error code ENOENT: no such file or", id="npm: RooCodeInc/Roo-Code#2264"),
        pytest.param(NPM_BARE, "npm error could not determine executable to run", id="npm, without a code"),
        pytest.param(PYTHON, "ModuleNotFoundError: No module named 'fastmcp'", id="python: 78/mcp-calculator#10"),
        pytest.param(CHAIN, "mine.NoLicence: the licence has run out", id="python, chained, of no usual name"),
        pytest.param(GROUP, "ConnectionError: the database is down", id="python, a group of errors"),
        pytest.param(NPM_NET, "npm error code ENOTFOUND: request to https://registry", id="npm, no network"),
        pytest.param(PNPM, "nope is not in the npm registry", id="pnpm"),
        pytest.param(UV_NET, "Request failed after 3 retries: Caused by: dns error: failed", id="uv, no network"),
        pytest.param(COBRA, 'required flag(s) "token" not set;', id="go, with its usage"),
        pytest.param(CLAP, "arguments were not provided: <DIR>;", id="rust, with its usage"),
        pytest.param(ZOD, '"path": ["API_KEY"], "message": "Required"', id="node, an error in JSON"),
        pytest.param(LISTED, "Missing environment variables: - API_KEY - API_URL", id="a list"),
        pytest.param(REJECTED, "stderr: no key;", id="node, a rejected promise"),
        pytest.param(SPRING, "Web server failed to start. Port 8080 was already in use.", id="java, Spring"),
        pytest.param(HEAP, "JavaScript heap out of memory", id="node, out of memory"),
        pytest.param(TWO, "no disk", id="python, a group of two errors"),
        pytest.param(GIT, "'mcp' is not a git command", id="git"),
        pytest.param(PYDANTIC, "1 validation error for Settings: api_key Field required", id="python, over lines"),
        pytest.param(UVX, "No solution found when resolving tool dependencies: Because", id="thnico/mcp-ashby#1"),
        pytest.param(UV_SPAWN, "error: Failed to spawn: `mysql_mcp_server`", id="designcomputer/mysql_mcp_server#49"),
        pytest.param(UV_USAGE, "error: unexpected argument '--foo' found", id="uv, an option"),
        pytest.param(DOCKER, "Cannot connect to the Docker daemon", id="docker: github/github-mcp-server#232"),
        pytest.param(PULL, "pull access denied for corp/server", id="docker, an image"),
        pytest.param(JAVA, "java.lang.ClassNotFoundException: org.corp.Server", id="java"),
        pytest.param(JAR, "Unable to access jarfile server.jar", id="java, a file"),
        pytest.param(GO, "panic: runtime error: invalid memory address", id="go"),
        pytest.param(GO_LOG, "failed to read config: open config.yaml", id="go, a log line"),
        pytest.param(RUST, "called `Option::unwrap()` on a `None` value", id="rust"),
        pytest.param(RUST_FRAMES, "GITHUB_TOKEN is not set", id="rust, with frames"),
        pytest.param(ANYHOW, "could not read the config: No such file", id="rust, a cause"),
        pytest.param(RUBY, "cannot load such file -- mcp", id="ruby"),
        pytest.param(PHP, "Uncaught RuntimeException: no database", id="php"),
        pytest.param(DOTNET, "No API key was given.", id="dotnet"),
        pytest.param(ARGPARSE, "the following arguments are required: dir", id="usage"),
        pytest.param(BOX, "Missing option '--api-key'.", id="a box"),
        pytest.param(PINO, "stderr: The token is expired", id="structured logs"),
        pytest.param(COLOURED, "stderr: ERROR The token is expired", id="colours"),
        pytest.param(PROGRESS, "stderr: error: the disk is full", id="a progress bar"),
        pytest.param(LATER, "stderr: ERROR the key is refused", id="what was logged after it"),
        pytest.param(WARNED, "stderr: no key", id="what was warned of before it"),
        pytest.param(YARN, "Couldn't find package", id="yarn"),
        pytest.param(LOADER, "libssl.so.1.1: cannot open shared object file", id="a missing library"),
        pytest.param(TWICE, "stderr: Error: the port is taken", id="an error that names itself thrice"),
        pytest.param(CHINESE, "启动失败：数据库未连接", id="another script"),
        pytest.param("at least one API key is needed: A or B\n", "at least one API key", id="no frame"),
        pytest.param(NOTHING_BUT_NOISE, "status 1", id="nothing but brackets"),
        pytest.param("x" * 100_000 + "\n", "x" * 100, id="a line without end"),
    ],
)
async def test_of_all_that_it_wrote_the_error_is_quoted(stderr: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "stderr"
    file.write_text(stderr, encoding="utf-8")
    words = await tell({"command": "/bin/sh", "args": ["-c", 'cat "$1" >&2; exit 1', "sh", str(file)]})
    assert told in words
    assert "the process exited with status 1" in words
    for noise in ("A complete log", "Node.js v", "node:internal", "goroutine", "Traceback", "--help", "\x1b", "�"):
        assert noise not in words


@pytest.mark.rule("REL3")
@pytest.mark.parametrize(
    ("script", "told"),
    [
        pytest.param("exit 3", "status 3; it said nothing: start its command by hand to see why;", id="a status"),
        pytest.param("exit 0", "status 0; it said nothing: is it an MCP server", id="benborla/mcp-server-mysql#74"),
        pytest.param("echo no licence; exit 1", "status 1; its last line on stdout: no licence;", id="stdout"),
        pytest.param("echo no licence", "status 0; its last line on stdout: no licence;", id="stdout, status 0"),
        pytest.param("printf 'no licence'; exit 1", "on stdout: no licence;", id="stdout, no line end"),
        pytest.param('echo \'{"error": "no licence"}\'; exit 1', "no licence;", id="stdout, JSON"),
        pytest.param(
            "echo no licence; echo no paper >&2; exit 1",
            "its last line on stdout: no licence; its last line on stderr: no paper;",
            id="both",
        ),
        pytest.param("echo no paper; echo no paper >&2; exit 1", "on stderr: no paper; its tools", id="both the same"),
        pytest.param("kill -KILL $$", "ended by SIGKILL (the system does that when memory runs out)", id="SIGKILL"),
        pytest.param("kill -SEGV $$", "ended by SIGSEGV (it crashed)", id="SIGSEGV"),
        pytest.param("kill -TERM $$", "ended by SIGTERM", id="SIGTERM"),
        pytest.param("exit 137", "status 137, as after SIGKILL (the system does that", id="testmycode/tmc-server#77"),
        pytest.param("exec 1>&- 0<&-; sleep 60", "closed the connection without exiting", id="it runs on"),
        pytest.param("no-such-tool", "no-such-tool is in no folder of PATH", id="inside a shell"),
    ],
)
async def test_how_it_ended_is_told(script: str, told: str) -> None:
    assert told in await tell({"command": "/bin/sh", "args": ["-c", script]})


@pytest.mark.parametrize(
    ("args", "told"),
    [
        pytest.param(
            ["~/server.py"],
            '"~/server.py" in args is not expanded, as no shell is used; write "/home/me/server.py"',
            id="a tilde: anthropics/claude-code#37580, microsoft/vscode#247076",
        ),
        pytest.param(
            ["$HOME/server.py"], "$HOME in args is not filled in, as no shell is used; write ${HOME};", id="a variable"
        ),
        pytest.param(
            ["%APPDATA%/server.py"],
            "%APPDATA% in args is not filled in, as no shell is used; write ${APPDATA};",
            id="a variable of Windows",
        ),
    ],
)
async def test_what_only_a_shell_expands_is_named(args: list[str], told: str) -> None:
    words = await tell(
        {"command": sys.executable, "args": ["-S", "-E", *args]}, {"HOME": "/home/me", "PATH": "/usr/bin:/bin"}
    )
    assert "can't open file" in words
    assert told in words


@pytest.mark.parametrize(
    ("shebang", "told"),
    [
        pytest.param("#!/usr/bin/env python3\r\n", "it has", id="CRLF: thedotmack/claude-mem#1342"),
        pytest.param("#!/usr/bin/env no-such-node\n", "no-such-node is in no folder of PATH (/usr/bin", id="PATH"),
    ],
)
async def test_what_env_does_not_find_is_told(shebang: str, told: str, tmp_path: Path) -> None:
    script = tmp_path / "server"
    script.write_bytes(shebang.encode())
    script.chmod(0o755)
    words = await tell({"command": str(script)}, {"PATH": "/usr/bin:/bin"})
    assert "status 127" in words
    assert told.replace("it has", "its script has Windows line endings: save it with LF") in words


async def test_a_download_that_was_cut_off_is_named() -> None:
    """npx keeps what it has of it, and each later start fails in the same way."""
    line = "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'zod' imported from /home/me/.npm/_npx/a1b2c3/x.js"
    words = await tell({"command": "/bin/sh", "args": ["-c", f'echo "{line}" >&2; exit 1']})
    assert "the download by npx was cut off before: delete /home/me/.npm/_npx/a1b2c3, and start it again" in words


async def test_a_container_without_stdin_is_told(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    docker.chmod(0o755)
    words = await tell({"command": str(docker), "args": ["run", "--rm", "corp/server"]})
    assert 'docker needs "-i" after "run" in args' in words
    assert '"-i"' not in await tell({"command": str(docker), "args": ["run", "--rm", "-i", "corp/server"]})


async def test_a_secret_that_is_cut_is_blanked_before() -> None:
    secret = "s3cret-of-the-shop"
    script = f'echo "{"x" * 150} $KEY is refused" >&2; exit 1'
    words = await tell({"command": "/bin/sh", "args": ["-c", script], "env": {"KEY": secret}})
    assert secret[:6] not in words
    assert "***" in words
