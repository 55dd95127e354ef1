"""Standard output stays clean, whatever the card's libraries print: who opens a card has another one."""

import json
import subprocess
import sys
from pathlib import Path

from tests.axcl.binding import fake_pyaxcl
from tests.packages import text_package

SAID = ("json file: not found", "[I][axclInit]", "buffered by C")
SERVING = """
import asyncio, dataclasses
from pathlib import Path
from gateway.engine.client import EngineClient
from tests.engine.test_client import config

async def main():
    told = config(Path({folder!r}))
    client = EngineClient(told)
    await client.load(dataclasses.replace(told.place, device="card"))
    print(client.info.device)
    await client.close()

asyncio.run(main())
"""


def ran(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=fake_pyaxcl(folder), capture_output=True, text=True, check=False
    )


def test_a_worker_prints_on_standard_error(tmp_path: Path) -> None:
    done = ran(tmp_path, "-c", SERVING.format(folder=str(text_package().folder)))
    assert (done.returncode, done.stdout) == (0, "card\n"), done.stderr
    assert all(said in done.stderr for said in SAID)


def test_what_is_inspected_with_a_card_is_one_json_object(tmp_path: Path) -> None:
    folder = str(text_package().folder)
    done = ran(tmp_path, "-m", "gateway", "inspect", folder, "--device", "1", "--json")
    assert json.loads(done.stdout)["language_model"]["num_layers"] == 3, done.stderr
