"""The acceptance table, against a gateway as a user starts it: all 134 cases.

The code and the parameter of a refusal are OpenAI's, where they are known and even where they are only
believed. What may be either (`either`) is so because OpenAI refuses what servers of open models answer.
"""

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256

import pytest

from tests.acceptance import bodies, images, plain, streams, web
from tests.acceptance.case import Case
from tests.acceptance.client import Client
from tests.served import served

*HTTP, LAST = web.CASES
CASES = (*plain.CASES, *streams.CASES, *images.CASES, *bodies.CASES, *HTTP, LAST)
KEY = "sk-acceptance"
KEYS = ("--api-keys", f"tests:{sha256(KEY.encode()).hexdigest()}")


@pytest.fixture(scope="module")
def quick() -> Iterator[Client]:
    """A card as fast as this machine."""
    with served(*KEYS) as gateway:
        yield Client(gateway.base_url, KEY)


@pytest.fixture(scope="module")
def paced() -> Iterator[Client]:
    """A card as fast as one is recorded to be. Where all is done in a moment, tokens that come one by one
    cannot be told from others, nor a card that is freed."""
    with served(*KEYS, "--emulated-clock", "internvl3-1b", "--kv-write", "direct") as gateway:
        yield Client(gateway.base_url, KEY)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_clients_get_what_they_rely_on(case: Case, request: pytest.FixtureRequest) -> None:
    case.check(request.getfixturevalue("paced" if case.paced else "quick"))


def test_the_table_is_whole() -> None:
    numbers = {"A": 35, "B": 13, "C": 30, "D": 41, "E": 14, "Z": 1}
    assert [case.id for case in CASES] == [
        f"{letter}{number:02}" for letter, count in numbers.items() for number in range(1, count + 1)
    ]
    assert sum(numbers.values()) == 134
    assert Counter(case.id for case in CASES).most_common(1)[0][1] == 1
