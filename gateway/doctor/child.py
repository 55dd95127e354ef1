"""The process in which the checks are made, because each of them may hang or crash.

`python -m gateway.doctor.child FD` reads Orders from FD, and says of each check that it begins and what it
found.
"""

import logging
import os
import sys
import traceback
from multiprocessing.connection import Connection
from time import perf_counter

from backends.axcl.cures import Host, cures
from backends.base import DeviceError, PackageError
from gateway.doctor.checks import CHECKS, MODEL_CHECKS, STRESS_CHECKS, Check
from gateway.doctor.finding import Finding, failed, skipped
from gateway.doctor.messages import Begun, Done
from gateway.doctor.patient import Orders, Patient

CURE = (
    "The first check that failed explains the later ones. If none did before this one: axcl-smi reboot, then "
    "modprobe -r axcl_host && modprobe axcl_host, then a power cycle."
)


def main(descriptor: int) -> None:
    connection = Connection(descriptor)
    logging.disable()  # what cannot be done is told by the finding
    orders: Orders = connection.recv()
    patient = Patient(orders)
    broken: set[str] = set()
    for check in CHECKS:
        connection.send(Begun(check.name))
        started_s = perf_counter()
        finding = _reason_to_skip(check, orders, broken) or _made(check, patient)
        if finding.status == "failed" or (finding.status == "skipped" and broken.intersection(check.needs)):
            broken.add(check.name)
        connection.send(Done(check.name, finding, perf_counter() - started_s))
    connection.close()


def _reason_to_skip(check: Check, orders: Orders, broken: set[str]) -> Finding | None:
    if check.card_only and orders.device == "emulator":
        return skipped("the emulated card needs none")
    missing = [name for name in check.needs if name in broken]
    if missing:
        return skipped(f"`{missing[0]}` found nothing to go on")
    if check.name in MODEL_CHECKS and orders.model is None:
        return skipped("no model was given (--model DIR)")
    if check.name in STRESS_CHECKS and not orders.stress:
        return skipped("made with --stress only")
    return None


def _made(check: Check, patient: Patient) -> Finding:
    try:
        return check.run(patient)
    except DeviceError as reason:
        return failed(str(reason), " ".join(cures(reason, Host.look())) or CURE, code=f"0x{reason.code:08X}")
    except PackageError as reason:
        return failed(str(reason), "axgate inspect DIR tells what a package holds.")
    except Exception as reason:  # a check that breaks says as much about the machine as one that fails
        where = traceback.extract_tb(reason.__traceback__)[-1]
        told = f"{type(reason).__name__} in {os.path.basename(where.filename)}:{where.lineno}: {reason}"
        return failed(told, "This check could not be made; tell us in an issue, with this report.")


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    main(int(sys.argv[1]))
