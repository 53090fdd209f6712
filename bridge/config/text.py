"""The text of a file that a person wrote, in the encoding that their editor chose."""

import codecs
from pathlib import Path

from bridge.config.faults import Fault, KeyPath

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(file: Path, path: KeyPath = ()) -> str:
    """Read a file as text. Raises Fault, at `path`, where it cannot be read or is no text."""
    data = b""
    try:
        data = file.read_bytes()
        return data.decode(find_encoding(data)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Fault(path, f"line {line}: not UTF-8 text; save the file as UTF-8{_name(file, path)}") from None
    except OSError as error:
        raise Fault(path, f"cannot be read: {error.strerror or error}{_name(file, path)}") from None


def _name(file: Path, path: KeyPath) -> str:
    """Name the file, unless the message begins with it."""
    return f" ({file})" if path else ""


def find_encoding(data: bytes) -> str:
    """Find the encoding: by its mark, or by the NULs that Latin letters have in UTF-16."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding
    if len(data) % 2 == 0 and b"\0" in data[:64]:
        return "utf-16-le" if data[1:64:2].count(0) > data[:64:2].count(0) else "utf-16-be"
    return "utf-8"
