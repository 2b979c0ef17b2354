"""A seeded year of the economy: 100 institutions pay, 1,000 nodes earn, and all that can go wrong does.

After every step every invariant that applies is checked; a failure names the seed. `BITHIVE_YEAR_SEED=<n>` repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bithive.database_sql import Database
from economy.check import check
from economy.export import export
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from tests.common.year import SHORT, SMALL, WHOLE, OpenStore, World
from tests.common.year_attacks import ANYBODY, UNDER_CONTROL
from tests.common.year_faults import FAIR, Weather
from tests.common.year_network import Scale

RECOMPUTE = Path(__file__).parents[2] / "examples" / "recompute_epoch.py"
SEED = int(os.environ.get("BITHIVE_YEAR_SEED", "2027"))
HAPPENED = ("lost", "late", "doubled", "asked again", "killed", "close interrupted", "clock set", "outage", "payment")


def memory() -> OpenStore:
    kept = MemoryStore()
    return lambda: (kept, lambda: None)


def sqlite(folder: Path) -> OpenStore:
    def opened() -> tuple[SqlStore, object]:
        store = SqlStore(Database(f"sqlite:///{folder}/ledger.db"))
        return store, store.close

    return opened  # type: ignore[return-value]


def lived(
    seed: int, scale: Scale, weather: Weather, opens: OpenStore, folder: Path, tell: Callable[[str], None] = str
) -> World:
    """A year, to its end."""
    try:
        world = World(seed, scale, weather, opens, folder)
        world.run(tell)
    except BaseException as error:
        error.add_note(f"seed {seed}: repeat it with BITHIVE_YEAR_SEED={seed}")
        raise
    return world


def assert_sound(world: World) -> None:
    """The checker, which replays all of it at once, finds nothing either."""
    checked = check(world.within)
    assert checked.findings == []
    assert checked.entries == world.auditor.entries
    assert checked.transfers == world.auditor.transfers


def recomputed(world: World, folder: Path) -> list[str]:
    """What a stranger's script makes of the exported log: its lines; it ends well only if the log says the same."""
    log = folder / "ledger.log"
    with log.open("w") as file:
        file.writelines(export(world.within, "log"))
    ended = subprocess.run([sys.executable, "-I", RECOMPUTE, log], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2_000:] + ended.stderr
    return ended.stdout.splitlines()


def test_a_short_year_with_every_fault_keeps_every_invariant(tmp_path):
    world = lived(SEED, SHORT, Weather(), memory(), tmp_path)
    assert_sound(world)
    assert [name for name in HAPPENED if not world.truth.counts[name]] == []
    assert world.auditor.sealed > SHORT.days - 10
    said = recomputed(world, tmp_path)
    with world.within.reading() as snapshot:
        assert len([line for line in said if line.startswith("epoch ")]) == len(snapshot.log(kind="claims.published"))
    assert said[-1].endswith(world.auditor.tree.root().hex())


def test_the_same_seed_leaves_the_same_log_and_seals_on_sqlite(tmp_path):
    worlds = []
    for name, opens in (("memory", memory()), ("sqlite", sqlite(tmp_path))):
        (tmp_path / name).mkdir()
        worlds.append(lived(SEED, SMALL, Weather(kill_closing=0.5), opens, tmp_path / name))
        assert_sound(worlds[-1])
    first, second = worlds
    for form in ("log", "transfers", "accounts", "seals"):
        assert "".join(export(first.within, form)) == "".join(export(second.within, form)), form
    assert first.truth.counts == second.truth.counts
    second.economy.close()


def test_fair_weather_refuses_what_must_be_refused(tmp_path):
    world = lived(SEED, SMALL, FAIR, memory(), tmp_path)
    tried = world.truth.attacks.keys()
    assert tried == {turn.__name__ for turn in (*ANYBODY, *UNDER_CONTROL)} | {"a revoked key that seals"}


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_a_whole_year_keeps_every_invariant(tmp_path, capsys):
    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\nseed {SEED}, {text}", flush=True)

    world = lived(SEED, WHOLE, Weather(), memory(), tmp_path, tell)
    assert_sound(world)
    recomputed(world, tmp_path)
    tell(world.told())
