import json
from math import inf, nan
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from backends.base import PackageError
from gateway.chat.generation import GenerationDefaults
from gateway.chat.tokenizer import Tokenizer
from tests.chat.conversations import DEMO
from tests.chat.models import VOCAB_SIZE


def folder(path: Path, **configs: object) -> Path:
    """The demo's tokenizer with other files around it."""
    (path / "tokenizer.json").write_bytes((DEMO / "tokenizer.json").read_bytes())
    for name, config in configs.items():
        (path / f"{name}.json").write_text(json.dumps(config))
    return path


def defaults(path: Path, **otherwise: float) -> GenerationDefaults:
    return GenerationDefaults.load(path, Tokenizer.load(path), otherwise)


DEMO_TOKENIZER = Tokenizer.load(DEMO)


def ids(*tokens: str) -> frozenset[int]:
    found = [Tokenizer.load(DEMO).token_id(token) for token in tokens]
    return frozenset(token_id for token_id in found if token_id is not None)


@pytest.mark.parametrize("text", ["What color is it?", "重复：你好🌍 مرحبا\n", "", " a  b "])
def test_text_survives_the_round_trip(text: str) -> None:
    tokenizer = Tokenizer.load(DEMO)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_in_a_text_are_one_id_each_and_are_not_shown() -> None:
    tokenizer = Tokenizer.load(DEMO)
    encoded = tokenizer.encode("<|im_start|>Hi<|im_end|>")
    assert (encoded[0], encoded[-1]) == (tokenizer.token_id("<|im_start|>"), tokenizer.token_id("<|im_end|>"))
    assert tokenizer.decode(encoded) == "Hi"


# No special tokens, and not the character that is dropped.
@given(st.text(st.characters(codec="utf-8", exclude_characters="|\ufdd0")))
def test_the_bytes_of_its_tokens_are_the_text(text: str) -> None:
    parts = [DEMO_TOKENIZER.token_bytes(token_id) for token_id in DEMO_TOKENIZER.encode(text)]
    assert b"".join(part or b"" for part in parts) == text.encode()


def test_every_token_has_the_bytes_it_is_decoded_to_and_special_ones_none() -> None:
    tokenizer = DEMO_TOKENIZER
    for token_id in range(VOCAB_SIZE):
        data = tokenizer.token_bytes(token_id)
        assert (data or b"").decode(errors="replace") == tokenizer.decode([token_id])
        assert tokenizer.token_text(token_id) != ""
        assert (data is None) == (tokenizer.decode([token_id]) == "")
    single = {tokenizer.token_bytes(token_id) for token_id in range(VOCAB_SIZE)}
    assert {bytes([byte]) for byte in "🌍é a".encode()} <= single


def test_a_special_token_is_called_by_its_name_and_has_no_bytes() -> None:
    (token_id,) = ids("<|im_end|>")
    tokenizer = DEMO_TOKENIZER
    assert (tokenizer.token_text(token_id), tokenizer.token_bytes(token_id)) == ("<|im_end|>", None)
    assert (tokenizer.token_text(10**6), tokenizer.token_bytes(10**6)) == ("", None)


def test_an_added_token_that_is_shown_has_bytes() -> None:
    inner = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    inner.add_tokens(["<think>", "<a 重>"])
    tokenizer = Tokenizer(inner, {})
    for token in ("<think>", "<a 重>"):
        (token_id,) = tokenizer.encode(token)
        assert (tokenizer.token_bytes(token_id), tokenizer.decode([token_id])) == (token.encode(), token)


def test_tokens_in_the_way_of_sentencepiece_are_understood() -> None:
    vocab = {"<unk>": 0, "\u2581red": 1, "<0xF0>": 2, "<0x9F>": 3, "<0x8C>": 4, "<0x8D>": 5, "é": 6}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    decoders = tokenizers.decoders
    inner.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer = Tokenizer(inner, {})
    token_ids = [1, 6, 2, 3, 4, 5, 1]
    data = b"".join(tokenizer.token_bytes(token_id) or b"" for token_id in token_ids)
    assert data.decode() == tokenizer.decode(token_ids) == " redé🌍 red"


def test_nothing_is_added_to_a_text(tmp_path: Path) -> None:
    tokenizer_json = json.loads((DEMO / "tokenizer.json").read_text())
    begin = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    tokenizer_json["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, text],
        "pair": [begin, text],
        "special_tokens": {
            "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]},
        },
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json))
    assert Tokenizer.load(tmp_path).encode("") == []
    assert Tokenizer.load(tmp_path).encode("Hi") == Tokenizer.load(DEMO).encode("Hi")


def test_an_id_without_a_token_has_no_text() -> None:
    """The output layer of a model may be wider than its vocabulary."""
    tokenizer = Tokenizer.load(DEMO)
    assert tokenizer.decode([*tokenizer.encode("Hi"), VOCAB_SIZE, 10**6]) == "Hi"


