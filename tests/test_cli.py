"""The command, as it is typed, on the demo model."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from io import StringIO
from pathlib import Path
from threading import Timer

import pytest

from gateway import __version__
from gateway.cli import main
from gateway.demo import CHECKPOINT, CHECKPOINTS, MODEL_NAME, PICTURES
from gateway.demo.tour import QUESTIONS
from gateway.settings import Settings
from tests.served import served
from training.demo_pictures import demo_scenes
from training.shape_questions import describe
from training.text_questions import written

TIMEOUT_S = 60
SMALL = ("--kv-cache-len", "255", "--prefill-len", "64", "--histories", "64", "128")


@cache
def environment() -> dict[str, str]:
    """Without settings from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AXGATE_")}
    return kept | {"COLUMNS": "200", "PYTHONWARNINGS": "error"}


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str


def axgate(*arguments: str) -> Done:
    """In a process of its own, for what serves and logs."""
    command = [sys.executable, "-m", "gateway", *arguments]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


Here = Callable[..., Done]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """The same in this process, with what a person types in."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str, typed: str = "") -> Done:
        monkeypatch.setattr("sys.stdin", StringIO(typed))
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        return Done(status, *capsys.readouterr())

    return call


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        env=environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    hanging = Timer(TIMEOUT_S, process.kill)
    hanging.start()
    try:
        yield process
    finally:
        hanging.cancel()
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """The output up to the line that completes `pattern`."""
    assert process.stdout is not None
    output = ""
    while not re.search(pattern, output):
        line = process.stdout.readline()
        assert line, f"it ended before {pattern!r}:\n{output}"
        output += line
    return output


@contextmanager
def server(*options: str) -> Iterator[str]:
    """A running `axgate serve`; its base URL."""
    with running("serve", "--port", "0", *options) as process:
        yield read_until(process, r"url=\S+").rsplit("url=", 1)[1].strip()


def test_the_version_is_that_of_the_distribution(here: Here) -> None:
    assert here("--version") == Done(0, f"axgate {__version__}\n", "")


def test_help_names_every_command_and_serve_every_setting(here: Here) -> None:
    commands = re.findall(r"^    (\w+) ", here("--help").out, re.MULTILINE)
    assert commands == ["serve", "demo", "chat", "models", "inspect", "doctor", "export", "recipe", "pull"]
    assert [here(command, "--help").status for command in commands] == [0] * len(commands)
    options = re.findall(r"^  --([\w-]+)", here("serve", "--help").out, re.MULTILINE)
    assert options == [name.replace("_", "-") for name in Settings.model_fields]


def test_python_dash_m_gateway_is_the_same_command(here: Here) -> None:
    assert axgate("--version") == here("--version")


def test_the_demo_answers_every_question_right_and_leaves() -> None:
    done = axgate("demo", "--once", "--port", "0")
    assert (done.status, done.err) == (0, "")
    told = done.out
    asked = [(m, q) for m in CHECKPOINTS for q in QUESTIONS if m == MODEL_NAME or not q.hard]
    for model, question in asked:
        assert f"\n{model}\n" in done.out
        _, _, told = told.partition(question.text)
        assert told.split("\n")[1].strip() == question.answer
    assert "✗" not in done.out
    assert len(re.findall(r"first token after \d+ ms", done.out)) == len(asked)
    assert re.search(r"\d+ tokens/s", done.out)


def test_a_demo_that_answers_wrong_says_so(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (replace(QUESTIONS[2], answer="TEA"), QUESTIONS[3])
    monkeypatch.setattr("gateway.demo.tour.QUESTIONS", asked)
    done = here("demo", "--once", "--port", "0")
    assert done.status == 1
    assert done.out.count("✗ right would be: TEA") == len(CHECKPOINTS)


def test_the_answers_of_the_demo_are_what_its_pictures_show() -> None:
    scenes = demo_scenes()
    shapes, word = scenes["shapes.png"], scenes["word.png"]
    same = "yes" if shapes.background == word.background else "no"
    (corner,) = [f"a {thing.name}" for thing in shapes.things if thing.place == "top left"]
    shown = [describe(shapes), written(word).text, corner, same]
    assert [question.answer for question in QUESTIONS] == shown


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_what_the_demo_prints_works_as_pasted() -> None:
    with running("demo", "--port", "0") as process:
        output = read_until(process, r"(?s)END\n.*END\n.*END\n")
        curl, python = re.findall(r"(?ms)^((?:curl|python3) .*?^END$)", output)
        streamed = pasted(curl)
        told = pasted(python.replace("python3 ", f"{sys.executable} ", 1))
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
    assert streamed.endswith("data: [DONE]\n\n")
    assert "background" in told


def pasted(snippet: str) -> str:
    command = ["bash", "-c", snippet]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout


def test_a_served_model_is_listed_and_talked_to(here: Here) -> None:
    picture = PICTURES / "shapes.png"
    question = "What is in this image?"
    with server() as url:
        models = here("models", "--url", url)
        typed = f"{question}\n/help\n/image {picture}\n/image\n/image nope.png\n{question}\n/quit\nHi\n"
        chat = here("chat", "--url", url, typed=typed)
        no_model = here("chat", "--url", url, "--model", "nope", typed=question)
        no_v1 = here("models", "--url", url.removesuffix("/v1"))
        first = here("chat", "--url", url, "--image", str(picture), typed=question)
    assert (models.status, models.err) == (0, "")
    assert re.findall(r"(\S+) +│ loaded +│", models.out) == list(CHECKPOINTS)
    assert re.findall(r"\w+_\w+", models.out) == len(CHECKPOINTS) * [
        "context_length",
        "min_tokens_per_image",
        "max_tokens_per_image",
        "max_body_bytes",
        "max_image_bytes",
        "max_image_pixels",
        "max_video_bytes",
        "max_video_seconds",
        "max_images",
        "max_videos",
        "max_video_frames",
        "image_reach",
        "max_messages",
        "max_parts",
        "max_tools",
        "max_choices",
    ]
    assert re.search(rf"{MODEL_NAME} +│ loaded +│ yes", models.out)
    assert (chat.status, chat.err) == (0, "")
    assert chat.out.count("first token after") == 2
    assert re.search(r"\([1-9]\d* cached\)", chat.out)
    assert "Cannot read the picture nope.png: No such file or directory." in chat.out
    assert chat.out.count("/image PATH adds a picture") == 3  # at the beginning, for /help and /image
    assert "background" in chat.out.split("nope.png")[1]
    assert (
        sentence(no_model) == f"axgate: There is no model nope on this server, only {', '.join(CHECKPOINTS)}."
    )
    assert sentence(no_v1) == (f"axgate: There is no GET /models here. Did you mean {url}?")
    assert "background" in first.out


def test_a_server_ends_on_sigterm_with_status_0() -> None:
    with running("serve", "--port", "0", "--log-json") as process:
        read_until(process, '"url"')
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def test_an_exported_package_can_be_served(here: Here, tmp_path: Path) -> None:
    package = tmp_path / "tiny"
    done = here("export", str(CHECKPOINT), str(package), *SMALL)
    assert done.status == 0, done.err
    assert done.err.endswith(f"Serve it with: axgate serve --device emulator --model {package}\n")
    with server("--device", "emulator", "--model", str(package)) as url:
        assert re.search(
            r"tiny +│ loaded +│ yes .*\n.* context_length +│ 255 ", here("models", "--url", url).out
        )


# --- what goes wrong is one sentence and status 2


def sentence(done: Done) -> str:
    assert done.status == 2
    assert "Traceback" not in done.err
    return done.err.splitlines()[-1]


def test_a_port_in_use_is_told_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = sentence(axgate("demo", "--port", str(port)))
    assert told == f"axgate: Port {port} of 127.0.0.1 is in use; choose another with --port."


def test_an_address_of_another_machine_is_told() -> None:
    told = sentence(axgate("serve", "--host", "192.0.2.1", "--port", "0"))
    assert told.startswith("axgate: Cannot listen on 192.0.2.1, port 0: Cannot assign requested address")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "nope"), "nope is not a folder with a compiled model"),
        (
            ("--device", "card"),
            "The demo models run on the emulated card only; name a model for a card with --model.",
        ),
    ],
)
def test_what_cannot_be_served_is_told(options: tuple[str, ...], message: str) -> None:
    assert sentence(axgate("serve", "--port", "0", *options)) == f"axgate: {message}"


def test_two_models_of_one_name_are_told(here: Here, tmp_path: Path) -> None:
    folders = [tmp_path / "one" / "tiny", tmp_path / "other" / "tiny"]
    for folder in folders:
        folder.parent.mkdir()
        assert here("export", str(CHECKPOINT), str(folder), *SMALL).status == 0
    first, second = map(str, folders)
    told = sentence(axgate("serve", "--port", "0", "--model", first, "--model", second))
    assert told == (
        f"axgate: Two models are called tiny: {first} and {second}. "
        "Give one of them a name of its own with --model NAME=DIR."
    )


def test_a_model_that_never_fits_is_told_with_the_numbers_and_what_helps(here: Here, tmp_path: Path) -> None:
    package = str(tmp_path / "tiny")
    assert here("export", str(CHECKPOINT), package, *SMALL).status == 0
    told = sentence(
        axgate(
            "serve", "--port", "0", "--model", package, "--emulated-memory-mb", "5", "--device", "emulator"
        )
    )
    size = r"\d+\.\d MB"
    assert re.fullmatch(
        rf"axgate: The model tiny cannot be loaded: it needs at least {size} of the device, which has 5\.0 "
        rf"MB: {size} for its layers and head, {size} for its vision graph, {size} for a moment while it is "
        r"loaded\. "
        r"What helps: --emulated-memory-mb 10 or more; a package of a smaller model or with smaller "
        r"weights, such as int4 in place of int8 \(`axgate models --available` lists published ones\)\.",
        told,
    )


def test_a_wrong_setting_is_told(here: Here) -> None:
    told = sentence(here("serve", "--port", "70000"))
    assert told == "axgate: Setting port = '70000': input should be less than or equal to 65535."


def test_a_picture_that_is_not_there_is_told_at_once(here: Here) -> None:
    told = sentence(here("chat", "--url", "http://127.0.0.1:9/v1", "--image", "nope.png"))
    assert told == "axgate: Cannot read the picture nope.png: No such file or directory."


@pytest.mark.parametrize("url", ["127.0.0.1:9/v1", "ftp://x/v1", "http://xn--/v1", "http://x:y/v1", ""])
def test_what_is_no_url_is_told(here: Here, url: str) -> None:
    told = sentence(here("models", "--url", url))
    assert told == f"axgate: {url} is not the URL of a server, such as http://127.0.0.1:8080/v1."


def test_a_server_that_is_not_there_is_told(here: Here) -> None:
    told = sentence(here("chat", "--url", "http://127.0.0.1:9/v1"))
    assert told == "axgate: No server answers at http://127.0.0.1:9/v1. Start one with `axgate serve`."


def test_a_broken_vision_models_file_is_told_with_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "vision.json"
    path.write_text('{"mine": {"family": 5}}')
    told = sentence(axgate("serve", "--port", "0", "--vision-models", str(path)))
    assert told.startswith(f"axgate: {path}: entry 'mine'")


def test_a_package_without_one_of_its_files_is_told(here: Here, tmp_path: Path) -> None:
    package = tmp_path / "tiny"
    here("export", str(CHECKPOINT), str(package), *SMALL)
    next(package.glob("*_post.axmodel")).unlink()
    told = sentence(axgate("serve", "--port", "0", "--model", str(package)))
    assert told.startswith(f"axgate: {package}: no file matches *_post.axmodel")


def test_a_server_with_keys_is_used_with_one_of_them(here: Here) -> None:
    digest = sha256(b"secret").hexdigest()
    with served("--api-keys", f"me:{digest}") as gateway:
        refused = here("models", "--url", gateway.base_url)
        assert (refused.status, "API key" in refused.err) == (2, True)
        assert "axgate-demo" in here("models", "--url", gateway.base_url, "--key", "secret").out
        chat = here("chat", "--url", gateway.base_url, "--key", "secret", typed="Who are you?\n")
        assert (chat.status, "tiny vision language model" in chat.out) == (0, True)


def test_an_equals_sign_in_a_path_is_part_of_it(here: Here, tmp_path: Path) -> None:
    done = here("serve", "--port", "0", "--model", f"{tmp_path}/lr=3/package")
    assert done.status == 2
    assert f"{tmp_path}/lr=3/package" in done.err


def test_a_broken_tokenizer_of_any_model_is_told_at_the_start(here: Here, tmp_path: Path) -> None:
    good, broken = tmp_path / "good", tmp_path / "broken"
    for folder in (good, broken):
        assert here("export", str(CHECKPOINT), str(folder), *SMALL).status == 0
    (broken / "tokenizer" / "tokenizer.json").write_text("{}")
    done = here("serve", "--port", "0", "--model", str(good), "--model", str(broken))
    assert done.status == 2
    assert done.err.startswith(
        f"axgate: {broken}/tokenizer/tokenizer.json: expected a Hugging Face tokenizer"
    )
