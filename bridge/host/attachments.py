"""Files that `input` names by path, read from the folders that the config allows and sent as data URLs."""

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
"""Limits of the API: 20 MiB for an image; 50 MB for a file, and for all files of one request together."""
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Opening must not block on a named pipe that has replaced the file since it was found."""
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
"""With O_PATH, Linux also opens a folder that may be passed through but not listed."""
IMAGES = frozenset(("image/png", "image/jpeg", "image/webp", "image/gif"))


@dataclass
class _Folders:
    """The folders that files may be read from, and the bytes that one request still has room for."""

    roots: Sequence[str]
    room_bytes: int = MAX_FILE_BYTES


def attach_files(items: Json, roots: Sequence[str]) -> Json:
    """Return `input` with each `path` replaced by the content of its file; everything else stays unchanged.

    `{"type": "input_image", "path": "/home/ada/chart.png"}` gets an `image_url`, `{"type": "input_file", "path": …}`
    gets `file_data` and `filename`. Symbolic links are resolved before a path is compared with `roots`. Raises
    ArgumentError, with its position in `input`, for a path that cannot be read, is outside of `roots`, or is not an
    image where one is expected. Reads files, so call it in a thread.
    """
    if not isinstance(items, list):
        return items
    folders = _Folders(roots)
    return [
        _attach(item, f"input[{index}]", folders) if isinstance(item, dict) else item
        for index, item in enumerate(items)
    ]


def names_files(items: Json) -> bool:
    """Tell whether `input` names a file by path."""
    return any(
        "path" in part for item in (items if isinstance(items, list) else ()) for _, _, part in _list_parts(item)
    )


def _attach(item: JsonObject, position: str, folders: _Folders) -> JsonObject:
    item = dict(item)
    for field, index, part in list(_list_parts(item)):
        if "path" in part:
            parts = item[field]
            assert isinstance(parts, list)
            loaded = _load(part, f"{position}.{field}[{index}].path", folders)
            item[field] = [*parts[:index], loaded, *parts[index + 1 :]]
    return item


def _list_parts(item: Json) -> Iterator[tuple[str, int, JsonObject]]:
    """List the images and files of a message's content, or of a call's output, as (field, index, part)."""
    for field in ("content", "output"):
        parts = item.get(field) if isinstance(item, dict) else None
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict) and part.get("type") in ("input_image", "input_file"):
                yield field, index, part


def _load(part: JsonObject, position: str, folders: _Folders) -> JsonObject:
    path = _find(part["path"], position, folders.roots)
    is_image = part["type"] == "input_image"
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if is_image and kind not in IMAGES:
        raise ArgumentError(f"{position}: {path.name} is not a PNG, JPEG, WebP or GIF image")
    data = _read(path, position, MAX_IMAGE_BYTES if is_image else MAX_FILE_BYTES, folders.room_bytes)
    folders.room_bytes -= len(data)
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    rest = {name: value for name, value in part.items() if name != "path"}
    return rest | ({"image_url": url} if is_image else {"filename": path.name, "file_data": url})


def _find(value: Json, position: str, roots: Sequence[str]) -> Path:
    """Find the file that `value` names. The error does not tell a path outside of the folders from a missing file."""
    if not roots:
        raise ArgumentError(f'{position}: no folder is allowed; name one in the config as "input_roots", or give a URL')
    if not isinstance(value, str) or not Path(value).is_absolute() or "\0" in value:
        raise ArgumentError(f"{position}: give the absolute path of a file")
    with suppress(OSError, RuntimeError):  # a loop of links, or one that changes meanwhile
        path = Path(value).resolve()
        if any(path.is_relative_to(Path(root).expanduser().resolve()) for root in roots) and path.is_file():
            return path
    raise ArgumentError(f"{position}: there is no such file in {', '.join(roots)}")


def _read(path: Path, position: str, limit: int, room_bytes: int) -> bytes:
    try:
        with os.fdopen(_open(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArgumentError(f"{position}: it is no longer a file")
            data = file.read(min(limit, room_bytes) + 1)
    except OSError as error:
        raise ArgumentError(f"{position}: it cannot be read: {(error.strerror or '').lower()}") from error
    if len(data) > limit:
        raise ArgumentError(f"{position}: it is over {limit >> 20} MiB, the most that the API takes")
    if len(data) > room_bytes:
        raise ArgumentError(f"{position}: all files together are over {MAX_FILE_BYTES >> 20} MiB")
    return data


def _open(path: Path) -> int:
    """Open a resolved path without following links; raises OSError if a folder has been replaced by a link since.

    Each folder is opened relative to its parent. Windows cannot do that, but there only an administrator makes links.
    """
    if os.open not in os.supports_dir_fd:
        return os.open(path, _FLAGS)
    folder = os.open(path.anchor, _FOLDER)
    for name, flags in [*((name, _FOLDER) for name in path.parts[1:-1]), (path.name, _FLAGS)]:
        try:
            inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder
