"""The bytes behind a link to a picture or a video, within limits of size, time and reach."""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

import httpx

from gateway.chat.content import Link
from gateway.chat.transport import NoPublicAddress, PublicTransport, Resolver, resolve
from gateway.errors import (
    InvalidImage,
    InvalidImageUrl,
    InvalidRequest,
    InvalidVideo,
    InvalidVideoUrl,
    cut,
)
from gateway.vision.video import MAX_LISTED

_URL_SAFE = str.maketrans("-_", "+/")
# How vLLM's clients send a video: the frames as JPEG files, each in base64, with commas between them.
_FRAMES = re.compile(r"\s*data:video/jpeg;base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is expected behind a link.

    noun:  a word for it, and `a_noun` the same with its article
    types: what its MIME types begin with; `usual` are those for people to read, `example` one of them
    wrong: the error for a file that is something else
    lost:  the error for a link that leads nowhere
    """

    noun: str
    a_noun: str
    types: tuple[str, ...]
    usual: str
    example: str
    wrong: type[InvalidRequest]
    lost: type[InvalidRequest]


IMAGE = Kind(
    noun="image",
    a_noun="an image",
    types=("image/",),
    usual="'image/png', 'image/jpeg', 'image/gif' and 'image/webp'",
    example="image/png",
    wrong=InvalidImage,
    lost=InvalidImageUrl,
)
VIDEO = Kind(
    noun="video",
    a_noun="a video",
    types=("video/", "image/"),
    usual="'video/mp4', 'video/webm', 'video/jpeg' with commas between the frames, 'image/gif' and the like",
    example="video/mp4",
    wrong=InvalidVideo,
    lost=InvalidVideoUrl,
)


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Of one picture or video: bytes of the file, `timeout_s` and `max_redirects` of a whole download, from
    when it is asked for. Of all that one request downloads: `max_downloads` at a time, `max_total_bytes`."""

    max_image_bytes: int
    max_video_bytes: int
    timeout_s: float
    max_redirects: int = 3
    max_downloads: int = 8

    @property
    def max_total_bytes(self) -> int:
        """Two of the largest files; what is inline counts as the body of the request."""
        return 2 * max(self.max_image_bytes, self.max_video_bytes)

    def max_bytes(self, kind: Kind) -> int:
        return self.max_video_bytes if kind is VIDEO else self.max_image_bytes


def inline_frames(link: Link) -> tuple[Link, ...]:
    """The frames in a data URL of type video/jpeg, each as a link of its own; none of any other link. Raises
    InvalidVideo for more than a list may have."""
    begun = _FRAMES.match(link.url)
    if not begun:
        return ()
    frames = link.url[begun.end() :].split(",", MAX_LISTED)
    if len(frames) > MAX_LISTED:
        raise InvalidVideo(f"The video has more than {MAX_LISTED} frames.")
    return tuple(Link(f"data:image/jpeg;base64,{frame}", link.param) for frame in frames)


class Downloads:
    """Those of one request, which share a number of connections and of bytes."""

    def __init__(self, limits: MediaLimits) -> None:
        self.turn = asyncio.Semaphore(limits.max_downloads)
        self._limits = limits
        self._num_bytes = 0

    def count(self, num_bytes: int, kind: Kind) -> None:
        """Raises the kind of InvalidRequest that `kind` names, when there are too many."""
        self._num_bytes += num_bytes
        if self._num_bytes > self._limits.max_total_bytes:
            raise kind.lost(
                "The pictures and videos of this request are too large: together, "
                f"{self._limits.max_total_bytes} bytes may be downloaded."
            )


class MediaFetcher:
    """Fetches pictures and videos. Downloads share nothing with each other, cookies included; proxy settings
    of the environment are not used, for a proxy would look hosts up by itself."""

    def __init__(
        self,
        limits: MediaLimits,
        allow_private: bool = False,
        resolve: Resolver = resolve,
        connect: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        self._limits = limits
        self._allow_private = allow_private
        self._resolve = resolve
        self._connect = connect or self._http
        self._tls = httpx.create_ssl_context(trust_env=False)

    def downloads(self) -> Downloads:
        """For `fetch`, one for each request."""
        return Downloads(self._limits)

    async def fetch(self, link: Link, kind: Kind, downloads: Downloads) -> bytes:
        """The file, not looked at. Raises InvalidRequest and the kinds of it that `kind` names."""
        # Half a surrogate pair would be in the way of every error message.
        url = link.url.strip().encode(errors="replace").decode()
        scheme, colon, rest = url.partition(":")
        match scheme.lower() if colon else "":
            case "data":
                return await asyncio.to_thread(self._inline, rest, link.param, kind)
            case "http" | "https":
                return await self._download(url, kind, downloads)
            case _:
                raise _unexpected(link.param, kind, f"'{cut(url)}'")

    def _inline(self, rest: str, param: str, kind: Kind) -> bytes:
        header, comma, text = rest.partition(",")
        mime, *attributes = header.lower().split(";")
        if not comma or "base64" not in attributes:
            raise _unexpected(param, kind, "a data URL that is not base64-encoded")
        if not mime.startswith(kind.types):
            raise kind.wrong(
                f"Invalid MIME type '{cut(mime)}' in a data URL. Only {kind.noun} types are supported: "
                f"{kind.usual}."
            )
        # Line breaks, missing padding and the URL-safe alphabet are what encoders differ in.
        text = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
        if not text:
            raise _unexpected(param, kind, "empty base64-encoded bytes")
        if len(text) * 3 // 4 > self._limits.max_bytes(kind):
            raise self._too_large(f"The {kind.noun}", kind)
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest(f"Invalid base64 {kind.noun}_url.", code="invalid_base64") from error

    async def _download(self, url: str, kind: Kind, downloads: Downloads) -> bytes:
        shown = cut(url, 200)
        failed = f"Failed to download {kind.noun} from {shown}"
        try:
            async with asyncio.timeout(self._limits.timeout_s), downloads.turn:
                return await self._get(url, kind, downloads, failed, shown)
        except TimeoutError as error:
            raise kind.lost(f"Timeout while downloading {shown}.") from error
        except NoPublicAddress as error:
            raise kind.lost(f"{failed}: its host has no public address.") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last of names like xn--
            raise kind.lost(f"{failed}.") from error

    async def _get(self, url: str, kind: Kind, downloads: Downloads, failed: str, shown: str) -> bytes:
        client = httpx.AsyncClient(
            transport=PublicTransport(self._connect(), self._resolve, self._allow_private),
            timeout=None,  # of the whole download, not of its steps
            trust_env=False,
            # Compression would let a few bytes on the wire become many here; what is fetched is compressed
            # already.
            headers={
                "Accept": ", ".join(f"{type}*" for type in kind.types),
                "Accept-Encoding": "identity",
                "User-Agent": "axgate",
            },
        )
        async with client:
            request = client.build_request("GET", url)
            # Redirects are followed here because httpx would read the whole body of each.
            for _ in range(self._limits.max_redirects + 1):
                response = await client.send(request, stream=True)
                async with aclosing(response):
                    if response.next_request is None:
                        if response.status_code != 200:
                            raise kind.lost(f"{failed}: upstream status code {response.status_code}.")
                        return await self._read(response, kind, downloads, shown)
                request = response.next_request
        raise kind.lost(f"{failed}: more than {self._limits.max_redirects} redirects.")

    async def _read(self, response: httpx.Response, kind: Kind, downloads: Downloads, shown: str) -> bytes:
        file = bytearray()
        async for piece in response.aiter_raw():
            file += piece
            if len(file) > self._limits.max_bytes(kind):
                raise self._too_large(f"The {kind.noun} at {shown}", kind)
            downloads.count(len(piece), kind)
        return bytes(file)

    def _http(self) -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False)

    def _too_large(self, what: str, kind: Kind) -> InvalidRequest:
        return kind.lost(f"{what} is too large: the limit is {self._limits.max_bytes(kind)} bytes.")


def _unexpected(param: str, kind: Kind, found: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid {kind.noun} URL: '{param}'. Expected an http(s) URL or a base64-encoded data URL with "
        f"{kind.a_noun} MIME type (e.g. 'data:{kind.example};base64,aW1nIGJ5dGVzIGhlcmU='), but got {found}.",
        param=param,
        code="invalid_value",
    )
