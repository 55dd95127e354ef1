"""What clients rely on: the acceptance table, case by case. A: plain requests, B: streams, C: pictures,
D: bodies and fields, E: HTTP, Z: afterwards."""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("bodies", "case", "client", "plain", "streams", "web"))
)
