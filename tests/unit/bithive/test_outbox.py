import pytest

from bithive.outbox import Event, MemoryOutbox, Relay


def outbox_of(*keys):
    outbox = MemoryOutbox()
    for key in keys:
        outbox.append(Event("attempt.accepted", key, {"n": key}))
    return outbox


def test_events_leave_in_order_and_once():
    outbox = outbox_of("a", "b", "c")
    seen = []
    relay = Relay(outbox, lambda event: seen.append(event.key))
    assert relay.drain() == 3
    assert seen == ["a", "b", "c"]
    assert relay.drain() == 0
    assert outbox.waiting() == []


def test_the_same_topic_and_key_is_one_event():
    outbox = outbox_of("a", "a")
    outbox.append(Event("attempt.expired", "a", {}))
    assert [(event.topic, event.seq) for event in outbox.waiting()] == [("attempt.accepted", 1), ("attempt.expired", 2)]


def test_a_taker_that_fails_is_asked_again_and_nothing_overtakes():
    outbox, seen, failures = outbox_of("a", "b", "c"), [], iter([False, True, True, False, False])

    def take(event):
        if next(failures):
            raise RuntimeError("the ledger is stopped")
        seen.append(event.key)

    relay = Relay(outbox, take)
    assert [relay.drain(), relay.drain(), relay.drain()] == [1, 0, 2]
    assert seen == ["a", "b", "c"]


def test_a_crash_between_taking_and_marking_repeats_the_event():
    class Crashing(MemoryOutbox):
        crash = True

        def taken(self, seq):
            if self.crash:
                self.crash = False
                raise KeyboardInterrupt
            super().taken(seq)

    outbox, seen = Crashing(), []
    outbox.append(Event("t", "a", {}))
    relay = Relay(outbox, lambda event: seen.append(event.key))
    with pytest.raises(KeyboardInterrupt):
        relay.drain()
    assert relay.drain() == 1
    assert seen == ["a", "a"], "takers are idempotent on the key because of this"


def test_more_than_one_batch_is_drained():
    outbox, seen = outbox_of(*map(str, range(250))), []
    assert Relay(outbox, lambda event: seen.append(event.seq)).drain() == 250
    assert seen == list(range(1, 251))
    assert len(outbox_of(*map(str, range(250))).waiting(limit=7)) == 7


def test_what_a_taker_adds_is_drained_too():
    outbox = outbox_of("a")

    def take(event):
        if event.key == "a":
            outbox.append(Event("t", "b", {}))

    assert Relay(outbox, take).drain() == 2
