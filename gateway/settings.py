"""Every setting, once: its name, default, unit and meaning.

A value comes from the command line, else from the environment (`AXGATE_PORT`), else from the TOML file
(`port = 8080`), else it is the default. This is the only module that reads the environment.
"""

import re
from argparse import ArgumentParser
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

DEFAULT_CONFIG = Path("axgate.toml")

Count = Annotated[int, Field(ge=1)]
Megabytes = Annotated[int, Field(ge=0)]


def _like(pattern: str, expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise PydanticCustomError("not_like", "Expected {expected}", {"expected": expected})
        return value

    return AfterValidator(check)


KeyEntry = Annotated[
    str,
    _like(r"[\w.@-]+:[0-9a-fA-F]{64}", "NAME:SHA256, with the SHA-256 of the key in 64 hexadecimal digits"),
]
ModelEntry = Annotated[str, _like(r"[^=]+(=.+)?", "DIR or NAME=DIR")]
Origin = Annotated[
    str, _like(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+", "* or an origin such as https://chat.example")
]


def _listed(value: object) -> object:
    """On the command line and in the environment a list is one text."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


LISTED = (NoDecode, BeforeValidator(_listed))


class SettingsError(Exception):
    """The settings cannot be used; the message is one line for the person who wrote them."""


class Settings(BaseSettings):
    """Megabytes are 10^6 bytes."""

    model_config = SettingsConfigDict(
        env_prefix="AXGATE_",
        extra="forbid",
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    config: Path | None = Field(None, description="TOML file to read; ./axgate.toml is read when it exists")

    # server
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 takes a free one")
    max_body_mb: Count = Field(64, description="largest request body, in megabytes")
    api_keys: Annotated[tuple[KeyEntry, ...], *LISTED] = Field(
        (), repr=False, description="who may ask, each as NAME:SHA256 of a key; without any, everybody"
    )
    cors_origins: Annotated[tuple[Origin, ...], *LISTED] = Field(
        (), description="web pages that may ask from a browser, such as https://chat.example, or * for all"
    )

    # model
    model: Annotated[tuple[ModelEntry, ...], *LISTED] = Field(
        (),
        description="model package folders, each as DIR or NAME=DIR; the folder's name is the model's, "
        "unless given; without any, the built-in demo models",
    )
    vision_models: Path | None = Field(
        None, description="a vision_models.json to use instead of the built-in one"
    )
    vision_entries: Annotated[tuple[str, ...], *LISTED] = Field(
        (), description="entries of vision_models.json to prefer where several fit a package"
    )

    # device
    device: Literal["auto", "card", "emulator"] = Field(
        "auto", description="card, emulator, or auto: what the model is made for"
    )
    device_index: int = Field(0, ge=0, description="which card, counted from 0")
    kv_write: Literal["auto", "direct", "copy", "vendor"] = Field(
        "auto",
        description="how K and V rows reach the cache; auto takes the fastest way that passes the self-test",
    )
    emulated_memory_mb: Count = Field(2000, description="device memory of the emulated card, in megabytes")
    emulated_clock: Literal["compute", "smolvlm-256m", "internvl3-1b", "qwen3-vl-2b", "qwen3-vl-4b"] = Field(
        "compute",
        description="how long the emulated card takes: as long as this machine computes, or as a card is "
        "recorded to take with this model",
    )

    # limits
    max_sessions: Count = Field(
        8, description="conversations of each model whose KV cache is kept on the device"
    )
    host_cache_mb: Megabytes = Field(
        1000,
        description="host memory for KV caches moved off the device, of all models together, in megabytes",
    )
    feature_cache_mb: Megabytes = Field(
        256, description="host memory for encoded pictures, of all models together, in megabytes"
    )
    max_waiting: Count = Field(64, description="requests that may wait; further ones are answered 503")
    max_image_mb: Count = Field(20, description="largest picture file, in megabytes")
    max_image_megapixels: Count = Field(
        32, description="largest picture, and all frames taken of a video together, in megapixels"
    )
    max_video_mb: Count = Field(50, description="largest video file, in megabytes")
    media_timeout_s: Annotated[float, Field(gt=0)] = Field(
        10.0, description="time to fetch one picture or video, in seconds"
    )
    allow_private_media: bool = Field(
        False, description="fetch pictures and videos from private and local addresses too"
    )

    # logs
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe level logged"
    )
    log_json: bool = Field(False, description="log one JSON object per line")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(env_settings, EnvSettingsSource)
        for name in env_settings.env_vars:
            setting = name.removeprefix("axgate_")
            if setting != name and setting not in settings_cls.model_fields:
                raise SettingsError(_no_setting(setting, "AXGATE_"))
        chosen = init_settings().get("config") or env_settings().get("config")
        if chosen and not Path(chosen).exists():
            raise SettingsError(f"There is no configuration file {chosen}.")
        return init_settings, env_settings, _file(settings_cls, Path(chosen or DEFAULT_CONFIG))


def load(options: dict[str, Any]) -> Settings:
    """`options` are those given on the command line. Raises SettingsError."""
    try:
        return Settings(**options)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None


def command_line(parser: ArgumentParser) -> "CliSettingsSource[ArgumentParser]":
    """Adds an option per setting to `parser`; called with the parsed arguments, then with nothing, the result
    gives those that were set, fit for `load`."""
    return CliSettingsSource(Settings, root_parser=parser)


def _file(settings_cls: type[BaseSettings], path: Path) -> TomlConfigSettingsSource:
    if path.is_dir():
        raise SettingsError(f"{path} is a folder, not a configuration file.")
    try:
        source = TomlConfigSettingsSource(settings_cls, path)
    except ValueError as error:  # of TOML with line and column, or of what is no UTF-8
        raise SettingsError(f"{path} is not valid TOML: {error}.") from None
    if "config" in source.toml_data:
        raise SettingsError(f"{path} sets config, which says where the file is and cannot stand in it.")
    return source


def _sentence(error: ValidationError) -> str:
    return " ".join(
        _complaint(str(each["loc"][0]), each["type"], each["msg"], each["input"]) for each in error.errors()
    )


def _complaint(name: str, kind: str, message: str, value: object) -> str:
    if kind != "extra_forbidden":
        shown = f" = {value!r}" if Settings.model_fields[name].repr else ""  # a secret may have got there
        return f"Setting {name}{shown}: {message[0].lower()}{message[1:]}."
    return _no_setting(name)


def _no_setting(name: str, prefix: str = "") -> str:
    """`prefix` and capitals are how the environment writes names."""
    similar = get_close_matches(name, Settings.model_fields, n=1)
    shown = [f"{prefix}{each.upper()}" if prefix else each for each in (name, *similar)]
    return f"There is no setting {shown[0]}." + (f" Did you mean {shown[1]}?" if similar else "")
