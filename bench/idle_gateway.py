"""`axgate` whose workers do nothing (idle_worker.py), and which tells where its time goes (profile.py).

PROFILE=FILE python -m bench.idle_gateway serve …
"""

import os
import sys
from pathlib import Path

import gateway.engine.process
from bench.profile import Profile
from gateway.cli import main

if __name__ == "__main__":
    vars(gateway.engine.process)["WORKER"] = "bench.idle_worker"
    Profile(Path(os.environ["PROFILE"]))
    sys.exit(main())
