"""The openai package for node against a real gateway."""

import os
import subprocess
from pathlib import Path

import pytest

from gateway.demo import PICTURES
from tests.served import served

FOLDER = Path(__file__).with_name("node")


@pytest.mark.node
def test_the_openai_package_for_node_is_served() -> None:
    with served() as gateway:
        told = subprocess.run(
            ["node", "--test", str(FOLDER)],
            env=os.environ | {"BASE_URL": gateway.base_url, "PICTURES": str(PICTURES)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "# pass 15\n" in told.stdout
