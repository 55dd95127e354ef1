import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from gateway.cli import main
from tests.hub.repositories import repositories
from tests.hub.server import HubServer, hub_server
from tests.hub.typed import Done, Here


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that huggingface-hub takes for its own, a working directory, and nobody logged in."""
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.chdir(tmp_path)
    with hub_server(repositories()) as server:
        # What the library makes of HF_ENDPOINT when it is imported; test_process.py sets the variable itself.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        yield server
        close_session()


@pytest.fixture
def pull(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Done:
        status = main(("pull", *arguments))
        return Done(status, *capsys.readouterr())

    return call
