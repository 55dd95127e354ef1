import asyncio

import httpx
import pytest

from gateway.chat.transport import NoPublicAddress, PublicTransport, is_public, resolve

PUBLIC = "93.184.216.34"


class Names:
    """A resolver: each look-up of a host takes the next of its answers, the last one for ever."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {host.replace("_", "."): list(found) for host, found in answers.items()}
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        answers = self._answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Network:
    """Keeps the requests that would have gone out; hosts in `down` do not answer; `redirects` go from a host
    with its path to a location."""

    def __init__(self, down: tuple[str, ...] = (), redirects: dict[str, str] | None = None) -> None:
        self.sent: list[httpx.Request] = []
        self._down = down
        self._redirects = redirects or {}

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.host in self._down:
            raise httpx.ConnectError("refused")
        self.sent.append(request)
        location = self._redirects.get(request.headers["host"] + request.url.path)
        return (
            httpx.Response(302, headers={"location": location})
            if location
            else httpx.Response(200, text="ok")
        )


def get(url: str, names: Names, network: Network, allow_private: bool = False) -> str:
    async def run() -> str:
        transport = PublicTransport(network.transport(), names, allow_private)
        async with httpx.AsyncClient(transport=transport, follow_redirects=True, trust_env=False) as client:
            return (await client.get(url)).text

    return asyncio.run(run())


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:c058:6301::",
        "3fff::1",
        "3fff:fff::1",
        "2002:a00:1::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_lead_inside_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        PUBLIC,
        "1.1.1.1",
        "172.32.0.1",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2002:101:101::1",
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


def test_the_request_goes_to_the_checked_address_under_the_name_of_the_host() -> None:
    names, network = Names(example_org=[[PUBLIC]]), Network()
    assert get("https://example.org/a.png?b=1", names, network) == "ok"
    (request,) = network.sent
    assert str(request.url) == f"https://{PUBLIC}/a.png?b=1"
    assert request.headers["host"] == "example.org"
    assert request.extensions["sni_hostname"] == "example.org"
    assert names.asked == [("example.org", 443)]


def test_a_port_is_kept() -> None:
    names, network = Names(example_org=[["2606:4700::1111"]]), Network()
    get("http://example.org:8080/", names, network)
    assert str(network.sent[0].url) == "http://[2606:4700::1111]:8080/"
    assert network.sent[0].headers["host"] == "example.org:8080"
    assert names.asked == [("example.org", 8080)]


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1", PUBLIC]])
def test_one_address_inside_is_enough_to_refuse_a_host(addresses: list[str]) -> None:
    network = Network()
    with pytest.raises(NoPublicAddress):
        get("http://example.org/", Names(example_org=[addresses]), network)
    assert network.sent == []


def test_a_name_that_answers_differently_the_second_time_gains_nothing() -> None:
    names, network = Names(rebinding_org=[[PUBLIC], ["127.0.0.1"]]), Network()
    get("http://rebinding.org/", names, network)
    assert [request.url.host for request in network.sent] == [PUBLIC]
    assert len(names.asked) == 1
    with pytest.raises(NoPublicAddress):
        get("http://rebinding.org/", names, network)
    assert len(network.sent) == 1


@pytest.mark.parametrize("target", ["http://inside.org/", "http://INSIDE.org/x", "//inside.org/"])
def test_a_redirect_to_an_address_inside_is_refused(target: str) -> None:
    names = Names(example_org=[[PUBLIC]], inside_org=[["192.168.0.7"]])
    network = Network(redirects={"example.org/": target})
    with pytest.raises(NoPublicAddress):
        get("http://example.org/", names, network)
    assert [request.url.host for request in network.sent] == [PUBLIC]


def test_a_redirect_to_the_same_name_is_looked_up_and_checked_again() -> None:
    names = Names(example_org=[[PUBLIC], ["127.0.0.1"]])
    with pytest.raises(NoPublicAddress):
        get("http://example.org/", names, Network(redirects={"example.org/": "/again"}))


@pytest.mark.parametrize("target", ["ftp://example.org/", "file:///etc/passwd", "gopher://example.org/"])
def test_a_redirect_to_another_scheme_is_refused(target: str) -> None:
    names, network = Names(example_org=[[PUBLIC]]), Network(redirects={"example.org/": target})
    with pytest.raises(httpx.UnsupportedProtocol):
        get("http://example.org/", names, network)
    assert len(network.sent) == 1


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    names, network = Names(example_org=[["2606:4700::1111", PUBLIC]]), Network(down=("2606:4700::1111",))
    assert get("http://example.org/", names, network) == "ok"
    assert [request.url.host for request in network.sent] == [PUBLIC]


def test_a_host_that_does_not_answer_is_a_connect_error() -> None:
    with pytest.raises(httpx.ConnectError):
        get("http://example.org/", Names(example_org=[[PUBLIC]]), Network(down=(PUBLIC,)))


@pytest.mark.parametrize("allow_private", [False, True])
def test_a_host_that_does_not_resolve_has_no_public_address(allow_private: bool) -> None:
    with pytest.raises(NoPublicAddress):
        get("http://example.org/", Names(example_org=[[]]), Network(), allow_private)


def test_addresses_inside_are_reached_when_they_are_allowed() -> None:
    network = Network()
    assert get("http://example.org/", Names(example_org=[["127.0.0.1"]]), network, allow_private=True) == "ok"
    assert network.sent[0].url.host == "127.0.0.1"


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "::1"]
)
def test_every_spelling_of_this_machine_is_found_out(host: str) -> None:
    addresses = asyncio.run(resolve(host, 80))
    assert addresses
    assert not any(map(is_public, addresses))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "", "a..b", "a b"])
def test_a_host_without_an_address_does_not_resolve(host: str) -> None:
    assert asyncio.run(resolve(host, 80)) == []
