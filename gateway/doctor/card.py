"""Does the card answer, does it keep what it is given, and how far away is it."""

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from backends.axcl.codes import SUCCESS
from backends.axcl.measure import bandwidth, copies_agree, round_trip_ms, row_copy_ms
from backends.axcl.monitor import UNKNOWN, Vitals, told_by_library, told_by_tool
from backends.axcl.rt import MALLOC_HUGE_FIRST, Runtime, import_axcl
from backends.base import DeviceError
from backends.emulator import Emulator
from gateway.doctor.finding import Finding, Number, failed, fine, skipped, warning
from gateway.doctor.patient import Patient
from gateway.doctor.software import binding_version, release

MB = 10**6
SIZES = (64 << 10, 1 << 20, 64 << 20)
COPY_BYTES = 1 << 20
SLOW_ROUND_TRIP_MS = 0.6  # published: 0.1 to 0.2 tuned, 0.3 to 0.5 untuned (cm3588-ax650n-pcie-tuning)
SLOW_LINK = 200 * MB  # bytes/s; a PCIe Gen2 lane carries 500 MB/s at most
HOT_C = 90.0  # the hardware resets itself at 120 °C
LEAST_FREE_SHARE = 0.9
LEAK_BYTES = 1 << 20
TRIAL_BYTES = 4096
NEAR_BYTES = 64 << 20  # what the count of our own allocations may be off, and others may have taken

FREE_CMM = (
    "If no program uses the card, one that died has left it: axcl-smi reboot gives it back. "
    "Else stop the others."
)
REBOOT = "axcl-smi reboot, then modprobe -r axcl_host && modprobe axcl_host, then a power cycle."


def binding(patient: Patient) -> Finding:
    if patient.orders.device == "emulator":
        patient.axcl = Emulator()
        return fine("the emulated card takes pyAXCL's place")
    try:
        patient.axcl = import_axcl()
    except DeviceError as reason:
        return failed(
            reason.detail, "See `versions` and `libraries`; axgate needs it in its own environment."
        )
    return fine("pyAXCL and its libraries can be imported")


def opened(patient: Patient) -> Finding:
    """init with JSON text, the device list, a context of this thread's own, the NPU unpartitioned."""
    started_s = perf_counter()
    patient.runtime = runtime = Runtime(patient.axcl, patient.orders.device_index)
    patient.undo.callback(runtime.close)
    seconds = perf_counter() - started_s
    told = f"card {patient.orders.device_index} is on PCI bus {runtime.device_id}, opened in {seconds:.1f} s"
    numbers = {"bus": runtime.device_id, "library": runtime.library_version, "seconds": round(seconds, 3)}
    told += f", library {runtime.library_version or 'of unknown version'}, NPU unpartitioned"
    return fine(told, **numbers)


def log_written(patient: Patient) -> Finding:
    """Whether the library took the JSON text it was initialised with."""
    log = patient.machine.log
    if patient.machine.path(log).is_file():
        return fine(f"the library took the JSON text: it logs to {log.name}")
    return warning(
        f"the library made no {log.name}: it may have ignored the JSON text it was initialised with",
        "Its log is then /tmp/axcl/axcl_logs.txt. Say so in an issue, with the versions.",
    )


def state(patient: Patient, runtime: Runtime) -> Vitals:
    """From the library, or from axcl-smi where it cannot tell."""
    vitals = told_by_library(runtime.properties())
    if vitals == UNKNOWN and patient.orders.device == "card":
        return told_by_tool(runtime.device_id, patient.orders.smi)
    return vitals


def releases(patient: Patient) -> Finding:
    """Of the library, of what runs on the card, and of the binding: all come out of one release."""
    found = {
        "library": patient.runtime.library_version,
        "firmware": state(patient, patient.runtime).firmware,
        "pyaxcl": None if patient.orders.device == "emulator" else binding_version(patient.machine),
    }
    told = ", ".join(f"{name} {version or 'unknown'}" for name, version in found.items())
    if len({release(version) for version in found.values() if version}) > 1:
        cure = "Install axclhost with its firmware, and pyAXCL, of one release, then cut the power once."
        return warning(f"{told}: they differ", cure, **found)
    return fine(told, **found)


