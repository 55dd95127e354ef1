"""A process that is to die on the card: at its work, or with all of the card's memory in its hands.

`python -m gateway.doctor.victim FD` reads Deed from FD and says there what it did, or why it could not.
"""

import logging
import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from backends.axcl.measure import copies_agree, execute
from backends.axcl.package import open_package
from backends.base import DeviceError, DeviceMemoryError, PackageError
from backends.emulator import Emulator
from gateway.doctor import card
from gateway.doctor.messages import Deed, Filled, Refused, Worked
from gateway.doctor.patient import Patient

WORK_BYTES = 1 << 20
PIECE_BYTES = 64 << 20
EMULATED_BYTES = 256 << 20
"""Of the emulated card that is filled: its memory is that of the host."""


def main(descriptor: int) -> None:
    connection = Connection(descriptor)
    logging.disable()
    deed: Deed = connection.recv()
    patient = Patient(deed.orders)
    with suppress(BrokenPipeError):  # whoever wanted to see it is gone
        try:
            if (found := card.binding(patient)).status != "ok":
                connection.send(Refused(found.found))
                return
            if deed.kind == "fill":
                _fill(connection, patient)
            else:
                _work(connection, patient)
        except (DeviceError, PackageError) as reason:
            connection.send(Refused(str(reason)))
    os._exit(0)  # nothing is given back in order: that is the point


def _work(connection: Connection, patient: Patient) -> None:
    """For ever: one layer of the model, or copies where there is none."""
    card.opened(patient)
    model = patient.orders.model
    layer = open_package(model).layers[0] if model else None
    while True:
        if layer:
            execute(patient.runtime, layer)
        else:
            copies_agree(patient.runtime, WORK_BYTES)
        connection.send(Worked())


def _fill(connection: Connection, patient: Patient) -> None:
    if patient.orders.device == "emulator":
        patient.axcl = Emulator(cmm_bytes=EMULATED_BYTES)
    card.opened(patient)
    num_bytes = 0
    while True:
        try:
            patient.runtime.malloc(PIECE_BYTES)
        except DeviceMemoryError as reason:
            connection.send(Filled(num_bytes, str(reason)))
            return
        num_bytes += PIECE_BYTES


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    main(int(sys.argv[1]))
