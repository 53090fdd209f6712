"""The pictures of a run as files, for `ask`."""

import re
import tempfile
from itertools import count
from pathlib import Path

from bridge.json_text import JsonObject
from bridge.pictures import decode_picture
from bridge.run.pictures import Picture, Room, choose_pictures
from bridge.run.run import Run

ROOM = Room(100, 256 << 20, ("the most files of one run", "the most bytes of one run"))
"""A person's disk has more room than a host's result, but a server could fill that too."""
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_CHARS = 40


def save_pictures(run: Run, folder: Path | None) -> tuple[list[JsonObject], list[str]]:
    """Save the pictures of a run, in `folder` or in a new one among the temporary files.

    Returns what they are, with their paths, and lines that tell people of these and of the others. Nothing is
    overwritten, and one that cannot be saved costs no other, and not the answer.
    """
    album, saved, lines = choose_pictures(run.events, ROOM), list[JsonObject](), list[str]()
    try:
        folder = _make_folder(folder) if album.pictures else folder
        for number, picture in enumerate(album.pictures, 1):
            path = _save(picture, folder or Path(), number)
            saved.append({**picture.describe(), "path": str(path)})
            lines.append(f"image: {path}")
    except OSError as error:
        missing, reason = len(album.pictures) - len(saved), error.strerror or str(error)
        lines.append(f"images: {missing} of {len(album.pictures)} cannot be saved: {reason}: {error.filename}")
    return saved, lines + [f"images: {notice['message']}" for notice in album.notices]


def _make_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="mcp-responses-bridge-"))
    folder = folder.expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _save(picture: Picture, folder: Path, number: int) -> Path:
    """Write a new file; where there is one of the name, another name is taken."""
    name = _ILLEGAL.sub("-", picture.tool)[:_NAME_CHARS]
    end = (picture.kind or "").removeprefix("image/").replace("jpeg", "jpg")
    for again in count(1):
        path = folder / (f"{number}-{name}.{end}" if again == 1 else f"{number}-{name}-{again}.{end}")
        try:
            with path.open("xb") as file:
                file.write(decode_picture(picture.data))
        except FileExistsError:
            continue
        return path
    raise AssertionError("there is always another name")
