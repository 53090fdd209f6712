"""A server that tells the trace that a call came with: `python -P telling.py` on stdio."""

from mcp.server.mcpserver import Context, MCPServer


def build_server() -> MCPServer:
    """Its only tool is `tell`."""
    server = MCPServer("telling")

    @server.tool()
    def tell(ctx: Context, key: str = "") -> str:
        """The `traceparent` and the `baggage` of this call, behind its key."""
        meta = dict(ctx.request_context.meta or {})
        return f"{key} {meta.get('traceparent')} {meta.get('baggage')}"

    return server


if __name__ == "__main__":
    build_server().run()
