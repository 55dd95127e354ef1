"""The plainest way to run an exported package: numpy and onnxruntime, layer after layer, nothing shared.

A second opinion on the exported graphs alone; the decoder that drives cards has tests of its own.
"""

import ctypes
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from backends.base import Array
from tests.export.checkpoints import IMAGE_PAD

BF16 = np.dtype(ml_dtypes.bfloat16)
MASKED = -65536.0


@dataclass(frozen=True)
class GraphFile:
    """One .axmodel with onnxruntime's session for it."""

    file: Path

    @cached_property
    def groups(self) -> list[dict[str, Any]]:
        metadata = onnx.load(self.file).metadata_props
        groups: list[dict[str, Any]] = json.loads(next(p.value for p in metadata if p.key == "axgate.groups"))
        return groups

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(self.file, options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays in and out in the graph's own dtypes, bfloat16 included."""
        values = self.session.run_with_ort_values(
            None, {name: _value(array) for name, array in inputs.items()}
        )
        return {
            spec.name: _array(value) for spec, value in zip(self.session.get_outputs(), values, strict=True)
        }


def _value(array: Array) -> onnxruntime.OrtValue:
    if array.dtype != BF16:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    bits = np.ascontiguousarray(array).view(np.uint16)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TensorProto.BFLOAT16)


def _array(value: onnxruntime.OrtValue) -> Array:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.element_type()))
    shape = value.shape()
    data = ctypes.string_at(value.data_ptr(), int(np.prod(shape)) * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape)


class PackageRunner:
    """One sequence on one package. `extend` appends positions; K and V rows grow in host memory."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        template = config["template_filename_axmodel"]
        self.layers = [GraphFile(folder / (template % index)) for index in range(config["axmodel_num"])]
        self.post = GraphFile(folder / config["filename_post_axmodel"])
        embedding = np.fromfile(folder / config["filename_tokens_embed"], BF16)
        self.embedding = embedding.reshape(config["tokens_embed_num"], config["tokens_embed_size"])
        vision = config.get("filename_image_encoder_axmodel")
        self.vision = GraphFile(folder / vision) if vision else None
        self.forget()

    def forget(self) -> None:
        """Start a new sequence."""
        kv_dim = self.layers[0].groups[0]["outputs"][0]["shape"][2]
        self.rows = [(np.zeros((0, kv_dim), BF16), np.zeros((0, kv_dim), BF16)) for _ in self.layers]

    def extend(self, embeds: Array, positions: Array, deepstack: Array) -> Array:
        """One call of every layer.

        embeds:    (n, hidden) bf16, n up to the prefill length; n = 1 runs the decode group
        positions: (index rows, n); deepstack: (levels, n, hidden) float32, zero where there is no picture
        Returns (n, hidden) bf16, the last layer's output.
        """
        n, history = len(embeds), len(self.rows[0][0])
        decode, *prefill = self.layers[0].groups
        group = decode if n == 1 else next(group for group in prefill if _sizes(group)[1] >= history)
        chunk, capacity, index_rows = _sizes(group)
        mask = np.full((1, chunk, capacity + chunk), MASKED, BF16)
        mask[0, :n, :history] = 0
        mask[0, :n, capacity : capacity + n][np.tri(n, dtype=bool)] = 0
        inputs = {
            "indices": _padded(positions[:index_rows].astype(np.uint32), (index_rows, chunk)),
            "mask": mask,
        }
        hidden = embeds
        for index, layer in enumerate(self.layers):
            keys, values = self.rows[index]
            cache_shape = (capacity, keys.shape[1])
            outputs = layer.run(
                inputs
                | {
                    "K_cache": _padded(keys, cache_shape)[np.newaxis],
                    "V_cache": _padded(values, cache_shape)[np.newaxis],
                    "input": _padded(hidden, (chunk, hidden.shape[1]))[np.newaxis],
                }
            )
            new_keys, new_values, hidden = (
                outputs[name][0, :n] for name in ("K_cache_out", "V_cache_out", "output")
            )
            self.rows[index] = np.concatenate([keys, new_keys]), np.concatenate([values, new_values])
            if index < len(deepstack):
                hidden = (hidden.astype(np.float32) + deepstack[index]).astype(BF16)
        return hidden

    def see(self, pictures: Sequence[Array]) -> Array:
        """Patches of pictures -> (1 + levels, tokens, hidden) float32: embeds, then deepstack."""
        assert self.vision is not None
        features = [list(self.vision.run({"hidden_states": patches}).values()) for patches in pictures]
        return np.concatenate(features, axis=1)

    def read(self, token_ids: Array, positions: Array, features: Array, cuts: Sequence[int]) -> Array:
        """A prompt from the start, one call up to each cut -> (n, hidden) bf16. `features` as from `see`."""
        self.forget()
        visual = np.flatnonzero(token_ids == IMAGE_PAD)
        embeds = self.embedding[token_ids]
        embeds[visual] = features[0].astype(BF16)
        deepstack = np.zeros((len(features) - 1, *embeds.shape), np.float32)
        deepstack[:, visual] = features[1:]
        parts = [slice(start, stop) for start, stop in pairwise([0, *cuts, len(token_ids)])]
        return np.concatenate([self.extend(embeds[p], positions[:, p], deepstack[:, p]) for p in parts])

    def logits(self, hidden: Array) -> Array:
        """(hidden,) bf16 -> (vocab,) float32."""
        return self.post.run({"input": hidden.reshape(1, 1, -1)})["output"].reshape(-1).astype(np.float32)


def _sizes(group: dict[str, Any]) -> tuple[int, int, int]:
    """Chunk, history rows and index rows of a shape group, told from its mask and indices."""
    shapes = {tensor["name"]: tensor["shape"] for tensor in group["inputs"]}
    _, chunk, total = shapes["mask"]
    return chunk, total - chunk, shapes["indices"][0]


def _padded(array: Array, shape: tuple[int, ...]) -> Array:
    padded = np.zeros(shape, array.dtype)
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded
