"""Responses that a later one may follow: kept in memory, for their owner, for a while."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Annotated
from uuid import uuid4

from pydantic import Field, TypeAdapter
from pydantic_core import from_json

from gateway.api.response import WireResponse
from gateway.api.response_items import AnyItem

MAX_KEPT = 1000
MAX_KEPT_BYTES = 256 * 10**6
MAX_KEPT_S = 24 * 3600.0

OVERHEAD_BYTES = 1000
"""What one takes beside its JSON."""

PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
"""By the type of an item, what its id begins with."""

ITEMS = TypeAdapter(list[Annotated[AnyItem, Field(discriminator="type")]])


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """`items` is what was asked, a JSON list of items with ids, and `response` the JSON of the answer: their
    length is what they take. `previous` is what it followed."""

    id: str
    items: bytes
    response: bytes
    previous: "Kept | None"

    @classmethod
    def of(cls, response: WireResponse, items: Sequence[AnyItem], previous: "Kept | None") -> "Kept":
        named = [
            item if item.id else item.model_copy(update={"id": f"{PREFIXES[item.type]}_{uuid4().hex}"})
            for item in items
        ]
        return cls(response.id, ITEMS.dump_json(named), response.model_dump_json().encode(), previous)

    @property
    def num_bytes(self) -> int:
        return len(self.items) + len(self.response) + OVERHEAD_BYTES

    @property
    def asked(self) -> list[AnyItem]:
        """All that it answers, from the beginning of the conversation."""
        return (self.previous.said if self.previous else []) + ITEMS.validate_json(self.items)

    @property
    def said(self) -> list[AnyItem]:
        """The whole conversation, its answer included."""
        turns = [self]
        while turns[-1].previous is not None:
            turns.append(turns[-1].previous)
        return [item for turn in reversed(turns) for item in turn._own]

    @property
    def _own(self) -> list[AnyItem]:
        answered = from_json(self.response)["output"]
        return ITEMS.validate_json(self.items) + ITEMS.validate_python(answered)


class ResponseStore:
    """Gives up those not used for `max_age_s`, and the least recently used beyond `max_responses` or
    `max_bytes`. What others follow stays as long as one of these does, and counts once. For one thread."""

    def __init__(
        self,
        max_responses: int = MAX_KEPT,
        max_bytes: int = MAX_KEPT_BYTES,
        max_age_s: float = MAX_KEPT_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        # By owner and id, the least recently used first, each with when it was used.
        self._found: OrderedDict[tuple[str, str], tuple[Kept, float]] = OrderedDict()
        # How often each is needed: to be found, and by those that follow it.
        self._num_uses: dict[Kept, int] = {}
        self.num_bytes = 0

    def __len__(self) -> int:
        """How many can be found."""
        return len(self._found)

    def keep(self, owner: str, kept: Kept) -> None:
        self._use(kept)
        self._found[owner, kept.id] = kept, self._clock()
        self._forget()

    def find(self, owner: str, id: str) -> Kept | None:
        self._forget()
        entry = self._found.get((owner, id))
        if entry is None:
            return None
        self._found[owner, id] = entry[0], self._clock()
        self._found.move_to_end((owner, id))
        return entry[0]

    def drop(self, owner: str, id: str) -> bool:
        """Whether there was one."""
        self._forget()
        entry = self._found.pop((owner, id), None)
        if entry is None:
            return False
        self._release(entry[0])
        return True

    def _forget(self) -> None:
        while self._found and self._too_much():
            _, (kept, _) = self._found.popitem(last=False)
            self._release(kept)

    def _too_much(self) -> bool:
        _, used_s = next(iter(self._found.values()))
        return (
            len(self._found) > self._max_responses
            or self.num_bytes > self._max_bytes
            or self._clock() - used_s > self._max_age_s
        )

    def _use(self, kept: Kept) -> None:
        """With it what it follows, which may have been given up while it was answered."""
        one: Kept | None = kept
        while one is not None:
            if one in self._num_uses:
                self._num_uses[one] += 1
                return
            self._num_uses[one] = 1
            self.num_bytes += one.num_bytes
            one = one.previous

    def _release(self, kept: Kept) -> None:
        one: Kept | None = kept
        while one is not None:
            self._num_uses[one] -= 1
            if self._num_uses[one]:
                return
            del self._num_uses[one]
            self.num_bytes -= one.num_bytes
            one = one.previous
