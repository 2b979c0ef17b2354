from __future__ import annotations

import asyncio
import threading

import pytest

from api.progress import Progress
from clinic.workitem_store import EVENTS_READ_MAX, Change, Kind, MemoryWorkitemStore, StudyEvent


@pytest.fixture
def progress():
    return Progress()


@pytest.fixture
def store(progress):
    return MemoryWorkitemStore(progress.announce)


def _happen(store, institution, *stages):
    events = tuple(
        StudyEvent(institution, "1.2.3", Kind.RUNNING, 5, {"stage": stage, "workitem": "wit_1"}) for stage in stages
    )
    store.commit(Change(events=events))


async def _take(stream, count):
    return [await asyncio.wait_for(anext(stream), 5) for _ in range(count)]


async def test_events_of_ones_own_institution_only(progress, store):
    stream = progress.subscribe("ins_a", None, store.events_after)
    assert await _take(stream, 1) == ["retry: 2000\n\n"]
    waiting = asyncio.ensure_future(_take(stream, 1))
    await asyncio.sleep(0.02)
    thread = threading.Thread(target=lambda: [_happen(store, who, "loading") for who in ("ins_b", "ins_a")])
    thread.start()
    (text,) = await waiting
    thread.join()
    assert text.startswith("id: 2\nevent: workitem.progressed\ndata: {")
    assert '"study_uid": "1.2.3"' in text
    assert '"stage": "loading"' in text


async def test_a_new_subscriber_is_not_told_the_past(progress, store):
    _happen(store, "ins_a", "loading")
    stream = progress.subscribe("ins_a", None, store.events_after)
    await _take(stream, 1)
    waiting = asyncio.ensure_future(_take(stream, 1))
    await asyncio.sleep(0.02)
    _happen(store, "ins_a", "sealing")
    assert '"stage": "sealing"' in (await waiting)[0]


async def test_a_subscriber_comes_back_even_after_a_restart(store):
    _happen(store, "ins_a", "one", "two", "three")
    texts = await _take(Progress().subscribe("ins_a", 1, store.events_after), 3)
    assert [text.splitlines()[0] for text in texts[1:]] == ["id: 2", "id: 3"]


async def test_who_missed_too_much_is_told(progress, store):
    _happen(store, "ins_a", *(["loading"] * EVENTS_READ_MAX), "sealing")
    stream = progress.subscribe("ins_a", 0, store.events_after)
    _, text = await _take(stream, 2)
    assert text == f"id: {EVENTS_READ_MAX + 1}\nevent: resync\ndata: {{}}\n\n"


async def test_who_speaks_of_another_log_is_told(progress, store):
    _happen(store, "ins_a", "loading")
    _, text = await _take(progress.subscribe("ins_a", 2**62, store.events_after), 2)
    assert "event: resync" in text


async def test_silence_is_broken_by_comments_and_closing_ends(progress, store):
    stream = progress.subscribe("ins_a", None, store.events_after, pause_s=0.01)
    assert (await _take(stream, 3))[1:] == [": still here\n\n"] * 2
    progress.close()
    assert [text async for text in stream] in ([], [": still here\n\n"])
    assert not progress._waiting


def test_events_need_the_scope(client, accounts):
    assert client.get("/api/events").status_code == 401
    token = accounts.token(accounts.add("pacs", "pacs"))
    assert client.get("/api/events", headers={"Authorization": f"Bearer {token}"}).status_code == 403
