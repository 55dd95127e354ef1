"""One response after another, and what is kept of them."""

import json
from hashlib import sha256

import pytest
from openai.types.responses.response_item_list import ResponseItemList

from gateway.api.keys import ApiKey
from gateway.api.messages import MAX_MESSAGES
from gateway.chat.content import ImagePart, Message, ToolCall
from gateway.chat.reply import Delta
from tests.api.responding import CALLS, PATH, SAID, TOOL, answered, ask, get, refused, said
from tests.api.scripted_chat import ScriptedChat, scripted
from tests.api.service import (
    MODEL,
    RED_PIXEL,
    ScriptedEngine,
    call,
    service,
    tokenizer,
)

# --- one response after another


def test_a_response_goes_on_from_the_one_before_but_for_its_instructions() -> None:
    chat = scripted((Delta(reasoning="Hm."), Delta("Red.")), (Delta("Blue."),))
    app = service(ScriptedEngine(SAID), chat=chat)
    picture = {"role": "user", "content": [{"type": "input_image", "image_url": RED_PIXEL}]}
    first = answered(app, [picture], instructions="Be good.")
    second = answered(app, "And?", instructions="Be bad.", previous_response_id=first["id"])
    third = answered(app, "Why?", previous_response_id=second["id"])
    assert (second["previous_response_id"], third["previous_response_id"]) == (first["id"], second["id"])
    assert isinstance(chat, ScriptedChat)
    image = Message("user", (ImagePart(RED_PIXEL, "previous_response_id.content[0].image_url"),))
    red = said("assistant", "Red.", reasoning="Hm.")
    assert [list(conversation.messages) for conversation in chat.asked[1:]] == [
        [said("system", "Be bad."), image, red, said("user", "And?")],
        [image, red, said("user", "And?"), said("assistant", "Blue."), said("user", "Why?")],
    ]


