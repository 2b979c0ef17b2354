"""The network's own work in a hub: one id for ever, which the ledger books as its own expense."""

from api.wiring import wire
from bithive.clock import ManualClock
from bithive.settings import Settings

SECRET = "tests only: 0123456789abcdef0123456789abcdef"


def test_a_hub_keeps_the_id_of_its_own_work(tmp_path):
    seen = []
    for _ in range(2):
        services = wire(Settings(state=tmp_path, secret=SECRET), ManualClock(), "http://127.0.0.1:1")
        try:
            (loop,) = [item for item in services.loops if item.name == "own-work"]
            assert loop._tick() > 0
            seen.append(services.broker.own_work)
            assert services.economy.booking.own_work == services.broker.own_work != services.institution
        finally:
            services.close()
    assert seen[0] == seen[1]
    assert seen[0].startswith("ins_")
