"""What a card makes of processes that die on it. Not made unless asked for: a driver may take it badly."""

import subprocess
from time import perf_counter

from backends.axcl.rt import Runtime
from gateway.aside import aside
from gateway.doctor.card import FREE_CMM, LEAK_BYTES, REBOOT, state
from gateway.doctor.finding import Finding, Number, failed, fine, warning
from gateway.doctor.messages import Deed, Filled, Refused, Worked
from gateway.doctor.patient import Patient

VICTIM = "gateway.doctor.victim"
NUM_KILLS = 20
VICTIM_S = 60.0
"""A process starts, opens the card, and works or takes all memory."""
DYING_S = 10.0

Said = Worked | Filled | Refused | None


def kills(patient: Patient) -> Finding:
    """Each is killed in the midst of its work, and the next one started at once."""
    seconds: list[float] = []
    for count in range(1, NUM_KILLS + 1):
        started_s = perf_counter()
        said, died = _victim(Deed(patient.orders, "work"))
        if not isinstance(said, Worked) or not died:
            told = _told(said) if died else "the process cannot be killed: it sleeps in the driver"
            return failed(f"process {count} of {NUM_KILLS}: {told}", REBOOT, num_killed=count - 1)
        seconds.append(round(perf_counter() - started_s, 3))
    told = f"{NUM_KILLS} processes were killed at their work; the next one worked within {max(seconds):.1f} s"
    return _memory_back(patient, told, seconds=[*seconds], num_killed=NUM_KILLS)


def fill(patient: Patient) -> Finding:
    """A process takes all memory there is, and ends without giving it back."""
    said, died = _victim(Deed(patient.orders, "fill"))
    if not isinstance(said, Filled) or not died:
        told = _told(said) if died else "the process cannot be ended: it sleeps in the driver"
        return failed(told, REBOOT)
    told = f"after {said.num_bytes >> 20} MiB there was no more ({said.words})"
    return _memory_back(patient, told, num_bytes=said.num_bytes, words=said.words)


def _victim(deed: Deed) -> tuple[Said, bool]:
    """What it said first, None where it hangs or was gone before; and whether it is gone now."""
    said: Said = None
    with open(2, "wb", closefd=False) as printed, aside(VICTIM, deed, printed) as (connection, process):
        try:
            if connection.poll(VICTIM_S):
                said = connection.recv()
        except (EOFError, ConnectionError):
            pass
        process.kill()
        try:
            process.wait(DYING_S)
        except subprocess.TimeoutExpired:
            return said, False
    return said, True


def _told(said: Said) -> str:
    return said.words if isinstance(said, Refused) else f"hung or crashed within {VICTIM_S:g} s"


def _memory_back(patient: Patient, told: str, **numbers: Number | list[Number]) -> Finding:
    """Opens the card once more."""
    runtime = Runtime(patient.axcl, patient.orders.device_index)
    left = state(patient, runtime).cmm_free_bytes
    runtime.close()
    if left is None or patient.cmm_free_bytes is None:
        return fine(f"{told}; the card can be opened again", **numbers)
    lost = patient.cmm_free_bytes - left
    if lost > LEAK_BYTES:
        return warning(f"{told}; {lost >> 20} MiB of CMM did not come back", FREE_CMM, **numbers)
    return fine(f"{told}; all memory is back", **numbers)
