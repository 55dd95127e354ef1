"""What `axgate pull` does not fetch, or not without being told which, and what it says then."""

from pathlib import Path

import pytest
from rich.filesize import decimal

from tests.hub import repositories
from tests.hub.repositories import NAME, OLD, ORIGINAL, VISION, layers
from tests.hub.server import HubServer, Repository
from tests.hub.typed import Here, sentence


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "qwen3-vl-2",
            "There is no package qwen3-vl-2. Did you mean qwen3-vl-2b or qwen3-vl-8b or qwen3-vl-4b? "
            "(Any repository can be pulled as OWNER/NAME.)",
        ),
        (
            "llama",
            "There is no package llama. `axgate models --available` lists all. "
            "(Any repository can be pulled as OWNER/NAME.)",
        ),
        (
            "qwen3.5-0.8b",
            "qwen3.5-0.8b cannot be served: its layers keep a state of linear attention beside K and V. "
            "To have its files all the same: axgate pull AXERA-TECH/Qwen3.5-0.8B-AX650-C128-P1152-CTX2047",
        ),
        ("a/b/c", "a/b/c is not the name of a repository, which is OWNER/NAME."),
    ],
)
def test_a_name_that_is_none_is_told(hub: HubServer, pull: Here, name: str, message: str) -> None:
    assert sentence(pull(name)) == f"axgate: {message}"
    assert hub.requests == []


def test_a_repository_that_is_not_there_is_told(hub: HubServer, pull: Here) -> None:
    assert sentence(pull("no/such")) == (
        f"axgate: There is no repository no/such at {hub.url}, or it is private: then log in with "
        "`hf auth login` or set HF_TOKEN."
    )


def test_a_revision_that_is_not_there_is_told(hub: HubServer, pull: Here) -> None:
    assert sentence(pull(NAME, "--revision", "v9")) == f"axgate: {OLD} has no such revision."


def test_a_revision_is_pulled(hub: HubServer, pull: Here) -> None:
    assert pull(NAME, "--revision", hub.repositories[OLD].commit).status == 0


def test_a_gated_repository_is_told(hub: HubServer, pull: Here) -> None:
    hub.repositories[OLD].gated = True
    assert sentence(pull(NAME)) == (
        f"axgate: {OLD} is gated: accept its terms at {hub.url}/{OLD} and log in with `hf auth login` or set "
        "HF_TOKEN."
    )


def test_a_private_repository_is_pulled_with_the_token_which_no_other_host_sees(
    hub: HubServer, pull: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[OLD].token = "hf_secret"
    assert "or it is private" in sentence(pull(NAME))
    hub.requests.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert pull(NAME).status == 0
    own = hub.url.removeprefix("http://")
    assert {(request.host == own, request.authorization) for request in hub.requests} == {
        (True, "Bearer hf_secret"),
        (False, None),
    }


def test_a_hub_that_does_not_answer_is_told(
    hub: HubServer, pull: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    told = sentence(pull(NAME))
    assert told.startswith(f"axgate: The files of {OLD} cannot be had from http://127.0.0.1:9: ")
    assert "onnection refused" in told


def test_a_hub_that_may_not_be_asked_is_told(
    hub: HubServer, pull: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert sentence(pull(NAME)) == (
        f"axgate: HF_HUB_OFFLINE is set, so the files of {OLD} cannot be fetched."
    )


def test_a_package_of_another_chip_is_refused(hub: HubServer, pull: Here) -> None:
    hub.repositories[OLD].files = repositories.old("Qwen3-VL-2B-Instruct-AX630C-c64_p192-Int4")
    assert sentence(pull(NAME)) == (f"axgate: {OLD} is compiled for AX630C, which an AX650N cannot run.")
    assert hub.fetched() == {}


def test_of_several_packages_the_one_for_the_card_is_taken_or_asked_for(hub: HubServer, pull: Here) -> None:
    other_chip = {f"smol-ax630c/{name}": content for name, content in repositories.graphs().items()}
    hub.repositories["a/b"] = Repository(repositories.old("smol-ax650") | other_chip)
    assert pull("a/b", "--to", "one").status == 0
    assert not [path for path in hub.fetched() if "ax630c" in path]
    longer = {f"smol-ax650-ctx4095/{name}": content for name, content in repositories.graphs().items()}
    hub.repositories["a/b"].files |= longer
    size = sum(map(len, longer.values()))
    both = f"smol-ax650 ({decimal(size - len(repositories.graphs()['config.json']))}), "
    both += f"smol-ax650-ctx4095 ({decimal(size)})"
    told = sentence(pull("a/b", "--to", "two"))
    assert told == (f"axgate: a/b holds several packages; choose one with --folder: {both}.")
    hub.requests.clear()
    assert pull("a/b", "--to", "two", "--folder", "smol-ax650-ctx4095/").status == 0
    assert layers("smol-ax650-ctx4095/") <= hub.fetched().keys()
    assert sentence(pull("a/b", "--to", "three", "--folder", "smol-ax630c")) == (
        f"axgate: a/b holds no layer graphs for an AX650N in smol-ax630c; it does in: {both}."
    )


def test_parts_are_chosen_by_option(hub: HubServer, pull: Here) -> None:
    hub.repositories["a/b"] = Repository(repositories.flat())
    wide, u8 = (VISION.replace("vision", f"vision_{kind}") for kind in ("640x640", "u8"))
    size = decimal(len(repositories.graphs()[VISION]))
    assert sentence(pull("a/b")) == (
        "axgate: a/b holds several vision graphs; choose one with --vision: "
        f"{VISION} ({size}), {wide} (7 bytes), {u8} (7 bytes)."
    )
    assert sentence(pull("a/b", "--vision", u8)) == (
        "axgate: a/b holds no tokenizer.json; name the repository of the original model with --tokenizer, "
        "such as Qwen/Qwen3-4B."
    )
    assert pull("a/b", "--vision", u8, "--tokenizer", ORIGINAL).status == 0
    assert (Path("b") / u8).read_bytes() == b"another"
