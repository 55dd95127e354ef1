import asyncio
import base64
import time

import httpx
import pytest

from gateway.chat.content import Link
from gateway.chat.media import IMAGE, VIDEO, Kind, MediaFetcher, MediaLimits, inline_frames
from gateway.errors import InvalidImage, InvalidImageUrl, InvalidRequest, InvalidVideo, InvalidVideoUrl
from tests.chat.web import Page, serve

PARAM = "messages[0].content[1].image_url.url"
LIMITS = MediaLimits(1000, 2000, timeout_s=0.5)
FILE = bytes(range(256)) * 3
TEXT = base64.b64encode(FILE).decode()


async def fetch(fetcher: MediaFetcher, url: str, kind: Kind) -> bytes:
    """As the only download of a request."""
    return await fetcher.fetch(Link(url, PARAM), kind, fetcher.downloads())


def fetched(url: str) -> bytes:
    return asyncio.run(fetch(MediaFetcher(LIMITS), url, IMAGE))


def refusal(url: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        fetched(url)
    assert error.value.status == 400
    return error.value


def downloaded(pages: dict[str, Page], path: str = "/", limits: MediaLimits = LIMITS) -> bytes:
    """What comes back from a server on this machine, which the fetcher is allowed to talk to."""

    async def run() -> bytes:
        async with serve(pages) as base:
            return await fetch(MediaFetcher(limits, allow_private=True), base + path, IMAGE)

    return asyncio.run(run())


def download_refusal(pages: dict[str, Page], path: str = "/", limits: MediaLimits = LIMITS) -> str:
    """The message, with the server's address written as SERVER."""

    async def run() -> str:
        async with serve(pages) as base:
            with pytest.raises(InvalidImageUrl) as error:
                await fetch(MediaFetcher(limits, allow_private=True), base + path, IMAGE)
            assert (error.value.status, error.value.code, error.value.param) == (
                400,
                "invalid_image_url",
                None,
            )
            return error.value.message.replace(base, "SERVER")

    return asyncio.run(run())


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{TEXT}",
        f"DATA:Image/PNG;BASE64,{TEXT}",
        f"data:image/jpg;charset=utf-8;base64,{TEXT}",
        f" data:image/png;base64,{TEXT}\n",
        f"data:image/png;base64,{TEXT[:76]}\r\n{TEXT[76:]}",
        f"data:image/png;base64,{TEXT.rstrip('=')}",
        f"data:image/png;base64,{TEXT.replace('+', '-').replace('/', '_')}",
    ],
    ids=[
        "plain",
        "capitals",
        "parameters",
        "blanks around",
        "line breaks",
        "no padding",
        "URL-safe alphabet",
    ],
)
def test_data_urls_are_read_as_encoders_write_them(url: str) -> None:
    assert fetched(url) == FILE


def unexpected(found: str) -> str:
    return (
        f"Invalid image URL: '{PARAM}'. Expected an http(s) URL or a base64-encoded data URL with an image "
        f"MIME type (e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got {found}."
    )


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("ftp://example.com/a.png", "'ftp://example.com/a.png'"),
        ("file:///etc/passwd", "'file:///etc/passwd'"),
        ("cb75a27e-c51b-47aa-acf3-1e383377b191", "'cb75a27e-c51b-47aa-acf3-1e383377b191'"),
        ("/api/v1/files/x/content", "'/api/v1/files/x/content'"),
        ("", "''"),
        ("data", "'data'"),
        (TEXT, f"'{TEXT[:63]}…'"),
        ("data:image/png;base64,", "empty base64-encoded bytes"),
        ("data:image/png;base64,==", "empty base64-encoded bytes"),
        ("data:image/png,abc", "a data URL that is not base64-encoded"),
        ("data:image/png;base64", "a data URL that is not base64-encoded"),
        ("data:", "a data URL that is not base64-encoded"),
    ],
)
def test_other_urls_are_refused_by_the_name_of_their_field(url: str, found: str) -> None:
    error = refusal(url)
    assert (error.message, error.code, error.param) == (unexpected(found), "invalid_value", PARAM)


@pytest.mark.parametrize("mime", ["text/html", "application/pdf", "", "image"])
def test_a_data_url_of_another_type_is_refused(mime: str) -> None:
    error = refusal(f"data:{mime};base64,{TEXT}")
    assert isinstance(error, InvalidImage)
    assert error.message.startswith(f"Invalid MIME type '{mime}' in a data URL.")
    assert (error.code, error.param) == ("invalid_image_format", None)


@pytest.mark.parametrize(
    "text", ["!!!!", "abc!", "a", "ab=cd", "é", "\ud800aaa", "data:image/png;base64,AAAA"]
)
def test_what_is_not_base64_is_refused(text: str) -> None:
    error = refusal(f"data:image/png;base64,{text}")
    assert (error.message, error.code, error.param) == ("Invalid base64 image_url.", "invalid_base64", None)


