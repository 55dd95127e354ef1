"""`axgate pull` in a process of its own: what the environment sets, and what a terminal sees."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from tests.hub.repositories import NAME, OLD
from tests.hub.server import HubServer

TIMEOUT_S = 60


def environment(hub: HubServer) -> dict[str, str]:
    return {**os.environ, "HF_ENDPOINT": hub.url, "PYTHONWARNINGS": "error", "COLUMNS": "120"}


COMMAND = [sys.executable, "-m", "gateway", "pull", NAME]


def test_mirror_and_token_come_from_the_environment(hub: HubServer) -> None:
    hub.repositories[OLD].token = "hf_secret"
    done = subprocess.run(
        COMMAND,
        env=environment(hub) | {"HF_TOKEN": "hf_secret"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, f"Serve it with: axgate serve --model {NAME}\n")
    assert "\x1b" not in done.stdout
    assert Path(NAME).is_dir()


def test_a_terminal_sees_how_far_it_is(hub: HubServer) -> None:
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours, "rb"),
        subprocess.Popen(
            COMMAND,
            env=environment(hub) | {"TERM": "xterm"},
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        os.close(theirs)
        _, told = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert re.search(r"([\d.]+)/\1 MB", told)
