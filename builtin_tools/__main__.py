"""`python -m builtin_tools`: the built-in tools as a stdio server, for hosts that want them without the bridge."""

from contextlib import suppress

from builtin_tools.server import build_server

if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        build_server().run("stdio")
