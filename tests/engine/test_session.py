import pytest

from gateway.engine.prompt import Identity
from gateway.engine.session import Session, SessionStore, common_prefix, reusable, saves_a_chunk
from gateway.vision.layout import Tile
from tests.engine.toy import ROW_BYTES, ToyDevice, engine, picture, prompt, request, run


def taken(store: SessionStore, text: str, name: str | None = None) -> Session:
    """Acquire a session for a prompt and put all its rows on the device."""
    asked = prompt(text)
    session = store.acquire(Identity(name=name), asked)
    assert session is not None
    assert session.cache is not None
    rows = asked.num_tokens - len(session.keys)
    session.cache.rows += [bytes(ROW_BYTES)] * rows  # type: ignore[attr-defined]
    session.commit(asked.keys[len(session.keys) :])
    return session


@pytest.mark.parametrize(
    ("first", "second", "length"),
    [
        ((), (1,), 0),
        ((1, 2, 3), (1, 2, 3), 3),
        ((1, 2), (1, 2, 3), 2),
        ((1, 9, 3), (1, 2, 3), 1),
        ((9,), (1,), 0),
    ],
)
def test_common_prefix(first: tuple[int, ...], second: tuple[int, ...], length: int) -> None:
    assert common_prefix(first, second) == length


@pytest.mark.parametrize(
    ("length", "num_tokens", "saves"),
    [(0, 10, False), (1, 10, False), (2, 10, True), (3, 3, True), (4, 5, True)],
)
def test_a_copy_is_worth_it_when_it_saves_a_chunk(length: int, num_tokens: int, saves: bool) -> None:
    assert saves_a_chunk(length, num_tokens, 4) is saves


def test_the_last_position_is_always_run_again() -> None:
    assert reusable(5, prompt("12345"), ToyDevice.info) == 4


def test_keys_of_a_picture_never_look_like_token_ids() -> None:
    keys = prompt("ab", picture("red"), "c").keys
    assert all(key < 2**31 for key in (*keys[:2], keys[6]))
    assert all(key >= 2**32 for key in keys[2:6])
    assert len(set(keys)) == 7


def test_tiles_made_by_one_run_of_the_graph_are_told_apart_by_their_rows() -> None:
    keys = prompt(picture("red", Tile((2, 2)), Tile((2, 2), first=4))).keys
    assert len(set(keys)) == 8


def test_the_same_picture_at_another_time_of_a_video_is_another_prefix() -> None:
    early, late = (prompt(picture("red", Tile((2, 2)), Tile((2, 2), time=time))).keys for time in (1, 2))
    assert early[:4] == late[:4]
    assert not set(early[4:]) & set(late[4:])


def test_a_named_session_is_its_clients_own() -> None:
    store = SessionStore(ToyDevice(), 8, 1 << 20)
    mine = taken(store, "the same words", "mine")
    store.release(mine, keep=True)
    other = taken(store, "the same words", "other")
    store.release(other, keep=True)
    assert other is not mine
    assert taken(store, "the same words, edited", "mine") is mine


def test_a_name_given_to_several_conversations_keeps_them_apart() -> None:
    store = SessionStore(ToyDevice(), 8, 1 << 20)
    sessions = []
    for text in ("the first conversation", "a second one", "the first conversation, goes on"):
        sessions.append(taken(store, text, "same"))
        store.release(sessions[-1], keep=True)
    assert sessions[0] is sessions[2]
    assert sessions[1] is not sessions[0]


def test_an_edited_message_continues_a_named_conversation_and_copies_an_unnamed_one() -> None:
    for name in ("named", None):
        store = SessionStore(ToyDevice(), 8, 1 << 20)
        first = taken(store, "a long beginning of it, and this", name)
        store.release(first, keep=True)
        assert (taken(store, "a long beginning of it, or that", name) is first) == (name is not None)


def test_a_session_that_never_got_a_row_is_forgotten() -> None:
    store = SessionStore(ToyDevice(), 8, 1 << 20)
    session = store.acquire(Identity(name="a"), prompt("never run"))
    assert session is not None
    store.release(session, keep=True)
    assert list(store) == []


def test_rows_that_no_budget_holds_are_not_even_fetched() -> None:
    device = ToyDevice()
    store = SessionStore(device, 1, 0)
    store.release(taken(store, "first session", "a"), keep=True)
    store.release(taken(store, "other words", "b"), keep=True)
    assert (device.num_saves, [session.name for session in store]) == (0, ["b"])


def test_the_source_of_a_copy_does_not_outlive_the_budget() -> None:
    device = ToyDevice()
    chat = engine(device, max_sessions=1, max_saved_bytes=0)
    run(chat, request("1", prompt("a long shared beginning, one"), name="a"))
    device.prefills.clear()
    run(chat, request("2", prompt("a long shared beginning, two"), owner=""))
    assert sum(device.prefills) == len("two")
    assert chat.stats.sessions.saved_bytes == 0


def test_less_room_than_promised_is_learned_once() -> None:
    device = ToyDevice(max_caches=2)
    chat = engine(device, max_sessions=8)
    run(chat, *(request(str(n), prompt(f"conversation {n}"), 30) for n in range(5)))
    assert device.num_refused == 1


def test_a_continued_conversation_is_found_without_a_name() -> None:
    store = SessionStore(ToyDevice(), 8, 1 << 20)
    first, second = taken(store, "system. one"), taken(store, "system. two")
    store.release(first, keep=True)
    store.release(second, keep=True)
    assert taken(store, "system. one. more") is first
    assert taken(store, "system. two. more") is second
    assert taken(store, "system. three") not in (first, second)


def test_the_least_recently_used_goes_to_the_host_and_then_is_forgotten() -> None:
    store = SessionStore(ToyDevice(), 1, 2 * 8 * ROW_BYTES)
    for name in ("a", "b", "c", "d"):
        store.release(taken(store, name * 8, name), keep=True)
    # The cache of d is on the device, c and b are saved, and a did not fit the host budget any more.
    assert [session.name for session in store] == ["b", "c", "d"]
    assert (store.stats.num_resident, store.stats.num_saved, store.stats.num_evictions) == (1, 2, 3)


def test_with_one_cache_a_shared_prefix_is_still_used() -> None:
    device = ToyDevice(max_caches=1)
    chat = engine(device, max_sessions=1)
    run(chat, request("1", prompt("a long shared beginning, one"), name="a"))
    device.prefills.clear()
    run(chat, request("2", prompt("a long shared beginning, two"), name="b"))
    assert sum(device.prefills) == len("two")


def test_clearing_frees_every_cache() -> None:
    device = ToyDevice()
    store = SessionStore(device, 8, 1 << 20)
    for name in ("a", "b"):
        store.release(taken(store, name * 8, name), keep=True)
    store.clear()
    assert (device.num_caches, list(store)) == (0, [])
