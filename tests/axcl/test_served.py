"""Packages of other builds, served over HTTP as a user starts them."""

from pathlib import Path

import httpx
from PIL import Image

from backends.axcl.package import open_package
from backends.export import ExportOptions, export_package
from gateway.demo import CHECKPOINT
from tests.axcl.edits import Groups, regrouped, tensor
from tests.packages import no_progress
from tests.served import Gateway, served, user

QUESTION = "Who are you?"
COLOUR = "What colour is the background?"


def asked(gateway: Gateway, *pictures: Image.Image) -> httpx.Response:
    body = {"model": "package", "messages": [user(QUESTION, *pictures)], "temperature": 0}
    return httpx.post(f"{gateway.base_url}/chat/completions", json=body, timeout=30)


def decode_only(folder: Path, index_rows: int) -> Path:
    options = ExportOptions(kv_cache_len=255, prefill_len=64, histories=(64,))
    export_package(CHECKPOINT, folder, options, no_progress)

    def change(groups: Groups) -> None:
        del groups[1:]
        tensor(groups[0], "indices")["shape"] = [index_rows, 1]

    for layer in open_package(folder).layers:
        regrouped(layer, change)
    return folder


def test_a_decode_only_package_answers_and_says_why_it_sees_no_pictures(tmp_path: Path) -> None:
    folder = decode_only(tmp_path / "package", 1)
    with served("--device", "emulator", "--model", str(folder)) as gateway:
        told = httpx.get(f"{gateway.base_url.removesuffix('/v1')}/health").json()["engines"]["package"][
            "kv_write"
        ]
        assert (told["chosen"], [each["agrees"] for each in told["trials"]]) == ("direct", [True] * 3)
        answer = asked(gateway).json()["choices"][0]["message"]["content"]
        assert "tiny vision language model" in answer
        refused = asked(gateway, Image.new("RGB", (96, 96), "red"))
        assert refused.status_code == 400
        assert "compiled with one row of positions" in refused.json()["error"]["message"]
        assert asked(gateway).json()["choices"][0]["message"]["content"] == answer


def test_a_decode_only_package_with_three_index_rows_sees_pictures(tmp_path: Path) -> None:
    """One and then the next turn, whose picture stands behind rows that are kept."""
    folder = decode_only(tmp_path / "package", 3)
    with served("--device", "emulator", "--model", str(folder)) as gateway:
        messages = []
        for colour in ("red", "blue"):
            messages.append(user(COLOUR, Image.new("RGB", (96, 96), colour)))
            body = {"model": "package", "messages": messages, "temperature": 0}
            answer = httpx.post(f"{gateway.base_url}/chat/completions", json=body, timeout=60)
            assert answer.status_code == 200, answer.text
            told = answer.json()["choices"][0]["message"]
            assert colour in told["content"].lower()
            messages.append(told)
        assert answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 40
