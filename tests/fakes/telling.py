"""A server that tells the trace that a call came with: `python -P telling.py` on stdio."""

from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer


def build_server() -> MCPServer:
    """Its tools are `tell` and `fail`."""
    server = MCPServer("telling")

    @server.tool()
    def tell(ctx: Context, key: str = "") -> str:
        """The `traceparent` and the `baggage` of this call, behind its key."""
        meta = dict(ctx.request_context.meta or {})
        return f"{key} {meta.get('traceparent')} {meta.get('baggage')}"

    @server.tool()
    def fail() -> str:
        """A call that the server answers with an error of the protocol."""
        raise MCPError(-32000, "canary of a server")

    return server


if __name__ == "__main__":
    build_server().run()
