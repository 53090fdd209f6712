"""Whether a call may run: what the config says, and where it says to ask, the person."""

from bridge.hub.catalogue import BridgedTool
from bridge.items import CallOutput
from bridge.json_text import JsonObject
from bridge.questions import Ask, ask_approval, is_yes


async def find_refusal(bridged: BridgedTool, arguments: JsonObject, ask: Ask) -> CallOutput | None:
    """None when the call may run; else the refusal, in words that name the config line that would allow it."""
    if bridged.approval == "run":
        return None
    what = f"{bridged.tool.name} of {bridged.server} was not run"
    answer = await ask(ask_approval(bridged.server, bridged.tool.name, arguments))
    if is_yes(answer):
        return None
    if answer["action"] == "unasked":
        message = f"{what}: it needs the user's approval, and {answer['reason']}. To allow it: {bridged.allow_hint}"
        return _refuse("approval_required", message, message, bridged)
    doubt = f" ({answer['reason']})" if answer["reason"] else ""
    return _refuse(
        "declined",
        f"{what}: the user said no to this call. Do not make it again unless they ask for it",
        f"{what}: the answer was no{doubt}. To allow it: {bridged.allow_hint}",
        bridged,
    )


def _refuse(code: str, message: str, notice: str, bridged: BridgedTool) -> CallOutput:
    refusal = bridged.fail(code, message)
    refusal["notices"] = [{"code": code, "message": notice}]
    return refusal
