"""Where settings come from, what happens to wrong ones, and that the documentation names them all."""

import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings, SettingsError, command_line, load

SHA256 = "0123456789abcdefABCDEF0123456789" * 2
PAGE = Path(__file__).parents[1] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without axgate.toml, and no AXGATE_ variables."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"AXGATE_{name.upper()}", raising=False)
    return tmp_path


def given(*arguments: str) -> dict[str, Any]:
    parser = ArgumentParser()
    source = command_line(parser)
    return source(parsed_args=parser.parse_args(arguments))()


def test_the_documentation_has_one_row_per_setting_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*?) \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(
        (name, f"AXGATE_{name.upper()}", shown(field.default), field.description)
        for name, field in Settings.model_fields.items()
    )


def shown(default: object) -> str:
    if default in (None, ()):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_every_setting_is_an_option_an_environment_variable_and_a_key(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "host": "0.0.0.0",
        "port": 1,
        "max_body_mb": 2,
        "api_keys": (f"ann:{SHA256}", f"bob:{SHA256}"),
        "cors_origins": ("https://chat.example", "http://localhost:3000"),
        "model": ("m", "n=o"),
        "vision_models": Path("v.json"),
        "vision_entries": ("p", "q"),
        "device": "emulator",
        "device_index": 3,
        "kv_write": "copy",
        "emulated_memory_mb": 4,
        "emulated_clock": "qwen3-vl-4b",
        "max_sessions": 5,
        "host_cache_mb": 6,
        "feature_cache_mb": 7,
        "max_waiting": 8,
        "max_image_mb": 9,
        "max_image_megapixels": 10,
        "max_video_mb": 12,
        "media_timeout_s": 11.5,
        "allow_private_media": True,
        "log_level": "debug",
        "log_json": True,
    }
    path = elsewhere / "all.toml"
    path.write_text("\n".join(f"{name} = {as_toml(value)}" for name, value in values.items()))
    expected = values | {"config": path}
    assert expected.keys() == Settings.model_fields.keys()

    options = [
        part
        for name, value in expected.items()
        for part in (
            [f"--{name.replace('_', '-')}"]
            if value is True
            else [f"--{name.replace('_', '-')}", as_text(value)]
        )
    ]
    assert load(given(*options)).model_dump() == expected
    assert load({"config": path}).model_dump() == expected
    for name, value in expected.items():
        monkeypatch.setenv(f"AXGATE_{name.upper()}", as_text(value))
    assert load({}).model_dump() == expected


def as_toml(value: object) -> str:
    match value:
        case str() | Path():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(as_toml, value))}]"
    return str(value).lower()


def as_text(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("entry", ["sk-secret", "ann:sk-secret", f":{SHA256}", f"a b:{SHA256}", ""])
def test_a_key_that_is_not_hashed_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setenv("AXGATE_API_KEYS", f"ann:{SHA256},{entry}")
    with pytest.raises(SettingsError) as caught:
        load({})
    assert str(caught.value) == (
        "Setting api_keys: expected NAME:SHA256, with the SHA-256 of the key in 64 hexadecimal digits."
    )


@pytest.mark.parametrize("origin", ["chat.example", "https://chat.example/", "https://a b", ""])
def test_an_origin_is_what_a_browser_calls_one(origin: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"cors_origins": [origin]})
    assert str(caught.value) == (
        f"Setting cors_origins = {origin!r}: expected * or an origin such as https://chat.example."
    )
    assert load({"cors_origins": "*"}).cors_origins == ("*",)


@pytest.mark.parametrize(
    ("given_as", "models"),
    [
        (("--model", "a"), ("a",)),
        (("--model", "a", "--model", "x=b"), ("a", "x=b")),
        (("--model", "a, x=b"), ("a", "x=b")),
        (("--model", "a,x=b", "--model", "c=/d=e"), ("a", "x=b", "c=/d=e")),
    ],
)
def test_several_models_are_given_with_commas_or_one_by_one(
    given_as: tuple[str, ...], models: tuple[str, ...]
) -> None:
    assert load(given(*given_as)).model == models


@pytest.mark.parametrize("entry", ["", "=a", "a="])
def test_a_model_is_a_folder_that_may_have_a_name(entry: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"model": f"a,{entry}"})
    assert str(caught.value) == f"Setting model = {entry!r}: expected DIR or NAME=DIR."


def test_hashes_of_keys_are_not_shown() -> None:
    assert SHA256 not in repr(load({"api_keys": f"ann:{SHA256}"}))


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "axgate.toml").write_text('host = "file"\nport = 1\nmax_sessions = 1')
    monkeypatch.setenv("AXGATE_PORT", "2")
    monkeypatch.setenv("AXGATE_MAX_SESSIONS", "2")
    settings = load(given("--max-sessions", "3"))
    assert (settings.host, settings.port, settings.max_sessions) == ("file", 2, 3)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("prot = 1", "There is no setting prot. Did you mean port?"),
        ("[server]\nport = 1", "There is no setting server."),
        (
            "port = 'x'",
            "Setting port = 'x': input should be a valid integer, unable to parse string as an integer.",
        ),
        ("port = 70000", "Setting port = 70000: input should be less than or equal to 65535."),
        (
            "device = 'npu'\nmax_sessions = 0",
            "Setting device = 'npu': input should be 'auto', 'card' or 'emulator'. "
            "Setting max_sessions = 0: input should be greater than or equal to 1.",
        ),
    ],
)
def test_a_wrong_file_is_one_readable_line(elsewhere: Path, file: str, message: str) -> None:
    (elsewhere / "axgate.toml").write_text(file)
    with pytest.raises(SettingsError) as caught:
        load({})
    assert str(caught.value) == message


def test_a_file_that_is_no_toml_is_told_with_its_line(elsewhere: Path) -> None:
    (elsewhere / "axgate.toml").write_text("host = 'x'\nport\n")
    with pytest.raises(SettingsError, match=r"^axgate\.toml is not valid TOML: .*line 2"):
        load({})
    (elsewhere / "axgate.toml").write_bytes(b"host = '\xff'")
    with pytest.raises(SettingsError, match=r"^axgate\.toml is not valid TOML: "):
        load({})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("AXGATE_PROT", " Did you mean AXGATE_PORT?"),
        ("axgate_prot", " Did you mean AXGATE_PORT?"),
        ("AXGATE_X", ""),
    ],
)
def test_an_unknown_variable_of_ours_is_told(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError) as caught:
        load({})
    assert str(caught.value) == f"There is no setting {name.upper()}.{hint}"


def test_a_file_cannot_name_another(elsewhere: Path) -> None:
    (elsewhere / "axgate.toml").write_text("config = 'other.toml'")
    with pytest.raises(SettingsError, match=r"^axgate\.toml sets config, which "):
        load({})


def test_a_folder_is_no_file(elsewhere: Path) -> None:
    (elsewhere / "folder").mkdir()
    with pytest.raises(SettingsError, match=r"^folder is a folder, not a configuration file\.$"):
        load(given("--config", "folder"))
    (elsewhere / "axgate.toml").mkdir()
    with pytest.raises(SettingsError, match=r"^axgate\.toml is a folder, not a configuration file\.$"):
        load({})


def test_pictures_of_24_megapixels_are_taken_by_default() -> None:
    assert load({}).max_image_megapixels * 10**6 >= 6000 * 4000


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^There is no configuration file nope\.toml\.$"):
        load(given("--config", "nope.toml"))
    monkeypatch.setenv("AXGATE_CONFIG", "neither.toml")
    with pytest.raises(SettingsError, match=r"^There is no configuration file neither\.toml\.$"):
        load({})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}).port = 1
