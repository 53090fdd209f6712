"""Files that `input` names by path: read from the folders that the config allows, and sent as data URLs."""

import base64
import mimetypes
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import ArgumentError
from bridge.json_text import Json, JsonObject

MAX_IMAGE_BYTES, MAX_FILE_BYTES = 20 << 20, 50 << 20
"""What the API takes (images: 20 MiB; files: 50 MB, and all of a request together no more)."""
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Not to wait for the other end of a pipe that has taken the place of a file."""
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
"""Linux opens a folder so that may be passed through, but not be listed."""
IMAGES = frozenset(("image/png", "image/jpeg", "image/webp", "image/gif"))


@dataclass
class _Folders:
    """Where files may be read from, and how many bytes of them there is room for in one request."""

    roots: Sequence[str]
    room: int = MAX_FILE_BYTES


def attach_files(items: Json, roots: Sequence[str]) -> Json:
    """`input` with the content of each file in place of its `path`; whatever names none comes back as it is.

    `{"type": "input_image", "path": "/home/ada/chart.png"}` becomes an `image_url`, `{"type": "input_file", "path":
    …}` a `file_data` with its `filename`. Links are followed before a path is compared with `roots`. Raises
    ArgumentError with the place of a path that cannot be read, is outside, or is no image. Reads files: in a thread.
    """
    if not isinstance(items, list):
        return items
    folders = _Folders(roots)
    return [
        _attach(item, f"input[{index}]", folders) if isinstance(item, dict) else item
        for index, item in enumerate(items)
    ]


def names_files(items: Json) -> bool:
    """Whether `input` names a file by path."""
    return any(
        "path" in part for item in (items if isinstance(items, list) else ()) for _, _, part in _list_parts(item)
    )


def _attach(item: JsonObject, place: str, folders: _Folders) -> JsonObject:
    item = dict(item)
    for field, index, part in list(_list_parts(item)):
        if "path" in part:
            parts = item[field]
            assert isinstance(parts, list)
            loaded = _load(part, f"{place}.{field}[{index}].path", folders)
            item[field] = [*parts[:index], loaded, *parts[index + 1 :]]
    return item


def _list_parts(item: Json) -> Iterator[tuple[str, int, JsonObject]]:
    """The images and files of a message's content, or of a call's output."""
    for field in ("content", "output"):
        parts = item.get(field) if isinstance(item, dict) else None
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict) and part.get("type") in ("input_image", "input_file"):
                yield field, index, part


def _load(part: JsonObject, place: str, folders: _Folders) -> JsonObject:
    path = _find(part["path"], place, folders.roots)
    is_image = part["type"] == "input_image"
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if is_image and kind not in IMAGES:
        raise ArgumentError(f"{place}: {path.name} is no PNG, JPEG, WebP or GIF image")
    data = _read(path, place, MAX_IMAGE_BYTES if is_image else MAX_FILE_BYTES, folders.room)
    folders.room -= len(data)
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    rest = {name: value for name, value in part.items() if name != "path"}
    return rest | ({"image_url": url} if is_image else {"filename": path.name, "file_data": url})


def _find(value: Json, place: str, roots: Sequence[str]) -> Path:
    """The file itself. What lies outside of the folders is not told apart from what does not exist."""
    if not roots:
        raise ArgumentError(f'{place}: no folder is allowed; name one in the config as "input_roots", or give a URL')
    if not isinstance(value, str) or not Path(value).is_absolute() or "\0" in value:
        raise ArgumentError(f"{place}: give the absolute path of a file")
    with suppress(OSError, RuntimeError):  # links that lead in a circle, or that change meanwhile
        path = Path(value).resolve()
        if any(path.is_relative_to(Path(root).expanduser().resolve()) for root in roots) and path.is_file():
            return path
    raise ArgumentError(f"{place}: there is no such file in {', '.join(roots)}")


def _read(path: Path, place: str, limit: int, room: int) -> bytes:
    try:
        with os.fdopen(_open(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArgumentError(f"{place}: it is no file any more")
            data = file.read(min(limit, room) + 1)
    except OSError as error:
        raise ArgumentError(f"{place}: it cannot be read: {(error.strerror or '').lower()}") from error
    if len(data) > limit:
        raise ArgumentError(f"{place}: it is over {limit >> 20} MiB, the most that the API takes")
    if len(data) > room:
        raise ArgumentError(f"{place}: all files together are over {MAX_FILE_BYTES >> 20} MiB")
    return data


def _open(path: Path) -> int:
    """A descriptor of the file at a path without links: if a folder has become one since the path was found, an error.

    Each folder is opened in the one before. Windows cannot do that, where making a link takes an administrator.
    """
    if os.open not in os.supports_dir_fd:
        return os.open(path, _FLAGS)
    place = os.open(path.anchor, _FOLDER)
    for name, flags in [*((name, _FOLDER) for name in path.parts[1:-1]), (path.name, _FLAGS)]:
        try:
            inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=place)
        finally:
            os.close(place)
        place = inner
    return place
