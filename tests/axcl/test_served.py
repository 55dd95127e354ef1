"""Packages of other builds, served over HTTP as a user starts them."""

from pathlib import Path

import httpx
from PIL import Image

from backends.axcl.package import open_package
from backends.export import ExportOptions, export_package
from gateway.demo import CHECKPOINT
from tests.axcl.edits import regrouped
from tests.packages import no_progress
from tests.served import Gateway, served, user

QUESTION = "Who are you?"


def asked(gateway: Gateway, *pictures: Image.Image) -> httpx.Response:
    body = {"model": "package", "messages": [user(QUESTION, *pictures)], "temperature": 0}
    return httpx.post(f"{gateway.base_url}/chat/completions", json=body, timeout=30)


def test_a_decode_only_package_answers_and_says_why_it_sees_no_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    options = ExportOptions(kv_cache_len=255, prefill_len=64, histories=(64,))
    export_package(CHECKPOINT, folder, options, no_progress)
    for layer in open_package(folder).layers:
        regrouped(layer, lambda groups: groups.__delitem__(slice(1, None)))
    with served("--device", "emulator", "--model", str(folder)) as gateway:
        answer = asked(gateway).json()["choices"][0]["message"]["content"]
        assert "tiny vision language model" in answer
        refused = asked(gateway, Image.new("RGB", (96, 96), "red"))
        assert refused.status_code == 400
        assert "compiled with one row of positions" in refused.json()["error"]["message"]
        assert asked(gateway).json()["choices"][0]["message"]["content"] == answer
