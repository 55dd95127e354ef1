"""Responses that a later one may follow: kept in memory, for their owner, for a while."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Annotated
from uuid import uuid4

from pydantic import Field, TypeAdapter

from gateway.api.responses.items import AnyItem
from gateway.api.responses.response import WireResponse

MAX_KEPT = 1000
MAX_KEPT_BYTES = 256 * 10**6
MAX_KEPT_S = 24 * 3600.0

OVERHEAD_BYTES = 1000
"""What a response, and each of its items, takes beside its JSON."""

PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
"""By the type of an item, what its id begins with."""

ITEM: TypeAdapter[AnyItem] = TypeAdapter(Annotated[AnyItem, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class KeptItem:
    """As JSON, whose length is what it takes."""

    id: str
    data: bytes

    @classmethod
    def of(cls, item: AnyItem) -> "KeptItem":
        """With an id, where it has none."""
        id = item.id or f"{PREFIXES[item.type]}_{uuid4().hex}"
        return cls(id, ITEM.dump_json(item.model_copy(update={"id": id})))

    def read(self) -> AnyItem:
        return ITEM.validate_json(self.data)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """`asked` and `answered` are its own items, `response` the JSON of the answer, `previous` what it
    followed; `num_items` are those of the whole conversation."""

    id: str
    asked: tuple[KeptItem, ...]
    answered: tuple[KeptItem, ...]
    response: bytes
    previous: "Kept | None"
    num_items: int

    @classmethod
    def of(cls, response: WireResponse, items: Sequence[AnyItem], previous: "Kept | None") -> "Kept":
        asked, answered = (tuple(map(KeptItem.of, each)) for each in (items, response.output))
        before = previous.num_items if previous else 0
        number = before + len(asked) + len(answered)
        return cls(response.id, asked, answered, response.model_dump_json().encode(), previous, number)

    @property
    def items(self) -> tuple[KeptItem, ...]:
        return self.asked + self.answered

    @property
    def num_bytes(self) -> int:
        """What it adds to those before it."""
        items = sum(len(item.data) + OVERHEAD_BYTES for item in self.items)
        return items + len(self.response) + OVERHEAD_BYTES

    @property
    def before(self) -> list[KeptItem]:
        """All that was said until it was asked."""
        return self.previous.said if self.previous else []

    @property
    def said(self) -> list[KeptItem]:
        """The whole conversation, its answer included."""
        return [item for turn in reversed(list(self.chain())) for item in turn.items]

    def chain(self) -> "Iterator[Kept]":
        """It and those before it, the last one first."""
        one: Kept | None = self
        while one is not None:
            yield one
            one = one.previous


class ResponseStore:
    """Gives up those not used for `max_age_s`, and, beyond `max_responses` or `max_bytes`, the least recently
    used of whoever has the most. What others follow stays as long as one of these does, and counts once. For
    one thread."""

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
        # The items of these. Clients send an item again under the id that it has, so several may hold it.
        self._items: dict[tuple[str, str], list[KeptItem]] = {}
        # How often each is needed: to be found, and by those that follow it.
        self._num_uses: dict[Kept, int] = {}
        self._num_bytes: Counter[str] = Counter()  # by owner

    def __len__(self) -> int:
        """How many can be found."""
        return len(self._found)

    @property
    def num_bytes(self) -> int:
        return self._num_bytes.total()

    def keep(self, owner: str, kept: Kept) -> None:
        self._use(owner, kept)
        self._found[owner, kept.id] = kept, self._clock()
        for item in kept.items:
            self._items.setdefault((owner, item.id), []).append(item)
        self._forget()

    def find(self, owner: str, id: str) -> Kept | None:
        self._forget()
        entry = self._found.get((owner, id))
        if entry is None:
            return None
        self._found[owner, id] = entry[0], self._clock()
        self._found.move_to_end((owner, id))
        return entry[0]

    def find_item(self, owner: str, id: str) -> KeptItem | None:
        """An item of a response that can be found."""
        self._forget()
        held = self._items.get((owner, id))
        return held[-1] if held else None

    def drop(self, owner: str, id: str) -> bool:
        """Whether there was one."""
        self._forget()
        if (owner, id) not in self._found:
            return False
        self._lose(owner, id)
        return True

    def _forget(self) -> None:
        while self._found and (key := self._surplus()):
            self._lose(*key)

    def _surplus(self) -> tuple[str, str] | None:
        """The one that is to go next."""
        oldest, (_, used_s) = next(iter(self._found.items()))
        if self._clock() - used_s > self._max_age_s:
            return oldest
        if len(self._found) > self._max_responses:
            return self._least_used(Counter(owner for owner, _ in self._found))
        if self.num_bytes > self._max_bytes:
            return self._least_used(self._num_bytes)
        return None

    def _least_used(self, shares: Counter[str]) -> tuple[str, str]:
        ((greediest, _),) = shares.most_common(1)
        return next(key for key in self._found if key[0] == greediest)

    def _lose(self, owner: str, id: str) -> None:
        kept, _ = self._found.pop((owner, id))
        for item in kept.items:
            held = self._items[owner, item.id]
            held.remove(item)
            if not held:
                del self._items[owner, item.id]
        self._release(owner, kept)

    def _use(self, owner: str, kept: Kept) -> None:
        """With it what it follows, which may have been given up while it was answered."""
        for one in kept.chain():
            self._num_uses[one] = self._num_uses.get(one, 0) + 1
            if self._num_uses[one] > 1:
                return
            self._num_bytes[owner] += one.num_bytes

    def _release(self, owner: str, kept: Kept) -> None:
        for one in kept.chain():
            self._num_uses[one] -= 1
            if self._num_uses[one]:
                return
            del self._num_uses[one]
            self._num_bytes[owner] -= one.num_bytes
            if not self._num_bytes[owner]:
                del self._num_bytes[owner]
