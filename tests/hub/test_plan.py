"""Which files of a repository are taken, on the lists of what was published."""

import re

import pytest

from backends.axcl.chip import wrong_chip
from gateway.hub.catalogue import Catalogue
from gateway.hub.errors import PullError
from gateway.hub.plan import TOKENIZER_FILES, Choice, Plan, make_plan
from tests.hub.published import EMBEDDINGS, TOKENIZER, inside, listing, package

ENTRIES = Catalogue.load().entries
SERVED = [name for name, entry in ENTRIES.items() if entry.refused is None]


def plan_of(name: str) -> Plan:
    entry = ENTRIES[name]
    published = listing(entry.repository)
    other = entry.choice.other_repository(published)
    return make_plan(published, entry.choice, None if other is None else listing(other, TOKENIZER))


@pytest.mark.parametrize("name", SERVED)
def test_every_entry_of_the_catalogue_makes_a_whole_package(name: str) -> None:
    files = plan_of(name).files
    layers = [match for each in files if (match := re.fullmatch(r"(.+)_p\d+_l(\d+)_together\.axmodel", each))]
    (prefix,) = {match[1] for match in layers}
    assert [int(match[2]) for match in layers] == list(range(len(layers)))
    others = [each for each in files if "_together" not in each]
    vision = [each for each in others if re.search("vision|vit", each)]
    assert len(vision) == (ENTRIES[name].family is not None)
    read = {f"tokenizer/{each}" for each in TOKENIZER_FILES}
    assert {"tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"} <= set(others)
    assert {f"{prefix}_post.axmodel", EMBEDDINGS, *vision} == set(others) - read - {
        "config.json",
        "post_config.json",
    }


def test_parts_of_a_package_may_lie_in_folders_of_their_own() -> None:
    files = plan_of("internvl3-2b").files
    assert files["internvl3_2b_vit_slim.axmodel"].path == "vit_axmodel/internvl3_2b_vit_slim.axmodel"
    files = plan_of("internvl3.5-1b-int4").files
    assert files["config.json"].path == "InternVL3_5-1B_GPTQ_INT4-AX650/config.json"
    assert files["tokenizer/tokenizer.json"].repository == "OpenGVLab/InternVL3_5-1B-HF"


def test_a_tokenizer_beside_the_layers_stays_there() -> None:
    plan = make_plan(
        listing("a/b", inside("p", package("qwen3_p8", 1)), inside("p", TOKENIZER)), Choice(), None
    )
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.json"} <= plan.files.keys()
    assert plan.size == 10**6 * len(plan.files)


def test_what_is_nearest_to_the_layers_is_taken() -> None:
    other = inside("other", package("llama_p8", 1, "other_vision.axmodel", "tokenizer.json"))
    nested = inside("p/deeper", "tokenizer.json")
    text = inside("p", package("qwen3_p8", 1, "tokenizer.json"))
    plan = make_plan(listing("a/b", other, nested, text), Choice(folder="p"), None)
    assert {file.folder for file in plan.files.values()} == {"p"}


@pytest.mark.parametrize(
    ("repository", "message"),
    [
        (
            "AXERA-TECH/Qwen3-VL-2B-Instruct-GPTQ-Int4-AX630C-P320-CTX448",
            "is compiled for AX630C, which an AX650N cannot run.",
        ),
        ("AXERA-TECH/Qwen3-0.6B-GPTQ-Int4-AX620E", "is compiled for AX620E, which an AX650N cannot run."),
        (
            ENTRIES["qwen3-vl-8b-int4-tp4"].repository,
            "holds no package: none of its files is named like a layer graph "
            "(<prefix>_p<chunk>_l<i>_together.axmodel).",
        ),
        (
            "AXERA-TECH/Qwen3-0.6B-GPTQ-Int4",
            "holds several packages; choose one with --folder: . (34.0 MB), "
            "Qwen3-0.6B-GPTQ-Int4-AX650-C256-P1024-CTX2047 (30.0 MB).",
        ),
        (
            "AXERA-TECH/Qwen3-4B-Instruct-2507-GPTQ-Int4",
            "holds several tokenizers; choose one with --tokenizer: qwen2.5_tokenizer, qwen3_tokenizer.",
        ),
    ],
)
def test_a_published_repository_that_does_not_say_which_is_told(repository: str, message: str) -> None:
    with pytest.raises(PullError) as caught:
        make_plan(listing(repository), Choice(), None)
    assert str(caught.value) == f"{repository} {message}"


WHOLE = f"{package('qwen3_p8', 3)} tokenizer.json"


@pytest.mark.parametrize(
    ("names", "choice", "message"),
    [
        (
            WHOLE.replace("qwen3_p8_l1_t", "x_t"),
            Choice(),
            "a/b lacks the graph of layer 1 (there are 2 others).",
        ),
        (
            f"{WHOLE} other_p8_l1_together.axmodel",
            Choice(),
            "a/b mixes layer graphs of several models: qwen3_p8_l1_together.axmodel and "
            "other_p8_l1_together.axmodel.",
        ),
        (
            WHOLE.replace("qwen3_post", "x"),
            Choice(),
            "a/b should hold one file like *_post.axmodel, but there are none.",
        ),
        (
            f"{WHOLE} other_post.axmodel",
            Choice(),
            "a/b should hold one file like *_post.axmodel, but there are several: "
            "other_post.axmodel (1.0 MB), qwen3_post.axmodel (1.0 MB).",
        ),
        (
            WHOLE.replace("bfloat16.bin", "npy"),
            Choice(),
            "a/b should hold one file like *embed_tokens*.bfloat16.bin, but there are none.",
        ),
        (WHOLE, Choice(vision="v.axmodel"), "a/b holds no vision graph v.axmodel; there is: none."),
        (
            f"{WHOLE} x_vision.axmodel",
            Choice(vision="v.axmodel"),
            "a/b holds no vision graph v.axmodel; there is: x_vision.axmodel (1.0 MB).",
        ),
        (f"{WHOLE} t/vocab.json", Choice(tokenizer="t"), "a/b/t holds no tokenizer.json."),
    ],
)
def test_a_part_that_is_missing_or_there_twice_is_named(names: str, choice: Choice, message: str) -> None:
    with pytest.raises(PullError) as caught:
        make_plan(listing("a/b", names), choice, None)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("repository", "path", "chip"),
    [
        ("a/Qwen3-VL-2B-Instruct", "Qwen3-VL-2B-Instruct-AX650-c128_p1152", None),
        ("a/Qwen3-VL-2B-Instruct", "Qwen3-VL-2B-Instruct-AX630C-c64_p192-Int4", "AX630C"),
        ("a/Qwen3-0.6B-AX637", ".", "AX637"),
        ("a/Qwen3-0.6B-AX637", "x-ax650n", None),
        ("a/Model-AX8850", ".", None),
        ("a/x", "SmolVLM2-256M-Video-Instruct_Ax650-C128-P768-CTX1024", None),
        ("a/x", "x/Qwen3-VL-2B-Instruct_vision_u8_320_ax630c.axmodel", "AX630C"),
        ("AXERA-TECH/x", "p-max1024", None),
        ("AXERA-TECH/x", ".", None),
    ],
)
def test_a_name_tells_the_chip(repository: str, path: str, chip: str | None) -> None:
    assert wrong_chip(path, repository) == chip
