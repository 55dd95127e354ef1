import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from backends.export import ExportError, ExportOptions, export_package
from backends.export.checkpoint import Checkpoint
from backends.export.package import FAMILIES
from tests.export.checkpoints import tiny_qwen3_vl, tiny_text

NORM = "model.language_model.layers.2.self_attn.q_norm.weight"


def edit_config(checkpoint: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    file = checkpoint / "config.json"
    config = json.loads(file.read_text())
    edit(config)
    file.write_text(json.dumps(config))


def edit_weights(checkpoint: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    file = checkpoint / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def refusal(checkpoint: Path) -> str:
    """What an export says, having left nothing behind."""
    before = sorted(checkpoint.parent.rglob("*"))
    with pytest.raises(ExportError) as caught:
        export_package(checkpoint, checkpoint.parent / "package", ExportOptions(), lambda *_: None)
    assert sorted(checkpoint.parent.rglob("*")) == before
    return str(caught.value).replace(str(checkpoint), "HERE")


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    edit_weights(checkpoint, lambda tensors: tensors.pop(NORM))
    assert refusal(checkpoint) == f"HERE: tensor {NORM}: expected a float tensor [16], found none"


def test_a_tensor_of_wrong_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    edit_weights(checkpoint, lambda tensors: tensors.update({NORM: np.ones(17, np.float32)}))
    assert refusal(checkpoint) == f"HERE: tensor {NORM}: expected a float tensor [16], found F32 [17]"


def test_a_tensor_of_integers_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    edit_weights(checkpoint, lambda tensors: tensors.update({NORM: np.ones(16, np.int64)}))
    assert refusal(checkpoint) == f"HERE: tensor {NORM}: expected a float tensor [16], found I64 [16]"


def test_weights_quantised_by_others_are_refused(tmp_path: Path) -> None:
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    header = json.dumps({NORM: {"dtype": "F8_E4M3", "shape": [16], "data_offsets": [0, 16]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(16)
    (checkpoint / "fp8.safetensors").write_bytes(weights)
    names = dict.fromkeys(load_file(checkpoint / "model.safetensors"), "model.safetensors")
    index = {"weight_map": names | {NORM: "fp8.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert refusal(checkpoint) == f"HERE: tensor {NORM}: expected a float tensor [16], found F8_E4M3 [16]"


def test_an_untied_head_must_be_there(tmp_path: Path) -> None:
    checkpoint = tiny_text(tmp_path / "checkpoint", tied=True)
    edit_config(checkpoint, lambda config: config.update(tie_word_embeddings=False))
    assert refusal(checkpoint) == "HERE: tensor lm_head.weight: expected a float tensor [512, 64], found none"


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny_text(tmp_path / "checkpoint")
    (checkpoint / "config.json").unlink()
    assert re.match(r"HERE/config.json: expected a JSON file, found: .*No such file", refusal(checkpoint))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny_text(tmp_path / "checkpoint")
    (checkpoint / "model.safetensors").unlink()
    assert re.match(r"HERE/model.safetensors: expected a whole safetensors file", refusal(checkpoint))


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    checkpoint = tiny_text(tmp_path / "checkpoint")
    file = checkpoint / "model.safetensors"
    whole = file.read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert re.match(r"HERE/model.safetensors: expected a whole safetensors file", refusal(checkpoint))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"model_type": "bert"}, f'model_type: expected one of {", ".join(FAMILIES)}, found "bert"'),
        ({"model_type": None}, "model_type: expected a string, found null"),
        ({"hidden_size": "64"}, 'hidden_size: expected a positive integer, found "64"'),
        ({"num_hidden_layers": 0}, "num_hidden_layers: expected a positive integer, found 0"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: expected a divisor of 4, found 3"),
        ({"head_dim": 15}, "head_dim: expected an even number, found 15"),
        ({"hidden_act": "gelu"}, 'hidden_act: expected "silu", found "gelu"'),
        ({"attention_bias": True}, "attention_bias: expected false, found true"),
        ({"use_sliding_window": True}, "use_sliding_window: expected false, found true"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}},
            'rope_parameters.rope_type: expected "default", found "yarn"',
        ),
        ({"rope_parameters": {}}, "rope_theta: expected a number, found nothing"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps: expected a number, found NaN"),
        ({"rope_parameters": 7}, "rope_parameters: expected an object, found 7"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings: expected true or false, found 1"),
    ],
)
def test_a_configuration_no_graph_can_follow_is_refused(
    tmp_path: Path, edit: dict[str, Any], message: str
) -> None:
    checkpoint = tiny_text(tmp_path / "checkpoint")
    edit_config(checkpoint, lambda config: config.update(edit))
    assert refusal(checkpoint) == f"HERE/config.json: {message}"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"hidden_act": "relu"}, 'hidden_act: expected "gelu_pytorch_tanh", found "relu"'),
        ({"num_heads": 3}, "num_heads: expected heads of 32 divisible by 4, found 3"),
        ({"out_hidden_size": 48}, "out_hidden_size: expected the text's hidden size 64, found 48"),
        ({"in_channels": 1}, "in_channels: expected 3, found 1"),
        ({"num_position_embeddings": 24}, "num_position_embeddings: expected a square number, found 24"),
        (
            {"deepstack_visual_indexes": [1, 4]},
            "deepstack_visual_indexes: expected blocks below 4, found [1, 4]",
        ),
        (
            {"deepstack_visual_indexes": 1},
            "deepstack_visual_indexes: expected a list of integers from 0, found 1",
        ),
    ],
)
def test_a_vision_tower_no_graph_can_follow_is_refused(
    tmp_path: Path, edit: dict[str, Any], message: str
) -> None:
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    edit_config(checkpoint, lambda config: config["vision_config"].update(edit))
    assert refusal(checkpoint) == f"HERE/config.json: vision_config.{message}"


def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny_text(tmp_path / "checkpoint")
    (checkpoint / "config.json").write_text("[]")
    assert refusal(checkpoint) == "HERE/config.json: expected a JSON object, found list"


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    checkpoint = tiny_text(tmp_path / "checkpoint")
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, checkpoint / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    source = Checkpoint(checkpoint)
    for name in names:
        np.testing.assert_array_equal(source.tensor(name, tensors[name].shape), tensors[name])

    (checkpoint / "b.safetensors").unlink()
    assert re.match(r"HERE/b.safetensors: expected a whole safetensors file", refusal(checkpoint))
