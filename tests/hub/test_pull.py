"""`axgate pull`, as it is typed, from a hub on this machine."""

import resource
import signal
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download
from rich.filesize import decimal

from backends.axcl.package import open_package
from tests.hub import repositories
from tests.hub.repositories import EMBEDDINGS, FLAT, FOLDER, NAME, OLD, ORIGINAL, VISION, layers
from tests.hub.server import HubServer, Repository
from tests.hub.typed import Here, sentence

TOKENIZER = {"chat_template.jinja", "tokenizer.json", "tokenizer_config.json"}


def test_a_package_is_pulled_whole_with_nothing_else(hub: HubServer, pull: Here) -> None:
    done = pull(NAME)
    assert (done.status, done.err) == (0, f"Serve it with: axgate serve --model {NAME}\n")
    package = open_package(Path(NAME))
    assert (package.prefix, len(package.layers)) == ("qwen3_vl_text", 4)
    assert {str(file.relative_to(NAME)) for file in Path(NAME).rglob("*") if file.is_file()} == layers() | {
        "qwen3_vl_text_post.axmodel",
        EMBEDDINGS,
        VISION,
        "config.json",
        "post_config.json",
        *(f"tokenizer/{name}" for name in TOKENIZER),
    }
    for name, content in repositories.graphs().items():
        assert (Path(NAME) / name).read_bytes() == (content if name != "config.json" else b"")
    needed = layers(f"{FOLDER}/") | {
        f"{FOLDER}/qwen3_vl_text_post.axmodel",
        f"{FOLDER}/{EMBEDDINGS}",
        f"{FOLDER}/{VISION}",
        "config.json",
        "post_config.json",
        *(f"qwen3-vl-tokenizer/{name}" for name in TOKENIZER),
    }
    assert hub.fetched() == {path: [None] for path in needed}


def test_what_was_pulled_is_told(hub: HubServer, pull: Here) -> None:
    told = [[cell.strip() for cell in line.split("│")[1:-1]] for line in pull(NAME).out.splitlines()]
    size = sum(file.stat().st_size for file in Path(NAME).rglob("*") if file.is_file())
    assert [row for row in told if row] == [
        ["layers", "4 of qwen3_vl_text"],
        ["vision graph", VISION],
        ["embedding table", EMBEDDINGS],
        ["tokenizer", "tokenizer/tokenizer.json"],
        ["size", decimal(size)],
        ["from", f"{OLD} at {hub.repositories[OLD].commit}"],
    ]


def test_a_tokenizer_comes_from_the_original_model_where_the_package_has_none(
    hub: HubServer, pull: Here
) -> None:
    done = pull("qwen3-vl-2b-int4", "--to", "models/small")
    assert done.status == 0, done.err
    package = open_package(Path("models/small"))
    assert package.vision == Path("models/small") / VISION
    assert {file.name for file in package.tokenizer.iterdir()} == TOKENIZER
    assert f"{ORIGINAL} at {hub.repositories[ORIGINAL].commit}" in done.out
    assert not {"model.safetensors", "qwen3_tokenizer.txt"} & hub.fetched().keys()


def test_pulling_again_checks_what_is_there_and_fetches_nothing(hub: HubServer, pull: Here) -> None:
    pull(NAME)
    hub.requests.clear()
    assert pull(NAME).status == 0
    assert hub.fetched() == {}


# --- connections that break

BIG = bytes(range(256)) * 100_000
"""Longer than the 10 MB that huggingface-hub writes at a time."""


@pytest.fixture
def big(hub: HubServer) -> str:
    """The path of a large file in the package."""
    path = f"{FOLDER}/{EMBEDDINGS}"
    hub.repositories[OLD].files[path] = BIG
    return path


