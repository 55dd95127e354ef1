"""The bytes behind an image URL, within limits of size, time and reach."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

import httpx

from gateway.chat.content import ImagePart
from gateway.chat.transport import NoPublicAddress, PublicTransport, Resolver, resolve
from gateway.errors import InvalidImage, InvalidImageUrl, InvalidRequest, cut

_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Of one picture: `max_bytes` of the file, `timeout_s` and `max_redirects` of a whole download."""

    max_bytes: int
    timeout_s: float
    max_redirects: int = 3


class MediaFetcher:
    """Fetches pictures. Downloads share nothing with each other, cookies included; proxy settings of the
    environment are not used, for a proxy would look hosts up by itself."""

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

    async def fetch(self, part: ImagePart) -> bytes:
        """The file, not looked at. Raises InvalidRequest and its kinds InvalidImage and InvalidImageUrl."""
        # Half a surrogate pair would be in the way of every error message.
        url = part.url.strip().encode(errors="replace").decode()
        scheme, colon, rest = url.partition(":")
        match scheme.lower() if colon else "":
            case "data":
                return await asyncio.to_thread(self._inline, rest, part.param)
            case "http" | "https":
                return await self._download(url)
            case _:
                raise _unexpected(part.param, f"'{cut(url)}'")

    def _inline(self, rest: str, param: str) -> bytes:
        header, comma, text = rest.partition(",")
        mime, *attributes = header.lower().split(";")
        if not comma or "base64" not in attributes:
            raise _unexpected(param, "a data URL that is not base64-encoded")
        if not mime.startswith("image/"):
            raise InvalidImage(
                f"Invalid MIME type '{cut(mime)}' in a data URL. Only image types are supported: "
                "'image/png', 'image/jpeg', 'image/gif' and 'image/webp'."
            )
        # Line breaks, missing padding and the URL-safe alphabet are what encoders differ in.
        text = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
        if not text:
            raise _unexpected(param, "empty base64-encoded bytes")
        if len(text) * 3 // 4 > self._limits.max_bytes:
            raise self._too_large("The image")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest("Invalid base64 image_url.", code="invalid_base64") from error

    async def _download(self, url: str) -> bytes:
        shown = cut(url, 200)
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await self._get(url, shown)
        except TimeoutError as error:
            raise InvalidImageUrl(f"Timeout while downloading {shown}.") from error
        except NoPublicAddress as error:
            raise InvalidImageUrl(
                f"Failed to download image from {shown}: its host has no public address."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last of names like xn--
            raise InvalidImageUrl(f"Failed to download image from {shown}.") from error

    async def _get(self, url: str, shown: str) -> bytes:
        client = httpx.AsyncClient(
            transport=PublicTransport(self._connect(), self._resolve, self._allow_private),
            timeout=None,  # of the whole download, not of its steps
            trust_env=False,
            # Compression would let a few bytes on the wire become many here; pictures are compressed already.
            headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "axgate"},
        )
        async with client:
            request = client.build_request("GET", url)
            # Redirects are followed here because httpx would read the whole body of each.
            for _ in range(self._limits.max_redirects + 1):
                response = await client.send(request, stream=True)
                async with aclosing(response):
                    if response.next_request is None:
                        return await self._read(response, shown)
                request = response.next_request
        raise InvalidImageUrl(
            f"Failed to download image from {shown}: more than {self._limits.max_redirects} redirects."
        )

    async def _read(self, response: httpx.Response, shown: str) -> bytes:
        if response.status_code != 200:
            raise InvalidImageUrl(
                f"Failed to download image from {shown}: upstream status code {response.status_code}."
            )
        file = bytearray()
        async for piece in response.aiter_raw():
            file += piece
            if len(file) > self._limits.max_bytes:
                raise self._too_large(f"The image at {shown}")
        return bytes(file)

    def _http(self) -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False)

    def _too_large(self, what: str) -> InvalidImageUrl:
        return InvalidImageUrl(f"{what} is too large: the limit is {self._limits.max_bytes} bytes.")


def _unexpected(param: str, found: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid image URL: '{param}'. Expected an http(s) URL or a base64-encoded data URL with an image "
        f"MIME type (e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got {found}.",
        param=param,
        code="invalid_value",
    )
