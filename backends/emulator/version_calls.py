"""axcl.rt: where the versions of pyAXCL differ (axcl_rt_device.py and axcl_rt_engine.py of each)."""

from typing import Any

from backends.emulator.surface import Calls, answers, no_name, no_text, unsigned

KIB = 1024
UID = 0x6007080746221000
PROPERTIES: dict[str, int | list[int]] = {
    "sw_version": list(b"V3.10.2 emulated".ljust(64, b"\0")),
    "uid": 0,
    "pci_domain": 0,
    "pci_bus_id": 0,
    "pci_device_id": 0,
    "temperature": 45_000,  # milli-degrees C
    "total_mem_size": 968_356,  # KiB, as the other sizes
    "free_mem_size": 816_844,
    "total_cmm_size": 0,
    "free_cmm_size": 0,
    "cpu_loading": 0,
    "npu_loading": 0,
    "reserved": [0] * 32,
}


def _no_version(ret: int) -> tuple[int, int, int, int]:
    return 0, 0, 0, ret


def _no_properties(ret: int) -> tuple[dict[str, Any], int]:
    """The structure as nobody has filled it in."""
    nothing = {name: 0 if isinstance(value, int) else [0] * len(value) for name, value in PROPERTIES.items()}
    return nothing, ret


def _no_rates(ret: int) -> tuple[int, int, int, int]:
    return 0, 0, 0, ret


class _Compiler(Calls):
    def _compiler(self, model_id: int) -> str:
        model = unsigned(model_id, 64)
        return self._process.reach_card("engine_get_model_compiler_version").model(model).compiler_version


class NewCalls(_Compiler):
    """V3.10."""

    @answers(_no_version)
    def get_version(self) -> tuple[int, int, int, int]:
        return 3, 10, 2, 0

    @answers(_no_properties)
    def get_device_properties(self, device_id: int) -> tuple[dict[str, Any], int]:
        """V3.10 only. Opens and closes the device, so the thread is not bound to it any more afterwards."""
        card = self._process.find(unsigned(device_id, 32))
        self._process.open(card)
        self._process.round_trip("get_device_properties")
        properties = PROPERTIES | {
            "uid": UID + card.device_id,
            "pci_bus_id": card.device_id,
            "total_cmm_size": card.memory.size // KIB,
            "free_cmm_size": card.memory.free_bytes // KIB,
        }
        self._process.close(card)
        return properties, 0

    @answers(no_text)
    def engine_get_model_compiler_version(self, model_id: int) -> str:
        return self._compiler(model_id)


class OldCalls(_Compiler):
    """V2.25 and V2.26."""

    @answers(_no_version)
    def get_version(self) -> tuple[int, int, int, int]:
        return 2, 25, 0, 0

    @answers(_no_rates)
    def get_device_utilization_rate(self, device_id: int) -> tuple[int, int, int, int]:
        """Of no use: libraries of V3.10 do not have it, and pyAXCL says so on standard output."""
        unsigned(device_id, 32)
        print("[ERROR] undefined symbol: axclrtGetDeviceUtilizationRate")
        return 0, 0, 0, -1

    @answers(no_name)
    def engine_get_model_compiler_version(self, model_id: int) -> str | None:
        return self._compiler(model_id)
