"""Builders: an emulated card that is ready to use, and a model file for it."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.emulator import Emulator, OldEmulator

AnyEmulator = Emulator | OldEmulator
BF16 = ml_dtypes.bfloat16
DEVICE = 129
H2H, H2D, D2H, D2D = range(4)
ROWS, WIDTH, CHUNK = 8, 4, 3  # of the model below
ROW = WIDTH * 2  # bytes

GROUPS: list[dict[str, list[dict[str, Any]]]] = [
    {
        "inputs": [
            {"name": "K_cache", "dtype": "bfloat16", "shape": [1, ROWS, WIDTH]},
            {"name": "mask", "dtype": "bfloat16", "shape": [1, ROWS, 1]},
            {"name": "indices", "dtype": "uint32", "shape": [1, 1]},
            {"name": "input", "dtype": "bfloat16", "shape": [1, 1, WIDTH]},
        ],
        "outputs": [
            {"name": "K_cache_out", "dtype": "bfloat16", "shape": [1, 1, WIDTH]},
            {"name": "output", "dtype": "bfloat16", "shape": [1, 1, WIDTH]},
        ],
    },
    {
        "inputs": [
            {"name": "K_cache", "dtype": "bfloat16", "shape": [1, 1, 6], "feed": [1, 0, WIDTH]},
            {"name": "mask", "dtype": "bfloat16", "shape": [1, 1, 1], "feed": [1, 0, 1]},
            {"name": "indices", "dtype": "uint32", "shape": [1, CHUNK]},
            {"name": "input", "dtype": "bfloat16", "shape": [1, CHUNK, WIDTH]},
        ],
        "outputs": [
            {"name": "K_cache_out", "dtype": "bfloat16", "shape": [1, CHUNK, WIDTH]},
            {"name": "output", "dtype": "bfloat16", "shape": [1, CHUNK, WIDTH]},
        ],
    },
]


def ret(code: int) -> int:
    """An unsigned code as pyAXCL returns it."""
    return code - (1 << 32)


def ready(cmm_bytes: int = 1 << 20) -> Emulator:
    """A card whose NPU is up, with this thread bound to it."""
    emulator = Emulator((DEVICE,), cmm_bytes)
    assert emulator.init(None) == 0
    assert emulator.rt.set_device(DEVICE) == 0
    assert emulator.rt.engine_init(0) == 0
    return emulator


def malloc(emulator: AnyEmulator, num_bytes: int) -> int:
    address, code = emulator.rt.malloc(num_bytes, 0)
    assert code == 0
    assert address is not None
    return address


def upload(emulator: AnyEmulator, address: int, array: npt.NDArray[Any]) -> None:
    assert emulator.rt.memcpy(address, array.ctypes.data, array.nbytes, H2D) == 0


def download(emulator: AnyEmulator, address: int, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = np.empty_like(like)
    assert emulator.rt.memcpy(array.ctypes.data, address, array.nbytes, D2H) == 0
    return array


def free_cmm(emulator: Emulator) -> int:
    """Bytes; asked for in a way that keeps the thread bound."""
    context, _ = emulator.rt.get_current_context()
    properties, code = emulator.rt.get_device_properties(DEVICE)
    assert code == 0
    if context is not None:
        emulator.rt.set_current_context(context)
    return int(properties["free_cmm_size"]) << 10


def save_model(path: Path, compiler: str = "emulated 1.0") -> Path:
    """output = input + indices + the sum over K_cache rows of row * mask, in fp32; K_cache_out = input."""

    def value(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    def node(kind: str, inputs: str, output: str, **attributes: int) -> onnx.NodeProto:
        return helper.make_node(kind, inputs.split(), [output], **attributes)

    bf16, fp32 = TensorProto.BFLOAT16, TensorProto.FLOAT
    graph = helper.make_graph(
        [
            node("Cast", "K_cache", "k", to=fp32),
            node("Cast", "mask", "m", to=fp32),
            node("Mul", "k m", "km"),
            node("ReduceSum", "km rows", "sum", keepdims=1),
            node("Cast", "input", "x", to=fp32),
            node("Add", "x sum", "y"),
            node("Cast", "indices", "i", to=fp32),
            node("Unsqueeze", "i last", "positions"),
            node("Add", "y positions", "z"),
            node("Cast", "z", "output", to=bf16),
            node("Identity", "input", "K_cache_out"),
        ],
        "layer",
        [
            value("K_cache", bf16, 1, "h", WIDTH),
            value("mask", bf16, 1, "h", 1),
            value("indices", TensorProto.UINT32, 1, "n"),
            value("input", bf16, 1, "n", WIDTH),
        ],
        [value("K_cache_out", bf16, 1, "n", WIDTH), value("output", bf16, 1, "n", WIDTH)],
        [numpy_helper.from_array(np.array([1]), "rows"), numpy_helper.from_array(np.array([2]), "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(model, {"axgate.groups": json.dumps(GROUPS), "axgate.compiler": compiler})
    onnx.save(model, path)
    return path