def test_an_interrupted_pull_goes_on_where_it_was(hub: HubServer, pull: Here, big: str) -> None:
    hub.repositories[OLD].cuts[big] = 20_000_000
    assert f"{big} of {OLD}" in sentence(pull(NAME))
    assert not (Path(NAME) / EMBEDDINGS).exists()
    finished = {path for path in hub.fetched() if path != big}
    (begun,) = (each for each in (Path(NAME) / ".pull").iterdir() if each.name != "lock")
    there = begun.stat().st_size
    assert there >= 10_000_000
    hub.repositories[OLD].cuts.clear()
    hub.requests.clear()
    assert pull(NAME).status == 0
    again = hub.fetched()
    assert again.pop(big) == [f"bytes={there}-"]
    assert not finished & again.keys()
    assert (Path(NAME) / EMBEDDINGS).read_bytes() == BIG
    assert not (Path(NAME) / ".pull").exists()


def test_what_was_begun_of_other_content_is_not_gone_on_with(hub: HubServer, pull: Here, big: str) -> None:
    hub.repositories[OLD].cuts[big] = 20_000_000
    pull(NAME)
    hub.repositories[OLD].cuts.clear()
    hub.repositories[OLD].files[big] = BIG[::-1]
    hub.requests.clear()
    assert pull(NAME).status == 0
    assert hub.fetched()[big] == [None]
    assert (Path(NAME) / EMBEDDINGS).read_bytes() == BIG[::-1]


# --- content that is wrong


@pytest.mark.parametrize("path", [f"{FOLDER}/{VISION}", "post_config.json"])
def test_a_corrupted_file_is_removed_and_named(hub: HubServer, pull: Here, path: str) -> None:
    good = hub.repositories[OLD].files[path]
    hub.repositories[OLD].sent[path] = bad = good[:-1] + bytes([good[-1] ^ 1])
    told = sentence(pull(NAME))
    assert told.startswith(f"axgate: {path} of {OLD} came with the ")
    assert told.endswith("; what was fetched of it is removed.")
    assert not [file for file in Path(NAME).rglob("*") if file.is_file() and file.read_bytes() == bad]
    hub.repositories[OLD].sent.clear()
    assert pull(NAME).status == 0


def test_a_file_of_another_size_is_told(hub: HubServer, pull: Here) -> None:
    hub.repositories[OLD].sent["post_config.json"] = b"{} "
    told = sentence(pull(NAME))
    assert told == (
        f"axgate: post_config.json of {OLD} goes on behind the 2 bytes that the hub lists; "
        "what was fetched of it is removed."
    )
    assert [each.name for each in (Path(NAME) / ".pull").iterdir()] == ["lock"]
    hub.repositories[OLD].sent["post_config.json"] = b"{"
    assert sentence(pull(NAME)) == (
        f"axgate: post_config.json of {OLD} came with 1 bytes, and the hub lists 2; "
        "what was fetched of it is removed."
    )


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


@pytest.mark.parametrize("listed", [True, False])
def test_a_pointer_is_not_taken_for_the_file(hub: HubServer, pull: Here, listed: bool) -> None:
    """Whether a mirror sends it instead, or somebody pushed it."""
    path = f"{FOLDER}/{VISION}"
    (hub.repositories[OLD].files if listed else hub.repositories[OLD].sent)[path] = POINTER
    assert sentence(pull(NAME)) == (
        f"axgate: {path} of {OLD} is a Git LFS pointer, not the file itself; what was fetched of it is "
        "removed."
    )


def test_another_file_in_the_place_of_one_is_left_alone(hub: HubServer, pull: Here) -> None:
    mine = Path(NAME) / "config.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    told = sentence(pull(NAME))
    assert told == (
        f"axgate: {mine} is already there and is not the config.json of {OLD} at commit "
        f"{hub.repositories[OLD].commit[:7]}; remove it, or choose another place with --to."
    )
    assert mine.read_text() == "mine"
    assert hub.fetched() == {}


