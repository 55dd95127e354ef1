"""The process that works with the card for `axgate inspect --device`, because any call may hang or crash.

`python -m gateway.inspection.child FD` reads Orders from FD, says what comes next, and answers with the
report or the error.
"""

import logging
import os
import sys
from multiprocessing.connection import Connection

from backends.base import DeviceError, PackageError
from gateway.inspection.messages import Begun, Orders
from gateway.inspection.report import inspected_on
from gateway.settings import SettingsError
from gateway.vision.registry import RegistryError


def main(descriptor: int) -> None:
    connection = Connection(descriptor)
    logging.disable()  # what cannot be done is told by the error
    orders: Orders = connection.recv()
    try:
        answer: object = inspected_on(
            orders.folder,
            orders.device_index,
            lambda work, deadline_s: connection.send(Begun(work, deadline_s)),
        )
    except (PackageError, DeviceError, RegistryError, SettingsError, OSError) as error:
        answer = error
    connection.send(answer)
    connection.close()


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    main(int(sys.argv[1]))
