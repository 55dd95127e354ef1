"""`axgate inspect`, as it is typed."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from backends.emulator import Emulator
from backends.export import ExportOptions, export_package
from gateway.cli import main
from gateway.demo import CHECKPOINT
from gateway.inspection.messages import Orders
from gateway.inspection.report import inspected_on
from gateway.inspection.ward import report_of
from tests.axcl.published import PUBLISHED, Published, write
from tests.packages import no_progress

QWEN3_VL = PUBLISHED["Qwen3-VL-2B"]


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        assert self.err == ""
        return json.loads(self.out)


Inspect = Callable[..., Done]


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Inspect:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)  # where no settings lie

    def call(folder: Path, *options: str) -> Done:
        status = main(("inspect", str(folder), *options))
        return Done(status, *capsys.readouterr())

    return call


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    options = ExportOptions(kv_cache_len=255, prefill_len=64, histories=(64, 128))
    export_package(CHECKPOINT, tmp_path / "demo", options, no_progress)
    return tmp_path / "demo"


def test_everything_is_told(inspect: Inspect, demo: Path) -> None:
    done = inspect(demo, "--json")
    layers = [file.stat().st_size for file in demo.glob("*_l?_*")]
    others = [next(demo.glob(pattern)).stat().st_size for pattern in ("*_post*", "*_vision*")]
    assert done.status == 0
    assert done.report == {
        "files": {
            "folder": str(demo),
            "layers": "6 of qwen3_vl_text",
            "vision_graph": "demo_vision.axmodel",
            "embedding_table": "model.embed_tokens.weight.bfloat16.bin",
            "tokenizer": "tokenizer/tokenizer.json",
            "post_graph": "qwen3_vl_text_post.axmodel",
            "smallest_layer_bytes": min(layers),
            "largest_layer_bytes": max(layers),
            "config": "read",
        },
        "language_model": {
            "num_layers": 6,
            "hidden_size": 192,
            "kv_dim": 64,
            "vocab_size": 768,
            "index_rows": 3,
            "context_length": 255,
            "decode_groups": [255],
            "prefill_chunk": 64,
            "prefill_histories": [0, 64, 128],
            "max_prefill": 192,
        },
        "sampling": {
            "temperature": 0.0,
            "top_k": 0,
            "top_p": 1.0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop_token_ids": [0, 2],
        },
        "pictures": {
            "entry": "axgate-demo-96",
            "inputs": ["hidden_states uint8 [1, 144, 128, 3]"],
            "outputs": [
                "hidden_states_out float32 [36, 192]",
                "deepstack_feature_0 float32 [36, 192]",
                "deepstack_feature_1 float32 [36, 192]",
            ],
            "min_tokens_per_image": 36,
            "max_tokens_per_image": 36,
            "max_video_frames": 16,
        },
        "memory": {
            "graphs_bytes": sum(layers) + sum(others),
            "while_loading_bytes": sum(layers) + sum(others) + layers[-1],
            "embedding_table_bytes": 768 * 192 * 2,
            "each_session_bytes": 2 * 6 * (255 + 64 + 1) * 64 * 2,
        },
        "service": {"served": "yes", "reason": None},
    }


def test_the_table_tells_the_same(inspect: Inspect, demo: Path) -> None:
    done = inspect(demo)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.out.splitlines()]
    for row in (
        ["language model", "num layers", "6"],
        ["", "prefill histories", "0, 64, 128"],
        ["pictures", "entry", "axgate-demo-96"],
        ["", "each session", "491.5 kB"],
        ["service", "served", "yes"],
    ):
        assert row in rows
    assert (done.status, done.err) == (0, "")


def test_the_page_shows_every_fact(inspect: Inspect, demo: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "packages.md").read_text("utf-8")

    def facts(table: str) -> list[tuple[str, str]]:
        rows = [line.split("│") for line in table.splitlines() if line.count("│") == 4]
        return [(row[1].strip(), row[2].strip()) for row in rows if row[2].strip()]

    alone, on_device = facts(inspect(demo).out), facts(inspect(demo, "--device").out)
    assert facts(page) == alone + [fact for fact in on_device if fact not in alone]


def test_a_published_package_is_told_with_what_it_can_do(inspect: Inspect, tmp_path: Path) -> None:
    folder = write(tmp_path / "Qwen3-VL-2B-AX650", QWEN3_VL)
    said = {"enable_temperature": True, "temperature": 0.2, "enable_top_k_sampling": True, "top_k": 10}
    (folder / "post_config.json").write_text(json.dumps(said))
    done = inspect(folder, "--json")
    assert (done.status, done.report["service"]["served"]) == (0, "yes")
    assert done.report["files"]["config"] == "says nothing"
    assert done.report["language_model"]["max_prefill"] == 1152 + 128
    assert done.report["memory"]["each_session_bytes"] == 28 * 2 * 1088 * 4096  # 2175 rows, half a page each
    assert done.report["pictures"]["entry"] == "qwen3-vl-384"
    assert done.report["pictures"]["max_tokens_per_image"] == 144
    assert (done.report["sampling"]["temperature"], done.report["sampling"]["top_k"]) == (0.2, 10)


UNSERVED = {
    "SmolVLM2-500M-Video": "/embeds/vision_patches.safetensors cannot be read: No such file or directory",
    "LocateAnything-3B": "no entry fits the vision graph of this 'qwen2' package: its input is float32 [1, ",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_package_is_told_with_what_it_can_do(
    inspect: Inspect, tmp_path: Path, name: str
) -> None:
    model = PUBLISHED[name]
    done = inspect(write(tmp_path / "model", model), "--json")
    report, info = done.report, done.report["language_model"]
    assert info["decode_groups"] == list(model.decode)
    assert info["prefill_histories"] == list(model.histories)
    prefilled = model.histories[-1] + model.chunk if model.histories else 0
    assert info["max_prefill"] == min(prefilled, model.decode[-1])
    kv_rows = max(prefilled, model.decode[-1]) + model.chunk
    region = -(-kv_rows * 2 * model.kv_dim // 4096) * 4096
    assert report["memory"]["each_session_bytes"] == 2 * model.num_layers * region
    if name in UNSERVED:
        assert (done.status, report["service"]["served"]) == (1, "no")
        assert UNSERVED[name] in report["service"]["reason"]
        return
    assert (done.status, report["service"]) == (0, {"served": "yes", "reason": None})
    assert ("pictures" in report) == bool(model.vision)
    if model.vision:
        _, _, shape = model.features[0]
        assert report["pictures"]["max_tokens_per_image"] == shape[-2]


UNREAD = "Its graphs are compiled for a card, and only a card can read them: give --device."


def test_of_graphs_for_a_card_the_folder_alone_is_told(inspect: Inspect, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", QWEN3_VL)
    for graph in folder.glob("*.axmodel"):
        graph.unlink()
        graph.write_bytes(b"compiled" * 100)
    done = inspect(folder, "--json")
    assert list(done.report) == ["files", "sampling", "memory", "service"]
    assert done.report["service"] == {"served": "unknown", "reason": UNREAD}
    assert done.report["memory"]["graphs_bytes"] == 30 * 800
    assert done.status == 0


ANOTHER = PUBLISHED["Qwen3-VL-4B"].features
REFUSED: dict[str, tuple[Published, str]] = {
    "Qwen3.5": (
        replace(QWEN3_VL, files="qwen3_5_text_p128"),
        "'qwen3_5_text' packages cannot be served: most layers",
    ),
    "Gemma 4": (
        replace(QWEN3_VL, files="gemma4_text_p128"),
        "'gemma4_text' packages cannot be served: every layer",
    ),
    "AX630C by its shapes": (
        replace(QWEN3_VL, chunk=64, histories=(0, 64, 128), pixels=("x", "uint8", (1, 400, 512, 3))),
        "no entry fits the vision graph of this 'qwen3_vl_text' package: its input is uint8 [1, 400, 512, 3]",
    ),
    "another model's vision graph": (
        replace(QWEN3_VL, features=ANOTHER),
        "The vision graph's output hidden_states_out is [144, 2560], expected [144, 2048].",
    ),
    "no vision graph": (replace(QWEN3_VL, vision=""), "the package lacks its vision graph"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_told_with_the_reason(inspect: Inspect, tmp_path: Path, name: str) -> None:
    model, reason = REFUSED[name]
    done = inspect(write(tmp_path / "model", model), "--json")
    assert (done.status, done.report["service"]["served"]) == (1, "no")
    assert done.report["service"]["reason"].startswith(reason)


def sentence(done: Done) -> str:
    assert (done.status, done.out) == (2, "")
    (told,) = done.err.splitlines()
    return told


def test_a_broken_package_is_one_sentence(inspect: Inspect, demo: Path) -> None:
    layer = demo / "qwen3_vl_text_p64_l3_together.axmodel"
    layer.write_bytes(layer.read_bytes()[:-100])
    assert sentence(inspect(demo)) == (
        f"axgate: engine_load_from_file({layer.name}): it is no compiled model that this device takes: cut "
        "off, damaged, or for another chip (0x8030070C)"
    )
    layer.unlink()
    assert sentence(inspect(demo)).startswith(f"axgate: {demo} lacks the graph of layer 3")


def test_a_model_without_a_chat_template_is_served_where_one_is_built_in(
    inspect: Inspect, tmp_path: Path
) -> None:
    def without(name: str) -> Any:
        folder = write(tmp_path / name, PUBLISHED[name])
        next(folder.rglob("chat_template.jinja")).unlink()
        return inspect(folder, "--json").report["service"]

    assert without("Janus-Pro-1B") == {"served": "yes", "reason": None}
    assert ": expected chat_template.jinja" in without("Qwen2.5-1.5B")["reason"]


def test_a_program_is_told_of_a_broken_package_too(inspect: Inspect, demo: Path) -> None:
    (demo / "qwen3_vl_text_post.axmodel").write_bytes(b"")
    done = inspect(demo, "--json")
    reason = f"{demo / 'qwen3_vl_text_post.axmodel'} is empty"
    assert (done.status, json.loads(done.out)) == (2, {"service": {"served": "no", "reason": reason}})
    assert done.err == f"axgate: {reason}\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a[/b]", "a[/b]"),
        ("a [bold]b", "a [bold]b"),
        (":smile:", ":smile:"),
        ("\x1b[2J\nb", "\ufffd[2J b"),
        (os.fsdecode(b"\xff"), "\ufffd"),
    ],
)
def test_no_name_of_a_file_upsets_the_terminal(
    inspect: Inspect, tmp_path: Path, name: str, shown: str
) -> None:
    (tmp_path / name).mkdir(parents=True)
    folder = write(tmp_path / name / "model", QWEN3_VL)
    for graph in folder.glob("*.axmodel"):
        graph.unlink()
        graph.write_bytes(b"compiled")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in inspect(folder).out.splitlines()]
    assert ["files", "folder", str(tmp_path / shown / "model")] in rows
    assert inspect(folder, "--json").report["files"]["folder"] == str(folder)
    next(folder.glob("*_post.axmodel")).unlink()
    assert sentence(inspect(folder)).startswith(f"axgate: {tmp_path / shown / 'model'}: no file matches")


# --- on a device

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Install:
    """Puts a pyAXCL where processes find it that are started from here: an emulated card on bus 7 beside
    another one, to which the given lines happen."""

    def call(fault: str = "") -> None:
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "axcl.py").write_text(
            "import os, signal\n"
            "from backends.emulator import Emulator\n"
            "card = Emulator(devices=(3, 7), cmm_bytes=64 << 20)\n"
            "init, finalize, set_log_level, rt = card.init, card.finalize, card.set_log_level, card.rt\n"
            f"{fault}\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return call


WAYS = ["vendor", "copy", "direct"]


def test_on_a_card_all_of_it_is_loaded_and_the_ways_of_writing_kv_are_tested(
    inspect: Inspect, demo: Path, install: Install
) -> None:
    alone = inspect(demo, "--json").report
    install()
    report = inspect(demo, "--json", "--device", "1").report
    device, self_test = report.pop("device"), report.pop("self_test")
    assert report == alone
    assert list(self_test) == ["kv_write", "same_bits", "other_bits", "vendor_ms", "copy_ms", "direct_ms"]
    assert (self_test["kv_write"], self_test["same_bits"], self_test["other_bits"]) == ("direct", WAYS, [])
    assert min(self_test[f"{way}_ms"] for way in WAYS) > 0
    assert device == {"kind": "card 1", "free_bytes": 62 << 20, "sessions": 8}
    assert sentence(inspect(demo, "--device", "2")).startswith(
        "axgate: get_device_list: there is no card number 2 (2 found: [3, 7])"
    )


def test_the_table_tells_what_was_found_on_the_device(inspect: Inspect, demo: Path) -> None:
    done = inspect(demo, "--device")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.out.splitlines()]
    for row in (
        ["device", "kind", "emulated card"],
        ["", "free", "2.0 GB"],
        ["", "sessions", "8"],
        ["self test", "kv write", "direct"],
        ["", "same bits", "vendor, copy, direct"],
        ["", "other bits", "none"],
    ):
        assert row in rows
    assert (done.status, done.err) == (0, "")


def test_a_way_that_the_card_refuses_is_told_and_not_chosen(
    inspect: Inspect, demo: Path, install: Install
) -> None:
    """A way takes 28 runs: a chunk or a token of 6 layers and the head, 4 times."""
    install("card.faults.fail('engine_execute', 0x8030070C, nth=2 * 28 + 3)")
    self_test = inspect(demo, "--json", "--device").report["self_test"]
    assert (self_test["kv_write"], self_test["same_bits"]) == ("copy", ["vendor", "copy"])
    assert (self_test["other_bits"], self_test["direct_ms"]) == (["direct"], None)


def test_a_model_without_room_is_told_with_the_numbers_and_read_all_the_same(
    inspect: Inspect, demo: Path, install: Install
) -> None:
    install("card._process.cards[3].memory.size = 8 << 20")
    done = inspect(demo, "--json", "--device")
    assert done.status == 1
    assert "self_test" not in done.report
    assert done.report["language_model"]["context_length"] == 255
    assert done.report["device"] == {"kind": "card 0", "free_bytes": (8 << 20) * 31 // 32}
    assert done.report["service"]["reason"].startswith(
        "it needs at least 9.6 MB of the device, which has 8.1 MB: 5.1 MB for its layers and head, 3.7 MB "
        "for its vision graph, 0.8 MB for a moment while it is loaded. What helps: to stop other programs "
    )


def test_a_card_that_turns_out_to_be_full_is_told_with_the_numbers_too(
    inspect: Inspect, demo: Path, install: Install
) -> None:
    install("card.faults.fail('engine_load_from_file', 0x80300707, nth=5)")
    done = inspect(demo, "--json", "--device")
    assert (done.status, done.report["language_model"]["context_length"]) == (1, 255)
    assert done.report["service"]["reason"].startswith(
        "engine_load_from_file(qwen3_vl_text_p64_l1_together.axmodel): out of card memory (CMM): to load it "
        "takes 1.6 MB, and 62.2 MB should be free (0x80300707). It takes 5.1 MB for its layers and head, "
    )


@pytest.mark.parametrize(
    ("fault", "work"),
    [
        ("card.faults.hang('set_device')", "opening the device"),
        ("card.faults.hang('engine_execute')", "testing it"),
    ],
)
def test_a_card_that_hangs_is_not_waited_for(demo: Path, install: Install, fault: str, work: str) -> None:
    install(fault)
    began_s = monotonic()
    with pytest.raises(TimeoutError) as caught:
        report_of(Orders(demo, 0), max_wait_s=3)
    assert str(caught.value).startswith(
        f"{work}: no answer within 3 s; the process that uses the device was "
    )
    assert monotonic() - began_s < 30


def test_a_library_that_crashes_is_one_sentence(inspect: Inspect, demo: Path, install: Install) -> None:
    install("rt.engine_execute = lambda *_: os.kill(os.getpid(), signal.SIGSEGV)")
    assert sentence(inspect(demo, "--device")) == (
        "axgate: testing it: the process that uses the device ended (signal SIGSEGV)"
    )


def test_a_device_gets_all_of_its_memory_back(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Emulator(devices=(3, 7))
    monkeypatch.setitem(sys.modules, "axcl", card)
    monkeypatch.chdir(demo)  # where no settings lie
    begun: list[str] = []
    inspected_on(demo, 1, lambda work, _: begun.append(work))
    assert begun == [
        "opening the device",
        "reading the first layer",
        "loading the vision graph",
        "loading the language model",
        "testing it",
    ]
    assert card.counters.round_trips["engine_load_from_file"] == 1 + 1 + 6 + 1
    assert [each.memory.free_bytes for each in card._process.cards.values()] == [7040 << 20] * 2


def test_without_pyaxcl_graphs_for_a_card_cannot_be_read(inspect: Inspect, demo: Path) -> None:
    for graph in demo.glob("*.axmodel"):
        graph.write_bytes(b"compiled" * 100)
    assert sentence(inspect(demo, "--device")).startswith("axgate: import axcl: ")
