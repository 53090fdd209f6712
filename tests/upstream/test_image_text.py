"""An image that an upstream does not take is named by its kind and size."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from bridge.upstream.image_text import describe_image


def draw(kind: str, **options: Any) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (300, 20)).save(written, kind, **options)
    return written.getvalue()


def describe(data: bytes, kind: str = "image/jpeg") -> str:
    return describe_image({"type": "input_image", "image_url": f"data:{kind};base64,{base64.b64encode(data).decode()}"})


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_kind_bytes_and_pixels_are_named(kind: str) -> None:
    data, name = draw(kind), f"image/{kind.lower()}"
    assert describe(data, name) == f"[image, {name}, {len(data):,} bytes, 300x20 pixels: not shown]"


def test_the_pixels_of_a_photograph_stand_behind_what_the_camera_wrote() -> None:
    data = draw("JPEG", exif=b"Exif\0\0" + b"x" * 60_000, icc_profile=b"x" * 90_000, progressive=True)
    assert ", 300x20 pixels:" in describe(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"\xff\xd8" + bytes(100_000), b"\x89PNG\r\n", b"GIF8", draw("WEBP"), b"<svg/>"],
)
def test_what_is_no_known_image_has_no_pixels(data: bytes) -> None:
    assert describe(data) == f"[image, image/jpeg, {len(data):,} bytes: not shown]"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"image_url": "https://example.org/a.png"}, "[image https://example.org/a.png: not shown]"),
        ({"file_id": "file-1"}, "[image file-1: not shown]"),
        ({"image_url": "data:image/png;base64,=not base64="}, "[image, image/png, 8 bytes: not shown]"),
        ({"image_url": None}, "[image: not shown]"),
        ({}, "[image: not shown]"),
    ],
)
def test_an_image_that_is_elsewhere_or_nothing_is_named_all_the_same(part: dict[str, Any], words: str) -> None:
    assert describe_image({"type": "input_image", **part}) == words