def test_an_output_of_a_call_in_the_response_before_is_all_that_is_sent() -> None:
    chat = scripted(CALLS, (Delta("Blue."),), ends="tool_calls")
    app = service(ScriptedEngine(SAID), chat=chat)
    first = answered(app, tools=[TOOL])
    outputs = [
        {"type": "function_call_output", "call_id": call_id, "output": "blue"}
        for call_id in ("call_1", "call_2")
    ]
    answered(app, outputs, tools=[TOOL], previous_response_id=first["id"])
    assert isinstance(chat, ScriptedChat)
    assert list(chat.asked[1].messages) == [
        said("user", "Hi"),
        Message(
            "assistant",
            (),
            tool_calls=(ToolCall("call_1", "look", '{"at": "sky"}'), ToolCall("call_2", "look", "{}")),
            reasoning="Hm.",
        ),
        said("tool", "blue", name="look", tool_call_id="call_1"),
        said("tool", "blue", name="look", tool_call_id="call_2"),
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_a_streamed_response_can_be_followed_and_one_without_store_cannot(stream: bool) -> None:
    app = service()
    response = ask(app, stream=stream)
    id = json.loads(response.text.split("data: ")[-1])["response"]["id"] if stream else response.json()["id"]
    assert answered(app, previous_response_id=id, store=False)["store"] is False
    forgotten = answered(app, store=False)["id"]
    assert refused(ask(app, previous_response_id=forgotten))["code"] == "previous_response_not_found"
    assert refused(get(app, forgotten), 404)["message"] == f"Response with id '{forgotten}' not found."


def test_without_input_the_answer_before_is_continued() -> None:
    app = service(engine := ScriptedEngine("one two three four"))
    first = answered(app, max_output_tokens=2)
    call(app, PATH, json={"model": MODEL, "previous_response_id": first["id"]})
    begun, going_on = (request.prompt.token_ids.tolist() for request in engine.requests)
    told = tokenizer().encode(first["output"][0]["content"][0]["text"])
    assert going_on == begun + told


def test_items_of_kept_responses_can_be_referred_to() -> None:
    """As the AI SDK for JavaScript does with all that it got from the server."""
    chat = scripted(CALLS, (Delta("Blue."),), ends="tool_calls")
    app = service(ScriptedEngine(SAID), chat=chat)
    asked = [{"role": "user", "content": "Hi"}]
    first = answered(app, asked, tools=[TOOL])
    asked += [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    asked += [{"type": "function_call_output", "call_id": f"call_{n}", "output": "blue"} for n in (1, 2)]
    second = answered(app, asked, tools=[TOOL])
    assert isinstance(chat, ScriptedChat)
    calls = (ToolCall("call_1", "look", '{"at": "sky"}'), ToolCall("call_2", "look", "{}"))
    turns = [
        said("user", "Hi"),
        Message("assistant", (), tool_calls=calls, reasoning="Hm."),
        *(said("tool", "blue", name="look", tool_call_id=call.id) for call in calls),
    ]
    assert list(chat.asked[1].messages) == turns
    get(app, first["id"], "DELETE")
    asked.append({"type": "item_reference", "id": second["output"][0]["id"]})
    answered(app, [*asked, {"role": "user", "content": "Why?"}], tools=[TOOL])
    assert list(chat.asked[2].messages) == [*turns, said("assistant", "Blue."), said("user", "Why?")]


def test_an_item_that_is_not_kept_cannot_be_referred_to() -> None:
    app = service()
    forgotten = answered(app, store=False)["output"][0]["id"]
    error = refused(ask(app, [{"type": "item_reference", "id": forgotten}]), 404)
    assert (error["param"], error["code"]) == ("input", None)
    assert error["message"].startswith(f"Item with id '{forgotten}' not found.")


def test_a_conversation_has_no_more_items_than_can_be_sent_at_once() -> None:
    app = service()
    items = [{"type": "reasoning"}] * (MAX_MESSAGES - 2) + [{"role": "user", "content": "Hi"}]
    first = answered(app, items)
    error = refused(ask(app, "More", previous_response_id=first["id"]))
    assert (error["param"], error["code"]) == ("input", "array_above_max_length")
    assert f"has {MAX_MESSAGES + 1} items" in error["message"]
    answered(app, items[1:], previous_response_id=answered(app)["id"])


def test_what_is_served_for_a_kept_response_is_named_where_it_is_not() -> None:
    response = get(service(), "resp_1", "PUT")
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"DELETE", "GET", "HEAD"}


def test_nobody_gets_at_another_keys_responses() -> None:
    keys = [ApiKey(name, sha256(f"sk-{name}".encode()).digest()) for name in ("ann", "bob")]
    app = service(keys=keys)
    ann, bob = ({"authorization": f"Bearer sk-{name}"} for name in ("ann", "bob"))
    answer = ask(app, headers=ann).json()
    id, item = answer["id"], {"type": "item_reference", "id": answer["output"][0]["id"]}
    assert ask(app, [item], headers=bob).status_code == 404
    assert ask(app, [item], headers=ann).status_code == 200
    assert refused(ask(app, headers=bob, previous_response_id=id))["code"] == "previous_response_not_found"
    for method, path in (
        ("GET", id),
        ("DELETE", id),
        ("GET", f"{id}/input_items"),
        ("POST", f"{id}/cancel"),
    ):
        assert get(app, path, method, headers=bob).status_code == 404
    assert ask(app, headers=ann, previous_response_id=id).status_code == 200
    assert get(app, id).status_code == 401


# --- what is kept


def test_a_response_is_told_again_until_it_is_deleted() -> None:
    app = service()
    answer = answered(app)
    assert get(app, answer["id"]).json() == answer
    following = answered(app, "More", previous_response_id=answer["id"])
    deleted = get(app, answer["id"], "DELETE")
    assert (deleted.status_code, deleted.json()) == (
        200,
        {"id": answer["id"], "object": "response", "deleted": True},
    )
    assert refused(get(app, answer["id"]), 404)["param"] is None
    assert refused(get(app, answer["id"], "DELETE"), 404)["code"] is None
    assert len(get(app, f"{following['id']}/input_items").json()["data"]) == 3


def test_the_input_of_a_response_is_told_page_by_page_the_last_first() -> None:
    app = service(ScriptedEngine("Red."))
    picture = {"type": "input_image", "image_url": RED_PIXEL}
    first = answered(app, [{"role": "user", "content": [picture]}])
    second = answered(app, "Why?", previous_response_id=first["id"])
    path = f"{second['id']}/input_items"
    whole = get(app, path).json()
    ResponseItemList.model_validate(whole, strict=True)
    why, red, shown = whole["data"]
    assert why["content"] == [{"type": "input_text", "text": "Why?"}]
    assert red == first["output"][0]
    assert shown["content"] == [picture | {"detail": "auto", "file_id": None}]
    ids = [item["id"] for item in whole["data"]]
    assert (whole["first_id"], whole["last_id"], whole["has_more"]) == (ids[0], ids[-1], False)
    assert get(app, path).json() == whole
    page = get(app, path, params={"limit": 1, "order": "asc", "after": ids[-1]}).json()
    assert page == {"object": "list", "data": [red], "first_id": ids[1], "last_id": ids[1], "has_more": True}


@pytest.mark.parametrize(
    ("path", "method", "params", "param"),
    [
        ("input_items", "GET", {"limit": "0"}, "limit"),
        ("input_items", "GET", {"limit": "x"}, "limit"),
        ("input_items", "GET", {"order": "up"}, "order"),
        ("input_items", "GET", {"after": "msg_x"}, "after"),
        ("cancel", "POST", {}, "response_id"),
        ("", "GET", {"stream": "true"}, "stream"),
    ],
)
def test_what_cannot_be_done_with_a_kept_response_is_refused(
    path: str, method: str, params: dict[str, str], param: str
) -> None:
    app = service()
    id = answered(app)["id"]
    response = get(app, f"{id}/{path}".rstrip("/"), method, params=params)
    assert refused(response)["param"] == param
