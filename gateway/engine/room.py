"""Who gets how much of the device's memory. Pure: no device, no process, no clock.

A model takes what its graphs need and a KV cache for each of its sessions. That all models stay loaded comes
first, then that each has many sessions: a conversation is brought back by copying its rows from the host, a
model by copying all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backends.axcl.kvcache import CacheShape
from backends.axcl.layout import LayerLayout
from backends.axcl.package import Package


class NoRoom(Exception):
    """The device has too little memory for a model; the message has the numbers."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a model takes: once, for each session, and for a moment while it is loaded. `cache_bytes` is None
    before it was loaded for the first time; then the others are the least that is known.

    vision_bytes: how much of it is for pictures; context_length: how many tokens a session's cache holds
    """

    model_bytes: int
    cache_bytes: int | None
    load_bytes: int
    vision_bytes: int = 0
    context_length: int = 0

    @classmethod
    def of(cls, package: Package, layout: LayerLayout | None = None) -> "Need":
        """As the sizes of its files tell, and the layout of its layers once that is known."""
        need = cls(package.graph_bytes, None, package.load_bytes, package.vision_bytes)
        if layout is None:
            return need
        cache_bytes = CacheShape.of(layout, len(package.layers)).nbytes
        return replace(need, cache_bytes=cache_bytes, context_length=layout.context_length)

    def least_bytes(self, unknown_cache_bytes: int = 0) -> int:
        """To be loaded and have one session."""
        cache_bytes = unknown_cache_bytes if self.cache_bytes is None else self.cache_bytes
        return max(self.model_bytes + cache_bytes, self.load_bytes)

    def loaded(self, model_bytes: int) -> "Need":
        """As it turned out: what graphs and buffers took together."""
        buffers_bytes = model_bytes - self.model_bytes
        return replace(self, model_bytes=model_bytes, load_bytes=self.load_bytes + buffers_bytes)

    def check(self, free_bytes: int | None, emulated_bytes: int | None) -> None:
        """Raises NoRoom with the numbers, and what would help, where it is known that not even one session
        fits. `emulated_bytes` is how large the device is if it is emulated."""
        if free_bytes is not None and self.least_bytes() > free_bytes:
            short = shortage(self.least_bytes(), free_bytes)
            raise NoRoom(f"{short}: {self}. {self.advice(free_bytes, emulated_bytes)}")

    def __str__(self) -> str:
        """What its least is made of."""
        parts = [f"{_mb(self.model_bytes - self.vision_bytes)} for its layers and head"]
        if self.vision_bytes:
            parts.append(f"{_mb(self.vision_bytes)} for its vision graph")
        if self.model_bytes + (self.cache_bytes or 0) < self.load_bytes:
            parts.append(f"{_mb(self.load_bytes - self.model_bytes)} for a moment while it is loaded")
        elif self.cache_bytes:
            parts.append(f"{_mb(self.cache_bytes)} for one session of up to {self.context_length:,} tokens")
        return ", ".join(parts)

    def advice(self, free_bytes: int | None, emulated_bytes: int | None) -> str:
        """What would make it fit where so much is free, or who knows how much. That other models leave is not
        among it: they do so without being told."""
        if emulated_bytes is None:
            ways = ["to stop other programs that use the card, which axcl-smi shows"]
        else:
            enough_bytes = emulated_bytes + self.least_bytes() - (free_bytes or 0)
            ways = [f"--emulated-memory-mb {-(-enough_bytes // 10**6)} or more"]
        spare_bytes = 0 if free_bytes is None else free_bytes - self.model_bytes
        if self.cache_bytes and 0 < spare_bytes < self.cache_bytes:
            fitting = spare_bytes * self.context_length // self.cache_bytes
            ways.append(f"a package compiled for a context of no more than about {fitting:,} tokens")
        ways.append(
            "a package of a smaller model or with smaller weights, such as int4 in place of int8 "
            "(`axgate models --available` lists published ones)"
        )
        return f"What helps: {'; '.join(ways)}"


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
    if needed_bytes > free_bytes:
        raise NoRoom(shortage(needed_bytes, free_bytes))
    for tenant in reversed(chosen[:-1]):  # a small one is spared where a larger one had to leave after all
        if needed_bytes <= free_bytes - tenant.num_bytes:
            free_bytes -= tenant.num_bytes
            chosen.remove(tenant)
    return tuple(tenant.name for tenant in chosen)


def num_sessions(
    free_bytes: int, cache_bytes: int, wanted: int, others: Sequence[Need], peak_bytes: int = 0
) -> int:
    """How many KV caches a model that was just loaded may keep in `free_bytes`, up to the wanted number.

    As many of the `others`, which are not loaded, as fit beside it keep what they take with one session, and
    what is left beyond is shared evenly with them. Caches of unknown size are taken to be as large as this
    model's. It keeps `peak_bytes` at least, which it takes to be loaded once more. Raises NoRoom where there
    is room for none.
    """
    if free_bytes < cache_bytes:
        raise NoRoom(
            f"the device has {_mb(max(free_bytes, 0))} left beside the model, "
            f"and one session's KV cache needs {_mb(cache_bytes)}"
        )
    own = max(cache_bytes, min(peak_bytes, free_bytes))
    spare, num_sharing = free_bytes - own, 1
    for other in others:
        needed = other.least_bytes(cache_bytes)
        if needed <= spare:
            spare -= needed
            num_sharing += 1
    return min(wanted, (own + spare // num_sharing) // cache_bytes)


def shortage(needed_bytes: int, free_bytes: int) -> str:
    return f"it needs at least {_mb(needed_bytes)} of the device, which has {_mb(max(free_bytes, 0))}"


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