def memory(patient: Patient) -> Finding:
    started_s = perf_counter()
    vitals = state(patient, patient.runtime)
    patient.cmm_free_bytes = vitals.cmm_free_bytes
    if vitals.cmm_bytes is None or vitals.cmm_free_bytes is None:
        return skipped("neither pyAXCL (3.10 can) nor axcl-smi tells the card's memory")
    if patient.runtime.free_bytes is None:
        patient.runtime.assume_free(vitals.cmm_free_bytes)
    seconds = perf_counter() - started_s
    told = (
        f"{vitals.cmm_free_bytes >> 20} of {vitals.cmm_bytes >> 20} MiB of CMM free, asked in {seconds:.1f} s"
    )
    numbers = {
        "cmm_bytes": vitals.cmm_bytes,
        "cmm_free_bytes": vitals.cmm_free_bytes,
        "firmware": vitals.firmware,
        "seconds": round(seconds, 3),
    }
    if vitals.cmm_free_bytes < LEAST_FREE_SHARE * vitals.cmm_bytes:
        return warning(f"{told}: somebody holds the rest", FREE_CMM, **numbers)
    return fine(told, **numbers)


def temperature(patient: Patient) -> Finding:
    vitals = state(patient, patient.runtime)
    if vitals.temperature_c is None:
        return skipped("neither pyAXCL (3.10 can) nor axcl-smi tells the temperature")
    told = f"{vitals.temperature_c:.0f} °C, NPU {vitals.npu_load:.0%}, CPU {vitals.cpu_load:.0%}"
    numbers = {
        "temperature_c": vitals.temperature_c,
        "npu_load": vitals.npu_load,
        "cpu_load": vitals.cpu_load,
    }
    if vitals.temperature_c >= HOT_C:
        return warning(f"{told}; at 120 °C the card resets itself", "Cool the card.", **numbers)
    return fine(told, **numbers)


def copies(patient: Patient) -> Finding:
    """Through the context that was bound before the card was asked for its properties."""
    if copies_agree(patient.runtime, COPY_BYTES):
        return fine(f"{COPY_BYTES >> 20} MiB up, across and down come back as they were")
    return failed(
        f"{COPY_BYTES >> 20} MiB up, across and down come back changed, or fresh memory is not zero",
        f"The link or the card's memory is at fault: check seating and power. {REBOOT}",
    )


def round_trip(patient: Patient) -> Finding:
    ms, row_ms = round_trip_ms(patient.runtime), row_copy_ms(patient.runtime)
    told = f"{ms:.3f} ms for a copy of next to nothing to the card, {row_ms:.3f} ms for one of a row on it"
    numbers = {"ms": round(ms, 4), "row_ms": round(row_ms, 4)}
    if max(ms, row_ms) > SLOW_ROUND_TRIP_MS:
        cure = "See `governor`, `interrupts` and `link`: every layer of every token waits for one."
        return warning(f"{told}; 0.1 to 0.5 ms is usual", cure, **numbers)
    return fine(told, **numbers)


def rates(patient: Patient) -> Finding:
    measured = [bandwidth(patient.runtime, size) for size in SIZES]
    best = measured[-1]
    told = (
        f"{best.up / MB:.0f} MB/s to the card, {best.down / MB:.0f} MB/s from it, "
        f"{best.across / MB:.0f} MB/s on it, in pieces of {best.size >> 20} MiB"
    )
    numbers: dict[str, list[Number]] = {
        "sizes": [each.size for each in measured],
        "up_mb_s": [round(each.up / MB, 1) for each in measured],
        "down_mb_s": [round(each.down / MB, 1) for each in measured],
        "across_mb_s": [round(each.across / MB, 1) for each in measured],
    }
    if min(best.up, best.down) < SLOW_LINK:
        cure = "See `link`; a riser, or a lane of the first generation, halves it."
        return warning(f"{told}: slow even for one lane", cure, **numbers)
    return fine(told, **numbers)


