import inspect
import json

from clinic.network import Network, NetworkEvent
from clinic.network_http import HttpNetwork
from tests.common.loop_network import LoopNetwork


def test_the_port_is_small_and_both_adapters_have_it():
    asked = {name for name, _ in inspect.getmembers(Network, inspect.isfunction) if not name.startswith("_")}
    assert asked == {"offer", "upload", "withdraw", "acknowledge", "events", "findings"}
    for adapter in (HttpNetwork, LoopNetwork):
        assert asked <= set(dir(adapter))


def test_an_event_is_plain():
    event = NetworkEvent(1, "attempt.leased", 5, "off_1", attempt_id="att_1")
    assert json.loads(json.dumps([getattr(event, name) for name in NetworkEvent.__slots__]))[:4] == [
        1, "attempt.leased", 5, "off_1",
    ]  # fmt: skip