def test_another_package_in_the_folder_is_left_alone(hub: HubServer, pull: Here) -> None:
    assert pull("qwen3-vl-2b-int4").status == 0
    Path("qwen3-vl-2b-int4/other_l0.axmodel").touch()
    assert sentence(pull("qwen3-vl-2b-int4")) == (
        "axgate: qwen3-vl-2b-int4 holds other_l0.axmodel, which is no part of this package; choose another "
        "place with --to."
    )


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer/generation_config.json", "model.embed_tokens.weight.npy"]
)
def test_a_folder_with_parts_of_another_model_is_left_alone(hub: HubServer, pull: Here, name: str) -> None:
    (Path(NAME) / "tokenizer").mkdir(parents=True)
    (Path(NAME) / name).write_text("{}")
    assert sentence(pull(NAME)) == (
        f"axgate: {NAME} holds {name}, which is no part of this package; choose another place with --to."
    )
    assert hub.fetched() == {}


def test_two_do_not_fetch_into_one_folder_at_once(hub: HubServer, pull: Here) -> None:
    (Path(NAME) / ".pull").mkdir(parents=True)
    with (Path(NAME) / ".pull" / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        assert sentence(pull(NAME)) == f"axgate: Another axgate fetches into {NAME}; wait until it is done."
    assert hub.fetched() == {}
    assert pull(NAME).status == 0


def test_what_a_hub_calls_a_checksum_is_no_path(hub: HubServer, pull: Here, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for bad in (str(mine), "../../mine", "", "0" * 39 + "\n"):
        hub.repositories[OLD].listed_sums["post_config.json"] = bad
        assert sentence(pull(NAME)) == (
            f"axgate: {hub.url} does not tell commit, size and checksum of the files of {OLD}."
        )
    assert mine.read_text() == "mine"
    assert hub.fetched() == {}


def test_a_file_whose_name_a_terminal_would_obey_is_not_taken(hub: HubServer, pull: Here) -> None:
    for name in ("\x1b[2J_vision.axmodel", "a\0_vision.axmodel", "\u202e_vision.axmodel"):
        hub.repositories[OLD].files[f"{FOLDER}/{name}"] = b"x"
    done = pull(NAME)
    assert (done.status, "\x1b" in done.out + done.err) == (0, False)
    assert open_package(Path(NAME)).vision == Path(NAME) / VISION


@pytest.mark.parametrize("folder", ["../..", "{here}/out", "x/../../.."])
def test_no_name_of_a_file_leads_out_of_the_folder(hub: HubServer, pull: Here, folder: str) -> None:
    package = repositories.graphs() | repositories.tokenizer()
    inside = folder.format(here=Path().absolute())
    hub.repositories["a/b"] = Repository({f"{inside}/{name}": each for name, each in package.items()})
    pull("a/b", "--to", "deep/er/package")  # whether it is had depends on who makes its address
    there = {path.parent for path in Path().rglob("*") if path.is_file()}
    assert there <= {
        Path("deep/er/package"),
        Path("deep/er/package/tokenizer"),
        Path("deep/er/package/.pull"),
    }


def test_a_full_disk_is_told_and_what_was_begun_waits(hub: HubServer, pull: Here, big: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000_000, limits[1]))
    try:
        done = pull(NAME)  # whose hub complains of the connection, too
        assert (done.status, "axgate: [Errno 27] File too large\n" in done.err) == (2, True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert pull(NAME).status == 0
    assert (Path(NAME) / EMBEDDINGS).read_bytes() == BIG


def test_a_disk_too_small_is_told_before_the_first_byte(hub: HubServer, pull: Here) -> None:
    hub.repositories[OLD].listed_sizes[f"{FOLDER}/{VISION}"] = 10**18
    told = sentence(pull(NAME))
    assert told.startswith(f"axgate: 1.0 EB are still to be fetched into {NAME}, and its disk has ")
    assert told.endswith(" free; make room, or choose another place with --to.")
    assert hub.fetched() == {}
    assert not Path(NAME).exists()


def test_the_server_of_these_tests_is_one_that_the_library_knows(hub: HubServer, tmp_path: Path) -> None:
    snapshot_download(FLAT, local_dir=tmp_path / "all")
    assert (tmp_path / "all" / VISION).read_bytes() == repositories.graphs()[VISION]
