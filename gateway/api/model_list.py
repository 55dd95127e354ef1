"""The wire: what is told of a model, in the names that other servers use where there is one."""

from typing import Literal

from pydantic import Field

from gateway.api.wire import Wire


class Architecture(Wire):
    """OpenRouter's names."""

    input_modalities: list[Literal["text", "image", "video"]]
    output_modalities: list[Literal["text"]] = Field(default=["text"])


class Capabilities(Wire):
    vision: bool
    video: bool
    tools: bool
    structured_output: bool
    reasoning: bool


class WireModel(Wire):
    """The four keys OpenAI has, then ours: what a client may send to it. None where that is not known before
    the model was loaded for the first time."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    loaded: bool
    context_length: int | None
    architecture: Architecture | None
    capabilities: Capabilities | None
    min_tokens_per_image: int | None
    max_tokens_per_image: int | None
    limits: dict[str, int | None]


class ModelList(Wire):
    object: Literal["list"] = "list"
    data: list[WireModel]
