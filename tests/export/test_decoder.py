from typing import Any

from backends.export.decoder import QWEN3, QWEN3_VL, DecoderSpec, layer_groups

QWEN3_VL_2B = DecoderSpec("", "", 28, 151936, 2048, 6144, 16, 8, 128, 1e-6, 5e6, (24, 20, 20), QWEN3_VL)
QWEN3_0_6B = DecoderSpec("", "", 28, 151936, 1024, 3072, 16, 8, 128, 1e-6, 1e6, (), QWEN3)


def shapes(group: Any) -> dict[str, list[int]]:
    return {tensor["name"]: tensor["shape"] for tensor in (*group["inputs"], *group["outputs"])}


def test_groups_are_those_of_the_published_qwen3_vl() -> None:
    groups = layer_groups(QWEN3_VL_2B, 2047, 128, tuple(range(128, 1153, 128)))
    decode, first, *later = map(shapes, groups)
    assert decode == {
        "K_cache": [1, 2047, 1024],
        "V_cache": [1, 2047, 1024],
        "indices": [1, 1],
        "input": [1, 1, 2048],
        "mask": [1, 1, 2048],
        "K_cache_out": [1, 1, 1024],
        "V_cache_out": [1, 1, 1024],
        "output": [1, 1, 2048],
    }
    prefill = {
        "indices": [3, 128],
        "input": [1, 128, 2048],
        "K_cache_out": [1, 128, 1024],
        "V_cache_out": [1, 128, 1024],
        "output": [1, 128, 2048],
    }
    assert first == prefill | {"K_cache": [1, 1, 2048], "V_cache": [1, 1, 2048], "mask": [1, 128, 128]}
    assert later == [
        prefill | {"K_cache": [1, h, 1024], "V_cache": [1, h, 1024], "mask": [1, 128, h + 128]}
        for h in (128, 256, 384, 512, 640, 768, 896, 1024, 1152)
    ]


def test_every_group_lists_the_same_tensors_in_the_same_order() -> None:
    for group in layer_groups(QWEN3_VL_2B, 2047, 128, (128, 512)):
        assert [(tensor["name"], tensor["dtype"]) for tensor in group["inputs"]] == [
            ("K_cache", "bfloat16"),
            ("V_cache", "bfloat16"),
            ("indices", "uint32"),
            ("input", "bfloat16"),
            ("mask", "bfloat16"),
        ]
        assert [(tensor["name"], tensor["dtype"]) for tensor in group["outputs"]] == [
            ("K_cache_out", "bfloat16"),
            ("V_cache_out", "bfloat16"),
            ("output", "bfloat16"),
        ]


def test_only_the_dummy_cache_is_fed_in_another_shape() -> None:
    groups = layer_groups(QWEN3_VL_2B, 2047, 128, (128, 512))
    feeds = [[tensor.get("feed") for tensor in group["inputs"]] for group in groups]
    as_it_is = [None] * 5
    assert feeds == [as_it_is, [[1, 0, 1024], [1, 0, 1024], None, None, None], as_it_is, as_it_is]


def test_plain_positions_have_one_row() -> None:
    groups = layer_groups(QWEN3_0_6B, 2047, 128, (128,))
    assert [shapes(group)["indices"] for group in groups] == [[1, 1], [1, 128], [1, 128]]