@pytest.mark.parametrize(
    ("num_bytes", "allowed"), [(999, True), (1000, True), (1001, False), (50_000_000, False)]
)
def test_data_urls_are_limited_in_size(num_bytes: int, allowed: bool) -> None:
    url = "data:image/png;base64," + base64.b64encode(bytes(num_bytes)).decode()
    if allowed:
        assert fetched(url) == bytes(num_bytes)
    else:
        error = refusal(url)
        assert error.message == "The image is too large: the limit is 1000 bytes."
        assert error.code == "invalid_image_url"


def test_a_picture_is_downloaded() -> None:
    assert downloaded({"/a.png": Page(FILE)}, "/a.png?size=1") == FILE


def test_the_whole_limit_may_be_used() -> None:
    assert downloaded({"/": Page(bytes(1000))}) == bytes(1000)


@pytest.mark.parametrize("with_length", [True, False])
def test_a_download_stops_at_the_limit(with_length: bool) -> None:
    page = Page(bytes(100_000_000), with_length=with_length)
    assert download_refusal({"/": page}) == "The image at SERVER/ is too large: the limit is 1000 bytes."
    assert page.num_sent < 20_000_000


def test_compressed_answers_are_not_inflated() -> None:
    import gzip

    packed = gzip.compress(bytes(1_000_000))
    limits = MediaLimits(len(packed), 0, timeout_s=0.5)
    assert downloaded({"/": Page(packed, headers={"Content-Encoding": "gzip"})}, limits=limits) == packed


@pytest.mark.parametrize(
    "page", [Page(FILE, wait_s=5), Page(FILE, pause_s=0.1)], ids=["no answer", "dripping"]
)
def test_time_is_limited_from_end_to_end(page: Page) -> None:
    start = time.monotonic()
    assert download_refusal({"/": page}) == "Timeout while downloading SERVER/."
    assert 0.4 < time.monotonic() - start < 3


@pytest.mark.parametrize("status", [401, 404, 500, 206])
def test_another_status_is_refused_with_its_number(status: int) -> None:
    assert download_refusal({"/": Page(FILE, status=status)}) == (
        f"Failed to download image from SERVER/: upstream status code {status}."
    )


def test_three_redirects_are_followed() -> None:
    pages = {f"/{step}": Page(status=302, headers={"Location": f"/{step + 1}"}) for step in range(3)}
    assert downloaded(pages | {"/3": Page(FILE)}, "/0") == FILE


def test_what_a_redirect_says_besides_is_not_read() -> None:
    chatty = Page(bytes(100_000_000), status=302, headers={"Location": "/file"}, with_length=False)
    assert downloaded({"/": chatty, "/file": Page(FILE)}) == FILE
    assert chatty.num_sent < 20_000_000


def test_a_redirect_loop_ends() -> None:
    pages = {"/": Page(status=302, headers={"Location": "/"})}
    assert download_refusal(pages) == "Failed to download image from SERVER/: more than 3 redirects."


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://", "http://[", "//:99999999/", "http://xn--a/"]
)
def test_a_redirect_to_nowhere_is_refused(location: str) -> None:
    pages = {"/": Page(status=302, headers={"Location": location})}
    assert download_refusal(pages).startswith("Failed to download image from SERVER/")


def test_cookies_of_one_download_are_not_sent_with_the_next() -> None:
    page = Page(FILE, headers={"Set-Cookie": "who=me"})

    async def run() -> None:
        async with serve({"/": page}) as base:
            fetcher = MediaFetcher(LIMITS, allow_private=True)
            for _ in range(2):
                await fetch(fetcher, base + "/", IMAGE)

    asyncio.run(run())
    assert [b"cookie:" in request.lower() for request in page.requests] == [False, False]


def test_a_connection_that_is_cut_is_refused() -> None:
    page = Page(FILE, headers={"Content-Length": "900"}, with_length=False)
    assert download_refusal({"/": page}) == "Failed to download image from SERVER/."


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "no-such-host.invalid",
    ],
)
def test_addresses_inside_are_refused_without_a_connection_and_in_the_words_for_unknown_names(
    address: str,
) -> None:
    def connect() -> httpx.AsyncBaseTransport:
        return httpx.MockTransport(lambda request: pytest.fail(f"connected to {request.url}"))

    url = f"http://{address}/a.png"
    with pytest.raises(InvalidImageUrl) as error:
        asyncio.run(fetch(MediaFetcher(LIMITS, connect=connect), url, IMAGE))
    assert error.value.message == f"Failed to download image from {url}: its host has no public address."


@pytest.mark.parametrize(
    "url",
    [
        "http://no-such-host.invalid/a.png",
        "http://xn--/",
        "http://xn--a/",
        "http://",
        "http:",
        "http:///a.png",
        "http://[::1",
        "http://a b/",
        "https://\ud800/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:1/",
        "http://x\x00y/",
    ],
)
def test_urls_that_lead_nowhere_are_refused(url: str) -> None:
    with pytest.raises(InvalidImageUrl) as error:
        asyncio.run(fetch(MediaFetcher(LIMITS, allow_private=True), url, IMAGE))
    assert error.value.message.startswith("Failed to download image from http")
    error.value.message.encode()


