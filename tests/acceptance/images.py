"""C: pictures that cannot be used, and where they may not stand."""

from typing import Any

from tests.acceptance.case import Case, chat, either, image, refused, says, shown, text
from tests.acceptance.pictures import PNG, claimed_png, data_url, picture
from tests.acceptance.plain import WEATHER
from tests.acceptance.web import not_fetched
from tests.vision.videos import animation, greys

FORMAT, VALUE, TYPE, URL = "invalid_image_format", "invalid_value", "invalid_type", "invalid_image_url"
PART = "messages[0].content[1]"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
OTHER_PARTS: tuple[dict[str, Any], ...] = (
    {"type": "image", "source": {}},
    {"type": "video_url", "video_url": {"url": PNG}},
    {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
    {"type": "file", "file": {"file_id": "f"}},
)
CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}


def unusable(data: bytes, kind: str = "image/png") -> list[dict[str, Any]]:
    return [shown(data_url(data, kind))]


def beside(part: dict[str, Any]) -> dict[str, Any]:
    return chat([says([text("x"), part])])


CASES: tuple[Case, ...] = (
    refused("C01", "not base64", lambda: [shown("data:image/png;base64,!!!!")], "invalid_base64", None),
    refused("C02", "any bytes", lambda: unusable(bytes(range(256)) * 8), FORMAT, None),
    refused(
        "C03",
        "half a JPEG",
        lambda: unusable(picture(640, 480, file_format="JPEG")[:2500], "image/jpeg"),
        FORMAT,
        None,
    ),
    refused("C04", "half a PNG", lambda: unusable(picture(640, 480)[:900]), FORMAT, None),
    refused("C05", "no bytes", lambda: unusable(b""), VALUE, f"{PART}.image_url.url"),
    refused("C06", "an SVG", lambda: unusable(SVG, "image/svg+xml"), FORMAT, None),
    refused("C07", "HTML", lambda: unusable(b"<b>hi</b>", "text/html"), FORMAT, None),
    refused("C08", "a PDF that is called a PNG", lambda: unusable(b"%PDF-1.4\n%%EOF"), FORMAT, None),
    refused("C09", "a bomb", lambda: unusable(claimed_png(30000, 30000, 30000)), FORMAT, None, max_s=10),
    refused(
        "C10",
        "a PNG that says 2³¹-1 by 2³¹-1",
        lambda: unusable(claimed_png(2**31 - 1, 2**31 - 1)),
        FORMAT,
        None,
        max_s=10,
    ),
    either(
        "C11",
        "a GIF of 300 frames",
        lambda: unusable(animation(greys(300, (16, 16)), duration=20), "image/gif"),
        FORMAT,
        None,
        max_s=20,
    ),
    refused("C12", "ftp", lambda: [shown("ftp://example.com/a.png")], VALUE, f"{PART}.image_url.url"),
    refused("C13", "a file", lambda: [shown("file:///etc/passwd")], VALUE, f"{PART}.image_url.url"),
    refused(
        "C14",
        "an id and a path, as Open WebUI sends what it cannot resolve",
        lambda: [shown("cb75a27e-c51b-47aa-acf3-1e383377b191"), shown("/api/v1/files/x/content")],
        VALUE,
        f"{PART}.image_url.url",
    ),
    Case("C15", "a picture of this machine is not fetched", not_fetched),
    refused(
        "C16",
        "the metadata of a cloud",
        lambda: [shown("http://169.254.169.254/latest/meta-data/")],
        URL,
        None,
        max_s=30,
    ),
    refused(
        "C17",
        "a host without address",
        lambda: [shown("http://no-such-host.invalid/a.png")],
        URL,
        None,
        max_s=40,
    ),
    either(
        "C18",
        "image_url is a string",
        lambda: [beside({"type": "image_url", "image_url": PNG})],
        TYPE,
        f"{PART}.image_url",
    ),
    refused(
        "C19",
        "image_url without url",
        lambda: [beside({"type": "image_url", "image_url": {}})],
        "missing_required_parameter",
        f"{PART}.image_url.url",
    ),
    refused(
        "C20", "url null and 5", lambda: [shown(url) for url in (None, 5)], TYPE, f"{PART}.image_url.url"
    ),
    refused("C21", "detail ultra", lambda: [shown(detail="ultra")], VALUE, f"{PART}.image_url.detail"),
    either("C22", "60 pictures", lambda: [chat([says([text("x"), *[image(PNG)] * 60])])]),
    refused("C23", "80 MB", lambda: [shown("data:image/png;base64," + "A" * 80_000_000)], status=413),
    refused(
        "C24",
        "a picture of the assistant's",
        lambda: [chat([says("x"), says([image(PNG)], "assistant"), says("y")])],
        VALUE,
        "messages[1]",
    ),
    refused(
        "C25",
        "a picture of the system's",
        lambda: [chat([says([image(PNG)], "system"), says("y")])],
        VALUE,
        "messages[0]",
    ),
    either(
        "C26",
        "a picture of a tool's",
        lambda: [
            chat(
                [
                    says("x"),
                    says(None, "assistant") | {"tool_calls": [CALL]},
                    says([image(PNG)], "tool") | {"tool_call_id": "c1"},
                ],
                tools=[WEATHER],
            )
        ],
        VALUE,
        "messages[2]",
    ),
    refused(
        "C27", "parts of other kinds", lambda: [beside(part) for part in OTHER_PARTS], VALUE, f"{PART}.type"
    ),
    refused(
        "C28",
        "a data URL that is not base64",
        lambda: [shown("data:image/png,abc")],
        VALUE,
        f"{PART}.image_url.url",
    ),
    either(
        "C29",
        "base64 with line breaks, without padding, in the alphabet for URLs",
        lambda: [
            shown(url)
            for url in (
                f"{PNG[:100]}\n{PNG[100:]}",
                PNG.rstrip("="),
                PNG[:22] + PNG[22:].replace("+", "-").replace("/", "_"),
            )
        ],
        FORMAT,
        None,
    ),
    either(
        "C30",
        "TIFF and BMP",
        lambda: [
            shown(data_url(picture(file_format=name), f"image/{name.lower()}")) for name in ("TIFF", "BMP")
        ],
        FORMAT,
        None,
    ),
)
