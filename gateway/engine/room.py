"""Who gets how much of the device's memory. Pure: no device, no process, no clock.

A model takes what its graphs need and a KV cache for each of its sessions. That all models stay loaded comes
first, then that each has many sessions: a conversation is brought back by copying its rows from the host, a
model by copying all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class NoRoom(Exception):
    """The device has too little memory for a model; the message has the numbers."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a model takes: once, for each session, and for a moment while it is loaded. `cache_bytes` is None
    before it was loaded for the first time; then the others are the least that is known."""

    model_bytes: int
    cache_bytes: int | None
    load_bytes: int

    def least_bytes(self, unknown_cache_bytes: int = 0) -> int:
        """To be loaded and have one session."""
        cache_bytes = unknown_cache_bytes if self.cache_bytes is None else self.cache_bytes
        return max(self.model_bytes + cache_bytes, self.load_bytes)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A loaded model. `busy` while somebody uses it; `leaving` when nobody may enter, because it was chosen
    to make room; `used` grows with every use."""

    name: str
    num_bytes: int
    busy: bool
    leaving: bool
    used: int


def leavers(needed_bytes: int, free_bytes: int, tenants: Sequence[Tenant]) -> tuple[str, ...]:
    """Which models to unload so that one of `needed_bytes` fits: none that can stay; idle ones before busy
    ones, then those already chosen (or two busy ones could take turns in never leaving), then the least
    recently used. Raises NoRoom where it would not even fit alone."""
    left = sorted(tenants, key=lambda tenant: (tenant.busy, not tenant.leaving, tenant.used))
    chosen = []
    while left and needed_bytes > free_bytes:
        chosen.append(left.pop(0))
        free_bytes += chosen[-1].num_bytes
    check_fits(needed_bytes, free_bytes)
    for tenant in reversed(chosen[:-1]):  # a small one is spared where a larger one had to leave after all
        if needed_bytes <= free_bytes - tenant.num_bytes:
            free_bytes -= tenant.num_bytes
            chosen.remove(tenant)
    return tuple(tenant.name for tenant in chosen)


def check_fits(needed_bytes: int, free_bytes: int) -> None:
    """Raises NoRoom where it does not."""
    if needed_bytes > free_bytes:
        raise NoRoom(f"it needs at least {_mb(needed_bytes)} of the device, which has {_mb(free_bytes)}")


def num_sessions(free_bytes: int, cache_bytes: int, wanted: int, others: Sequence[Need]) -> int:
    """How many KV caches a model that was just loaded may keep in `free_bytes`, up to the wanted number.

    As many of the `others`, which are not loaded, as fit beside it keep what they take with one session, and
    what is left beyond is shared evenly with them. Caches of unknown size are taken to be as large as this
    model's. Raises NoRoom where there is room for none.
    """
    if free_bytes < cache_bytes:
        raise NoRoom(
            f"the device has {_mb(max(free_bytes, 0))} left beside the model, "
            f"and one session's KV cache needs {_mb(cache_bytes)}"
        )
    spare, num_sharing = free_bytes - cache_bytes, 1
    for other in others:
        needed = other.least_bytes(cache_bytes)
        if needed <= spare:
            spare -= needed
            num_sharing += 1
    return min(wanted, 1 + spare // num_sharing // cache_bytes)


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
