"""The pictures of a run: those that its calls returned, and those that the upstream made itself."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bridge.events import CallEnded, Kept, TurnEnded
from bridge.items import MADE_PICTURE, Notice
from bridge.json_text import JsonObject
from bridge.pictures import NoPicture, count_bytes, decode_picture, guess_kind, name_some, tidy
from bridge.visible import show_name


@dataclass(frozen=True)
class Picture:
    """One picture."""

    server: str | None
    """Key of the server whose tool returned it; None for one that the upstream made."""
    tool: str
    """The tool's own name on its server."""
    kind: str | None
    """The media type, by its first bytes; None where they are those of no picture."""
    data: str
    """Its base64 text."""

    @property
    def name(self) -> str:
        """Where it comes from, what it is, and how large."""
        maker = ".".join(show_name(part) for part in (self.server, self.tool) if part)
        return f"{maker}, {self.kind or 'of no known kind'}, {count_bytes(self.data):,} bytes"

    def describe(self) -> JsonObject:
        """Describe it as data, without its bytes."""
        return {"server": self.server, "tool": self.tool, "type": self.kind, "bytes": count_bytes(self.data)}


class Room(NamedTuple):
    """How many pictures there is room for, how large all together, and the settings that say so."""

    number: int
    bytes: int
    names: tuple[str, str] = ("limits.result_images", "limits.result_image_bytes")


class Album(NamedTuple):
    """The pictures of a run that are shown, in the order of the calls, and what is said of the others."""

    pictures: Sequence[Picture]
    notices: Sequence[Notice]


def choose_pictures(events: Iterable[Kept], room: Room) -> Album:
    """Choose the pictures of a run that there is room for, the last ones first: the answer follows those. Each is there
    once, however often it was returned, and what is no picture is only named."""
    chosen, left_out, left = list[Picture](), list[str](), room.bytes
    for picture in reversed(find_pictures(events)):
        if reason := _refuse(picture, room, chosen, left):
            left_out.append(f"{picture.name} ({reason})")
        else:
            chosen.append(picture)
            left -= count_bytes(picture.data)
    return Album(chosen[::-1], _name_others(left_out[::-1]))


def _refuse(picture: Picture, room: Room, chosen: Sequence[Picture], left: int) -> str | None:
    if len(chosen) == room.number:
        return f"{room.names[0]} is {room.number:,}"
    if count_bytes(picture.data) > left:
        return f"{room.names[1]} is {room.bytes:,}"
    try:
        decode_picture(picture.data)
    except NoPicture as reason:
        return str(reason)
    return None


def _name_others(names: Sequence[str]) -> list[Notice]:
    verb = "1 image is" if len(names) == 1 else f"{len(names):,} images are"
    message = f"{verb} not in this result: {name_some(names)}"
    return [Notice(code="images_left_out", message=message)] if names else []


def find_pictures(events: Iterable[Kept]) -> list[Picture]:
    """Find the pictures of a run in the order of the calls, each once. A call that failed has none."""
    told = [event for event in events if isinstance(event, (TurnEnded, CallEnded))]
    told.sort(key=lambda event: (event.turn, event.index if isinstance(event, CallEnded) else -1))
    found = dict[str, Picture]()
    for event in told:
        for picture in _find_returned(event) if isinstance(event, CallEnded) else _find_made(event):
            found.setdefault(picture.data, picture)
    return list(found.values())


def _find_returned(call: CallEnded) -> Iterator[Picture]:
    output = call.item.get("output")
    for part in output if isinstance(output, list) and not call.is_error else ():
        url = part.get("image_url") if isinstance(part, dict) else None
        if isinstance(url, str) and url.startswith("data:image/"):
            data = url.partition(",")[2]
            yield Picture(call.server, call.tool or call.name, guess_kind(data), data)


def _find_made(turn: TurnEnded) -> Iterator[Picture]:
    for item in turn.output:
        made = item.get("result")
        if item.get("type") == MADE_PICTURE and isinstance(made, str) and made:
            data = tidy(made)
            yield Picture(None, "image_generation", guess_kind(data), data)
