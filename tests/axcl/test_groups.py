"""Packages of other builds than the exporter's: what their groups are must not change what is answered."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from backends.axcl.head import UNLIKELY
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package, open_package
from backends.base import Array, DeviceError
from backends.emulator import Emulator
from tests.axcl.driving import answer, chunk, greedy, prefilled
from tests.axcl.edits import Change, Groups, copied, regrouped, tensor
from tests.packages import CONTEXT, VOCAB, opened, text_package, vision_package

NUM_TOKENS = 30
"""To be answered with: the prompt of 21 and these go through three decode groups."""


def rebuilt(package: Package, folder: Path, change: Change, **names: str) -> Package:
    """The package as if all its layers had been built otherwise."""
    copy = copied(package, folder)
    for layer in copy.layers:
        regrouped(layer, change, names)
    return copy


def several_decode_groups(groups: Groups) -> None:
    """Room for 15 rows, for all, and for 31, in this order and around the prefill groups."""
    for history in (CONTEXT, 31):
        groups.append(decode_group(groups[0], history))
    groups[0] = decode_group(groups[0], 15)


def decode_group(
    group: dict[str, list[dict[str, object]]], history: int
) -> dict[str, list[dict[str, object]]]:
    copy = {side: [dict(each) for each in tensors] for side, tensors in group.items()}
    for name, axis, size in (("K_cache", 1, history), ("V_cache", 1, history), ("mask", 2, history + 1)):
        shape = list(tensor(copy, name)["shape"])
        shape[axis] = size
        tensor(copy, name)["shape"] = shape
    return copy


def decode_only(groups: Groups) -> None:
    del groups[1:]


def one_prefill_group(groups: Groups) -> None:
    del groups[2:]


def without_the_last_histories(groups: Groups) -> None:
    """Coarse ones: 8 positions behind 16 rows at most, nothing in between."""
    del groups[2], groups[3:]


def twice(groups: Groups) -> None:
    groups += groups[::-1]


def turned_round(groups: Groups) -> None:
    for group in groups:
        group["inputs"].reverse()
        group["outputs"].reverse()


NAMES = ("K_cache", "V_cache", "indices", "input", "mask", "K_cache_out", "V_cache_out", "output")
BUILDS: dict[str, tuple[Change, dict[str, str]]] = {
    "several decode groups": (several_decode_groups, {}),
    "decode only": (decode_only, {}),
    "one prefill group": (one_prefill_group, {}),
    "coarse histories": (without_the_last_histories, {}),
    "groups twice": (twice, {}),
    "another order": (turned_round, {}),
    "numbered names": (lambda groups: None, {name: f"{name}_0" for name in NAMES}),
}


@pytest.mark.parametrize("package", [vision_package, text_package])
@pytest.mark.parametrize("build", BUILDS)
def test_another_build_of_a_model_answers_the_same(
    tmp_path: Path, build: str, package: Callable[[], Package]
) -> None:
    change, names = BUILDS[build]
    other = rebuilt(package(), tmp_path / "package", change, **names)
    with opened(Emulator()) as backend:
        expected = answer(backend, package(), num_tokens=NUM_TOKENS)
        assert answer(backend, other, num_tokens=NUM_TOKENS) == expected


@pytest.mark.parametrize("kv_write", KvWrite)
def test_several_decode_groups_agree_whoever_writes_k_and_v(tmp_path: Path, kv_write: KvWrite) -> None:
    other = rebuilt(text_package(), tmp_path / "package", several_decode_groups)
    with opened(Emulator()) as backend:
        expected = answer(backend, text_package(), num_tokens=NUM_TOKENS)
        assert answer(backend, other, kv_write, NUM_TOKENS) == expected


def test_the_smallest_decode_group_with_room_is_used(tmp_path: Path) -> None:
    card = Emulator()
    with opened(card) as backend:
        package = rebuilt(text_package(), tmp_path / "package", several_decode_groups)
        decoder = backend.decoder(package, KvWrite.DIRECT)
        assert decoder.info == backend.decoder(text_package(), KvWrite.DIRECT).info
        sent = []
        cache, _ = prefilled(decoder, 14)
        for length in range(14, CONTEXT):
            before = card.counters.copy()
            decoder.decode(cache, 5, length)
            sent.append((card.counters - before).num_bytes["memcpy_h2d"])
        # A column of the mask takes two bytes: 16 of them, then 32, then 64.
        assert [size - sent[0] for size in sent] == [0] * 2 + [2 * 16] * 16 + [2 * 48] * (CONTEXT - 32)


def test_a_decode_only_package_is_taken_position_by_position(tmp_path: Path) -> None:
    package = rebuilt(text_package(), tmp_path / "package", decode_only)
    for layer in package.layers:  # as such exports are called
        layer.rename(layer.with_name(layer.name.replace("_p8", "").replace("_together", "")))
    (package.folder / "config.json").unlink()
    with opened(Emulator()) as backend:
        decoder = backend.decoder(open_package(package.folder))
        info = decoder.info
        assert (info.prefill_chunk, info.prefill_history, info.context_length) == (1, 0, CONTEXT)
        assert [decoder.chunk_size(length, 50) for length in (0, 1, 40)] == [1, 1, 1]
        assert greedy(decoder, *prefilled(decoder, 21)) == answer(backend, text_package())


def spread(positions: Array) -> Array:
    """Positions whose three rows differ, as a picture's do."""
    return positions + np.array([[0], [3], [5]], np.uint32)


