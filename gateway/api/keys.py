"""Who may come in: API keys, known here by their SHA-256 only."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.middleware import error_response
from gateway.errors import InvalidApiKey, NoApiKey

OPEN_PATHS = {"/health"}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`name` is what the log calls it and whose conversations its requests are; `digest` is SHA-256."""

    name: str
    digest: bytes


class KeyCheck:
    """Behind it every request has `scope["owner"]`, and different owners share nothing. With keys that is the
    name of the one given, and who gives none is answered 401; without, any key tells users apart."""

    def __init__(self, app: ASGIApp, keys: Sequence[ApiKey]) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                scope["owner"] = self._owner(Headers(scope=scope), scope["facts"])
            except (NoApiKey, InvalidApiKey) as refused:
                await error_response(refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _owner(self, headers: Headers, facts: dict[str, object]) -> str:
        given = _key(headers)
        digest = sha256(given).digest()
        if not self._keys:
            return digest.hex() if given else ""
        if not given:
            raise NoApiKey
        # Every key is compared, so that the time tells nothing of which one, or how much of it, is right.
        found = [each.name for each in self._keys if compare_digest(each.digest, digest)]
        if not found:
            raise InvalidApiKey
        facts["key"] = found[0]
        return found[0]


def _key(headers: Headers) -> bytes:
    """As clients send one: behind "Bearer", without that word, or in the header that Azure's clients use."""
    sent = headers.get("authorization") or headers.get("api-key", "")
    scheme, _, key = sent.partition(" ")
    # ASGI decodes headers as Latin-1; this is the key byte by byte as it was sent. Of what Latin-1 takes for
    # blanks, some are the ends of letters in UTF-8.
    return (key if scheme.lower() == "bearer" else sent).strip(" \t").encode("latin-1")
