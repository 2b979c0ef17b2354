"""What the replicas have loaded, taken together."""

from cluster.shelves import News, ShelfState, Shelves

A, B, C = "aa" * 32, "bb" * 32, "cc" * 32


def test_what_any_replica_has_is_warm() -> None:
    shelves = Shelves()
    assert shelves.learn(ShelfState("one", (A, B), ())) == News(frozenset({A, B}), frozenset())
    assert shelves.learn(ShelfState("two", (B, C), ())) == News(frozenset({B, C}), frozenset())
    assert shelves.warm() == (A, B, C)
    assert shelves.learn(ShelfState("one", (), ())) == News(frozenset(), frozenset({A, B}))
    assert shelves.warm() == (B, C)
    shelves.forget()
    assert shelves.warm() == ()


def test_what_could_not_be_loaded_is_not_offered_until_the_store_changes() -> None:
    shelves = Shelves()
    assert shelves.runnable([A, B], 1) == [A, B]
    shelves.learn(ShelfState("one", (A,), ((B, "weights-differ"),)))
    shelves.learn(ShelfState("two", (A,), ()))
    for _ in range(2):
        assert shelves.runnable([A, B], 1) == [A]
    assert shelves.runnable([A, B], 2) == [A, B]
    shelves.forget()
    shelves.learn(ShelfState("three", (), ((A, "engine-fault"), (B, "engine-fault"))))
    assert shelves.runnable([A, B, C], 2) == [C]