def test_a_long_url_is_cut_in_the_message() -> None:
    url = "http://no-such-host.invalid/" + "a" * 5000
    assert len(refusal(url).message) < 300


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert downloaded({"/": Page(FILE)}) == FILE


def test_many_downloads_run_at_the_same_time() -> None:
    pages = {"/": Page(FILE, wait_s=0.3)}

    async def run() -> float:
        async with serve(pages) as base:
            fetcher = MediaFetcher(MediaLimits(1000, 0, timeout_s=5), allow_private=True)
            start = time.monotonic()
            files = await asyncio.gather(*[fetch(fetcher, base + "/", IMAGE) for _ in range(8)])
            assert files == [FILE] * 8
            return time.monotonic() - start

    assert asyncio.run(run()) < 8 * 0.3


def together(pages: dict[str, Page], limits: MediaLimits, number: int) -> list[bytes | BaseException]:
    """As many downloads of one request."""

    async def run() -> list[bytes | BaseException]:
        async with serve(pages) as base:
            fetcher = MediaFetcher(limits, allow_private=True)
            downloads, link = fetcher.downloads(), Link(base + "/", PARAM)
            each = [fetcher.fetch(link, IMAGE, downloads) for _ in range(number)]
            return await asyncio.gather(*each, return_exceptions=True)

    return asyncio.run(run())


def test_the_downloads_of_one_request_share_a_number_of_bytes() -> None:
    limits = MediaLimits(len(FILE), len(FILE), timeout_s=5)
    assert limits.max_total_bytes == 2 * len(FILE)
    pages = {"/": Page(FILE)}
    assert together(pages, limits, 2) == [FILE] * 2
    told = together(pages, limits, 3)
    refused = [each for each in told if isinstance(each, InvalidImageUrl)]
    assert len(refused) >= 1
    assert refused[0].message == (
        "The pictures and videos of this request are too large: together, "
        f"{2 * len(FILE)} bytes may be downloaded."
    )
    assert refused[0].code == "invalid_image_url"
    assert together(pages, limits, 2) == [FILE] * 2  # another request


def test_the_downloads_of_one_request_share_a_number_of_connections_and_the_time() -> None:
    page = Page(b"x", wait_s=0.2)
    start = time.monotonic()
    assert together({"/": page}, MediaLimits(1000, 1000, timeout_s=5, max_downloads=2), 4) == [b"x"] * 4
    assert 0.4 <= time.monotonic() - start < 0.8
    told = together({"/": page}, MediaLimits(1000, 1000, timeout_s=0.3, max_downloads=2), 4)
    assert sum(each == b"x" for each in told) == 2
    assert sum(isinstance(each, InvalidImageUrl) for each in told) == 2


# --- videos


def fetched_video(url: str) -> bytes:
    return asyncio.run(fetch(MediaFetcher(LIMITS, allow_private=True), url, VIDEO))


@pytest.mark.parametrize("mime", ["video/mp4", "video/webm", "image/gif", "VIDEO/Quicktime"])
def test_data_urls_of_videos_are_read(mime: str) -> None:
    assert fetched_video(f"data:{mime};base64,{TEXT}") == FILE


def test_videos_are_downloaded_within_a_limit_of_their_own() -> None:
    async def run(num_bytes: int) -> bytes:
        async with serve({"/": Page(bytes(num_bytes))}) as base:
            return await fetch(MediaFetcher(LIMITS, allow_private=True), base + "/", VIDEO)

    assert asyncio.run(run(2000)) == bytes(2000)
    with pytest.raises(
        InvalidVideoUrl, match=r"^The video at http.* is too large: the limit is 2000 bytes\.$"
    ):
        asyncio.run(run(2001))


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        (f"data:text/html;base64,{TEXT}", InvalidVideo, "Only video types are supported: 'video/mp4', "),
        ("http://no-such-host.invalid/", InvalidVideoUrl, "Failed to download video from http://no-such"),
        ("data:video/mp4;base64,!!!!", InvalidRequest, "Invalid base64 video_url."),
        (
            "file:///etc/passwd",
            InvalidRequest,
            f"Invalid video URL: '{PARAM}'. Expected an http(s) URL or a ",
        ),
        ("data:video/mp4,abc", InvalidRequest, "with a video MIME type (e.g. 'data:video/mp4;base64,aW1"),
    ],
)
def test_errors_about_videos_say_so(url: str, kind: type[InvalidRequest], message: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        fetched_video(url)
    assert (type(error.value), message in error.value.message) == (kind, True)


def test_frames_in_one_data_url_are_taken_apart() -> None:
    assert inline_frames(Link(" Data:Video/JPEG;base64,AA,BB", PARAM)) == (
        Link("data:image/jpeg;base64,AA", PARAM),
        Link("data:image/jpeg;base64,BB", PARAM),
    )
    for url in (
        "data:video/mp4;base64,AA,BB",
        "data:image/jpeg;base64,AA",
        "http://x/data:video/jpeg;base64,",
    ):
        assert inline_frames(Link(url, PARAM)) == ()
