"""What all of the wire's models have in common, and OpenAI's error body.

Requests are validated strictly: "5" is no integer, nor is true. Null means absent where a key is optional.
Keys nobody knows are ignored, as every client expects of a local server; what OpenAI knows and this server
does not do is accepted only with a value that changes nothing (`only`).
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from starlette.responses import Response

from gateway import __version__
from gateway.errors import GatewayError

FINGERPRINT = f"axgate-{__version__}"

MAX_NAME = 512  # characters in the name of a conversation


class Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    _optional: ClassVar[frozenset[str]] = frozenset()
    """The keys that may be absent."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        fields = cls.model_fields.items()
        cls._optional = frozenset(field.alias or name for name, field in fields if not field.is_required())

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls._optional}


@dataclass(frozen=True)
class Only:
    """Accepts the values that change nothing; any other is refused by name, not left out silently."""

    values: tuple[object, ...]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": list(self.values)}

    def _checked(self, value: object) -> object:
        if value not in self.values:
            named = " and ".join(json.dumps(each) for each in self.values)
            raise PydanticCustomError("unsupported_value", "Supported so far: {named}.", {"named": named})
        return value


def only(*values: object) -> Only:
    return Only(values)


def wrong(sentence: str) -> PydanticCustomError:
    """A value that cannot be used, and why."""
    return PydanticCustomError("unusable", "{sentence}", {"sentence": sentence})


def _one_as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


OneOrList = BeforeValidator(_one_as_list)

Ignored = Annotated[Any, "ignored"]
"""Of a key that OpenAI knows and that changes nothing here."""


class ErrorBody(Wire):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Wire):
    error: ErrorBody

    @classmethod
    def of(cls, error: GatewayError) -> "ErrorAnswer":
        return cls(
            error=ErrorBody(message=error.message, type=error.type, param=error.param, code=error.code)
        )


def json_response(answer: Wire) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
