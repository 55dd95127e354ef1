"""/v1/responses/{id}: what is kept, for whom it was made."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.refusal import refusal
from gateway.api.responses.items import AnyItem
from gateway.api.responses.store import Kept, ResponseStore
from gateway.api.wire import Wire, json_response
from gateway.errors import InvalidRequest, NotFound, cut


def _number(value: object) -> object:
    """In a query all is text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else value


class ItemsQuery(Wire):
    limit: Annotated[int, Field(ge=1, le=100), BeforeValidator(_number)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


class ItemList(Wire):
    object: Literal["list"] = "list"
    data: list[AnyItem]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(Wire):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class KeptResponses:
    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def one(self, request: Request) -> Response:
        """GET and DELETE /v1/responses/{id}."""
        return self._deleted(request) if request.method == "DELETE" else self._told(request)

    async def items(self, request: Request) -> Response:
        """GET /v1/responses/{id}/input_items, those of the responses before it included."""
        try:
            query = ItemsQuery.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise refusal(error) from None
        kept = self._found(request)
        items = [*kept.before, *kept.asked]
        if query.order == "desc":
            items.reverse()
        if query.after is not None:
            places = [place for place, item in enumerate(items) if item.id == query.after]
            if not places:
                raise InvalidRequest(f"There is no item '{cut(query.after)}' here.", param="after")
            items = items[places[0] + 1 :]
        page = [item.read() for item in items[: query.limit]]
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        return json_response(
            ItemList(data=page, first_id=first, last_id=last, has_more=len(items) > len(page))
        )

    async def cancel(self, request: Request) -> Response:
        self._found(request)
        raise InvalidRequest("Cannot cancel a synchronous response.", param="response_id")

    def _told(self, request: Request) -> Response:
        if request.query_params.get("stream") == "true":
            raise InvalidRequest("Only a response in the background can be streamed later.", param="stream")
        return Response(self._found(request).response, media_type="application/json")

    def _deleted(self, request: Request) -> Response:
        """Responses that follow it go on knowing what was said."""
        kept = self._found(request)
        self._store.drop(request.scope["owner"], kept.id)
        return json_response(Deleted(id=kept.id))

    def _found(self, request: Request) -> Kept:
        """Raises NotFound."""
        id = request.path_params["id"]
        kept = self._store.find(request.scope["owner"], id)
        if kept is None:
            raise NotFound(f"Response with id '{cut(id)}' not found.")
        return kept
