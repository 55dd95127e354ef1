"""What calls cost: round trips and bytes."""

from pathlib import Path

import numpy as np

from tests.emulator.card import D2D, D2H, H2D, H2H, malloc, ready, save_model


def test_copies_are_counted_by_direction_with_their_bytes() -> None:
    card = ready()
    address, host = malloc(card, 64), np.zeros(32, np.uint8)
    before = card.counters.copy()
    card.rt.memcpy(address, host.ctypes.data, 32, H2D)
    card.rt.memcpy(address, host.ctypes.data, 8, H2D)
    card.rt.memcpy(host.ctypes.data, address, 16, D2H)
    card.rt.memcpy(address + 32, address, 4, D2D)
    card.rt.memcpy(host.ctypes.data + 16, host.ctypes.data, 2, H2H)
    card.rt.memset(address, 0, 64)
    cost = card.counters - before
    assert cost.calls == {"memcpy": 5, "memset": 1}
    assert cost.round_trips == {"memcpy_h2d": 2, "memcpy_d2h": 1, "memcpy_d2d": 1, "memset": 1}
    assert cost.num_bytes == {"memcpy_h2d": 40, "memcpy_d2h": 16, "memcpy_d2d": 4, "memset": 64}


def test_setting_buffers_and_describing_a_model_cost_no_round_trip(tmp_path: Path) -> None:
    path = save_model(tmp_path / "layer.axmodel")
    card = ready()
    rt, before = card.rt, card.counters.copy()
    model, _ = rt.engine_load_from_file(str(path))
    context, _ = rt.engine_create_context(model)
    info, _ = rt.engine_get_io_info(model)
    assert info is not None
    loaded = card.counters.copy()
    rt.engine_get_input_dims(info, 0, 0)
    io, _ = rt.engine_create_io(info)
    assert io is not None
    rt.engine_set_input_buffer_by_index(io, 0, 0x148000000, 64)
    local = card.counters.copy()
    rt.engine_execute(model, context, 0, io)
    loading, describing, executing = loaded - before, local - loaded, card.counters - local
    assert loading.round_trips == {
        "engine_load_from_file": 1,
        "engine_create_context": 1,
        "engine_get_io_info": 1,
    }
    assert loading.num_bytes == {"engine_load_from_file": path.stat().st_size}
    assert (describing.round_trips, describing.calls.total()) == ({}, 3)
    assert executing.round_trips == executing.calls == {"engine_execute": 1}
