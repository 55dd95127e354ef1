"""HTTP to public addresses only: a client must not reach the server's own network through image URLs."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

Resolver = Callable[[str, int], Awaitable[list[str]]]

# RFC 6052: IPv6-only networks reach IPv4 hosts through addresses with the IPv4 one in their last 32 bits.
_NAT64 = IPv6Network("64:ff9b::/96")
# RFC 4291: of the rest of the IPv6 space nothing is given out for the internet.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# What the standard library takes for global: 6to4 relays (RFC 7526), documentation (RFC 9637).
_NOT_GLOBAL = (IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))


class NoPublicAddress(Exception):
    """The host does not resolve, or has an address that is not public. These are not told apart: a client
    could learn the names of a private network that way."""


class PublicTransport(httpx.AsyncBaseTransport):
    """Looks the host up, checks every address it has, and connects to one of those very addresses, so a name
    that answers differently the next time gains nothing. Each redirect comes through here again.

    Raises NoPublicAddress, and httpx.ConnectError for a host that does not answer.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, resolve: Resolver, allow_private: bool) -> None:
        self._inner = inner
        self._resolve = resolve
        self._allow_private = allow_private

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"not http: {url.scheme}")
        host, port = url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)
        if port > 65535:
            raise httpx.ConnectError(f"no such port: {port}", request=request)
        addresses = await self._resolve(host, port)
        if not addresses or not (self._allow_private or all(map(is_public, addresses))):
            raise NoPublicAddress(host)
        *others, last = addresses
        for address in others:
            with suppress(httpx.ConnectError):
                return await self._inner.handle_async_request(_addressed(request, address))
        return await self._inner.handle_async_request(_addressed(request, last))

    async def aclose(self) -> None:
        await self._inner.aclose()


def _addressed(request: httpx.Request, address: str) -> httpx.Request:
    """The same request, to an address; the Host header and the name in the TLS handshake stay the host's."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.raw_host.decode("ascii")},
    )


async def resolve(host: str, port: int) -> list[str]:
    """Every address of a host, by the system's resolver; none of a host it does not know."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address leads out into the internet; one that wraps an IPv4 address is judged by that."""
    ip = _unwrapped(ip_address(address))
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_GLOBAL)


def _unwrapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