def test_a_decode_group_with_three_index_rows_takes_the_positions_of_pictures(tmp_path: Path) -> None:
    def three_rows(groups: Groups) -> None:
        decode_only(groups)
        tensor(groups[0], "indices")["shape"] = [3, 1]

    found = []
    with opened(Emulator()) as backend:
        for package in (vision_package(), rebuilt(vision_package(), tmp_path / "package", three_rows)):
            decoder = backend.decoder(package, KvWrite.DIRECT)
            assert decoder.info.index_rows == 3
            cache, _ = prefilled(decoder, 5)
            plain = chunk(decoder, 5, 6)
            hidden = decoder.prefill(cache, replace(plain, positions=spread(plain.positions)))
            found.append([decoder.logits(hidden).tobytes(), cache.save().tobytes()])
    assert found[0] == found[1]


# --- heads and tables


def test_a_normalised_hidden_state_beside_the_logits_is_left_alone(tmp_path: Path) -> None:
    """As exports with --ret_postnorm have it."""
    package = copied(text_package(), tmp_path / "package")
    show(package.post, "norm", 64)
    with opened(Emulator()) as backend:
        assert answer(backend, package) == answer(backend, text_package())


def test_logits_may_be_float32(tmp_path: Path) -> None:
    package = copied(text_package(), tmp_path / "package")
    show(package.post, "logits", 768)
    regrouped(package.post, lambda groups: groups[0]["outputs"].pop())
    with opened(Emulator()) as backend:
        rows = []
        for each in (package, text_package()):
            decoder = backend.decoder(each, KvWrite.DIRECT)
            _, hidden = prefilled(decoder, 5)
            rows.append(decoder.logits(hidden))
    assert (rows[0].astype("bfloat16") == rows[1].astype("bfloat16")).all()
    assert (rows[0] != rows[1]).any()


def tells_the_likeliest(path: Path, number: int, scale: float = 1.0) -> None:
    """Give a head of float32 logits the outputs of an export with --post_topk, its probabilities times
    `scale`."""
    show(path, "logits", VOCAB)
    model = onnx.load(path)
    make, float32, int32 = onnx.helper.make_node, onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    model.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.array([number], np.int64), "k"),
            onnx.numpy_helper.from_array(np.array(scale, np.float32), "scale"),
        ]
    )
    model.graph.node.extend(
        [
            make("Softmax", ["logits"], ["softmax"], axis=-1),
            make("Mul", ["softmax", "scale"], ["scaled"]),
            make("TopK", ["scaled", "k"], ["probs", "places"]),
            make("Cast", ["places"], ["indices"], to=int32),
        ]
    )
    del model.graph.output[:]
    for name, dtype in (("indices", int32), ("probs", float32)):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, dtype, [1, 1, number]))
    onnx.save(model, path)
    shape = [1, 1, number]
    outputs = [
        {"name": "indices", "dtype": "int32", "shape": shape},
        {"name": "probs", "dtype": "float32", "shape": shape},
    ]
    regrouped(path, lambda groups: groups[0].update(outputs=outputs))


def test_a_head_that_tells_the_likeliest_tokens_only_answers_the_same(tmp_path: Path) -> None:
    package = copied(text_package(), tmp_path / "package")
    tells_the_likeliest(package.post, 16)
    card = Emulator()
    with opened(card) as backend:
        assert backend.describe(package).vocab_size == VOCAB
        assert answer(backend, package, num_tokens=NUM_TOKENS) == answer(
            backend, text_package(), num_tokens=NUM_TOKENS
        )
        rows = []
        for each in (package, text_package()):
            decoder = backend.decoder(each, KvWrite.DIRECT)
            _, hidden = prefilled(decoder, 5)
            before = card.counters.copy()
            rows.append(decoder.logits(hidden))
            assert (card.counters - before).round_trips == {"engine_execute": 1, "memcpy_d2h": 1}
        told, all_of_them = rows
        likeliest = np.argsort(-all_of_them, kind="stable")[:16]
        assert set(np.flatnonzero(told > UNLIKELY)) == set(likeliest)
        gaps = all_of_them - all_of_them.max()
        assert np.allclose((told - told.max())[likeliest], gaps[likeliest], atol=0.05)  # bfloat16 logits
        assert told.shape == all_of_them.shape


def test_a_head_whose_probabilities_are_none_is_not_served(tmp_path: Path) -> None:
    package = copied(text_package(), tmp_path / "package")
    tells_the_likeliest(package.post, 16, scale=1000.0)
    with (
        opened(Emulator()) as backend,
        pytest.raises(DeviceError, match="it gives no probabilities of tokens"),
    ):
        backend.decoder(package)


def show(path: Path, name: str, size: int) -> None:
    """Make an inner float32 value of a head one of its outputs."""
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, size]))
    onnx.save(model, path)
    shown = {"name": name, "dtype": "float32", "shape": [1, 1, size]}
    regrouped(path, lambda groups: groups[0]["outputs"].insert(0, shown))


@pytest.mark.parametrize("name", ["npy", "float32.bin"])
def test_a_table_of_float32_gives_the_same_embeds(tmp_path: Path, name: str) -> None:
    package = copied(text_package(), tmp_path / "package")
    rows = np.fromfile(package.embeddings, "bfloat16").reshape(768, -1).astype(np.float32)
    package.embeddings.unlink()
    table = package.folder / f"model.embed_tokens.weight.{name}"
    if name == "npy":
        np.save(table, rows)
    else:
        rows.tofile(table)
    with opened(Emulator()) as backend:
        assert answer(backend, open_package(package.folder)) == answer(backend, text_package())
