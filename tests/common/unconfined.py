"""A bundle process that says that it is confined and is not."""

import socket
import sys

from cluster.bundle_channel import Channel
from cluster.sandbox import Confinement

if __name__ == "__main__":
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    channel.receive()
    channel.send({"confined": Confinement(True, 7, True, True, True).to_json()})
    channel.receive()
