"""A run as the result of a call: its receipt, as text and as structured content, with the pictures that go with it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp import types

from bridge.config.settings import Limits
from bridge.events import Notified
from bridge.json_text import JsonObject
from bridge.run.interjections import Interjected
from bridge.run.limits import IN_PROGRESS, Ending
from bridge.run.receipt import Detail, build_receipt, has_pictures, render_text
from bridge.run.run import Run

if TYPE_CHECKING:
    from bridge.run.pictures import Album


def render_run(
    run: Run, limits: Limits, notices: Sequence[Notified] = (), said: Interjected | None = None
) -> types.CallToolResult:
    """Render a run, as far as it has come, with notices for this call alone, and as what the call has `said` wants."""
    wish = run.arguments | (said.arguments if said else {})
    detail: Detail = "full" if wish.get("detail") == "full" else "summary"
    events, ending, limit = [*run.told, *notices], run.ending or IN_PROGRESS, limits.result_chars
    album = _choose_pictures(run, limits) if run.ending and has_pictures(run.events) else None
    receipt = build_receipt(run.run_id, events, ending, detail=detail, limit_chars=limit, album=album)
    return render_receipt(receipt, album)


def render_refusal(ending: Ending, limits: Limits) -> types.CallToolResult:
    """Render the ending of a call that no run came of."""
    return render_receipt(build_receipt(None, [], ending, limit_chars=limits.result_chars))


def render_receipt(receipt: JsonObject, album: "Album | None" = None) -> types.CallToolResult:
    """Return the receipt as text and as structured content: a host may show its model only one of them, so each holds
    all that is needed, also to continue from there. The pictures come behind the texts."""
    texts = [render_text(receipt)]
    if receipt["response_id"]:
        texts.append(f"[response_id: {receipt['response_id']}]")
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=text) for text in texts]
    for picture in album.pictures if album else ():
        content.append(types.ImageContent(type="image", data=picture.data, mime_type=picture.kind or ""))
    return types.CallToolResult(
        content=content,
        structured_content=receipt,
        is_error=receipt["status"] in ("failed", "cancelled"),
    )


def _choose_pictures(run: Run, limits: Limits) -> "Album | None":
    if not limits.result_images:
        return None
    from bridge.run.pictures import Room, choose_pictures  # late: few runs have any

    return choose_pictures(run.events, Room(limits.result_images, limits.result_image_bytes))