def test_ids_go_up_to_the_size_of_the_vocabulary() -> None:
    tokenizer = Tokenizer.load(DEMO)
    assert tokenizer.decode([VOCAB_SIZE - 1]) != ""
    assert tokenizer.token_id("no such token") is None


def test_special_tokens_have_the_names_templates_use(tmp_path: Path) -> None:
    config = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "<|im_end|>", "pad_token": None}
    assert Tokenizer.load(folder(tmp_path, tokenizer_config=config)).special_tokens == {
        "bos_token": "<s>",
        "eos_token": "<|im_end|>",
    }


def test_padding_and_truncation_of_training_do_not_apply(tmp_path: Path) -> None:
    tokenizer_json = json.loads((DEMO / "tokenizer.json").read_text())
    tokenizer_json["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json))
    assert (
        Tokenizer.load(tmp_path).decode(Tokenizer.load(tmp_path).encode("one two three")) == "one two three"
    )


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError) as error:
        Tokenizer.load(tmp_path)
    assert str(error.value) == f"{tmp_path / 'tokenizer.json'}: not there; expected a Hugging Face tokenizer"


@pytest.mark.parametrize("model", ["5", '{"type": "BPE", "vocab": {}, "merges": []}'])
def test_a_broken_tokenizer_is_named(tmp_path: Path, model: str) -> None:
    (tmp_path / "tokenizer.json").write_text(f'{{"model": {model}}}')
    with pytest.raises(PackageError) as error:
        Tokenizer.load(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'tokenizer.json'}: expected a Hugging Face tokenizer: ")


@pytest.mark.parametrize("text", ["{", "[]", "\xff", "[" * 100_000])
def test_a_broken_config_is_named(tmp_path: Path, text: str) -> None:
    path = folder(tmp_path) / "tokenizer_config.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(PackageError) as error:
        Tokenizer.load(tmp_path)
    assert str(error.value).startswith(f"{path}: expected ")


def test_stop_tokens_are_those_listed_and_those_known_by_name(tmp_path: Path) -> None:
    found = defaults(folder(tmp_path, generation_config={"eos_token_id": [7, 8]}, tokenizer_config={}))
    assert found.stop_token_ids == {7, 8} | ids("<|im_end|>", "<|endoftext|>")


def test_a_single_stop_token_needs_no_list(tmp_path: Path) -> None:
    found = defaults(folder(tmp_path, generation_config={"eos_token_id": 9}))
    assert found.stop_token_ids == {9} | ids("<|im_end|>", "<|endoftext|>")


def test_the_end_token_of_the_tokenizer_stops(tmp_path: Path) -> None:
    found = defaults(folder(tmp_path, tokenizer_config={"eos_token": "<|vision_end|>"}))
    assert found.stop_token_ids == ids("<|im_end|>", "<|endoftext|>", "<|vision_end|>")


def test_sampling_is_what_the_makers_recommend(tmp_path: Path) -> None:
    config = {
        "do_sample": True,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.8,
        "min_p": 0.1,
        "repetition_penalty": 1.05,
    }
    found = defaults(folder(tmp_path, generation_config=config))
    assert found == GenerationDefaults(found.stop_token_ids, 0.7, 20, 0.8, 0.1, 1.05)


def test_without_sampling_a_model_is_greedy(tmp_path: Path) -> None:
    assert (
        defaults(folder(tmp_path, generation_config={"do_sample": False, "temperature": 0.7})).temperature
        == 0
    )


def test_without_a_file_nothing_is_cut_off_the_distribution(tmp_path: Path) -> None:
    found = defaults(folder(tmp_path))
    assert found == GenerationDefaults(found.stop_token_ids, 1.0, 0, 1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("config", "expected"),
    [({"eos_token_id": 9}, (0.9, 10)), ({"top_k": 0}, (1.0, 0)), ({"do_sample": False}, (0.0, 0))],
)
def test_what_the_makers_leave_open_is_as_the_package_says(
    tmp_path: Path, config: dict[str, object], expected: tuple[float, int]
) -> None:
    found = defaults(folder(tmp_path, generation_config=config), temperature=0.9, top_k=10)
    assert (found.temperature, found.top_k) == expected


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"temperature": "hot"}, "temperature: expected a number from 0 to 1e+06, found 'hot'"),
        ({"temperature": -1}, "temperature: expected a number from 0 to 1e+06, found -1"),
        ({"top_k": True}, "top_k: expected a number from 0 to 1e+06, found True"),
        ({"top_k": inf}, "top_k: expected a number from 0 to 1e+06, found inf"),
        ({"top_p": nan}, "top_p: expected a number from 0 to 1, found nan"),
        ({"min_p": 7}, "min_p: expected a number from 0 to 1, found 7"),
        ({"eos_token_id": ["x"]}, "eos_token_id: expected an id or a list of ids, found ['x']"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, config: dict[str, object], sentence: str) -> None:
    with pytest.raises(PackageError) as error:
        defaults(folder(tmp_path, generation_config=config))
    assert str(error.value) == f"{tmp_path / 'generation_config.json'}: {sentence}"