def smi(patient: Patient) -> Finding:
    """Beside this process, as beside a gateway that runs."""
    tool = patient.orders.smi
    vitals = told_by_tool(patient.runtime.device_id, tool)
    if vitals == UNKNOWN:
        return warning(
            f"{tool.name} tells nothing of this card",
            f"It is {tool} of axclhost. Without it temperature and load are unknown while axgate runs.",
        )
    assert vitals.cmm_bytes is not None
    assert vitals.cmm_free_bytes is not None
    told = f"{tool.name} tells {vitals.temperature_c:.0f} °C, {vitals.cmm_free_bytes >> 20} MiB of CMM free"
    numbers = {"temperature_c": vitals.temperature_c, "cmm_free_bytes": vitals.cmm_free_bytes}
    ours = patient.runtime.free_bytes
    if ours is not None and abs(ours - vitals.cmm_free_bytes) > NEAR_BYTES:
        found = f"{told}, by our own count {ours >> 20} MiB"
        return warning(found, f"Something else takes memory of the card. {FREE_CMM}", **numbers)
    return fine(told, **numbers)


def given_back(patient: Patient) -> Finding:
    """Everything is closed in order, and opened once more to see what is left."""
    patient.undo.close()
    if patient.cmm_free_bytes is None:
        return fine("closed in order")
    runtime = Runtime(patient.axcl, patient.orders.device_index)
    patient.undo.callback(runtime.close)
    left = state(patient, runtime).cmm_free_bytes
    patient.undo.close()
    if left is None:
        return fine("closed in order")
    if left >= patient.cmm_free_bytes - LEAK_BYTES:
        return fine("closed in order; all memory is back")
    lost = patient.cmm_free_bytes - left
    return warning(f"{lost >> 20} MiB of CMM did not come back", FREE_CMM, lost_bytes=lost)


def binding_kept(patient: Patient) -> Finding:
    """Two things that no card was asked so far, and that axgate does not rely on: whether asking for the
    card's state unbinds a thread, as the library's source says, and whether `set_device` binds another one.
    Made on a card that was opened for it alone."""
    runtime, rt = Runtime(patient.axcl, patient.orders.device_index), patient.axcl.rt
    patient.undo.callback(runtime.close)
    kept: bool | None = None
    if hasattr(rt, "get_device_properties"):
        rt.get_device_properties(runtime.device_id)
        kept = _may_allocate(rt)
        runtime.properties()  # binds this thread again
    with ThreadPoolExecutor(1) as other:
        before = other.submit(_may_allocate, rt).result()
        other.submit(rt.set_device, runtime.device_id).result()
        after = other.submit(_may_allocate, rt).result()
    still = _may_allocate(rt)
    patient.undo.close()
    numbers = {"kept_by_properties": kept, "unbound_may_allocate": before, "bound_by_set_device": after}
    asked = {None: "cannot be done", True: "leaves a thread its context", False: "takes it from a thread"}
    told = (
        f"asking for the card's state {asked[kept]}; a thread without a context may "
        f"{'' if before else 'not '}allocate, and may {'' if after else 'not '}after set_device"
    )
    if not still:
        return failed(f"{told}; the first thread lost its own meanwhile", REBOOT, **numbers)
    return fine(told, **numbers)


def _may_allocate(rt: Any) -> bool:  # noqa: ANN401 - pyAXCL has no types
    """Past the `Runtime`, which belongs to one thread."""
    address, ret = rt.malloc(TRIAL_BYTES, MALLOC_HUGE_FIRST)
    if ret == SUCCESS:
        rt.free(address)
    return bool(ret == SUCCESS)
