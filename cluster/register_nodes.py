"""Which Nodes of a hello are taken, and what is kept of them."""

from __future__ import annotations

from collections.abc import Sequence

from bithive.log import get
from cluster.cell_record import NodeRecord
from cluster.errors import KeyRevoked, KeyUnproven
from cluster.protocol import Hello, NodeGreeting
from cluster.register_proof import proven


def admitted(hello: Hello, known: Sequence[NodeRecord], *, proof_needed: bool) -> list[NodeGreeting]:
    """The Nodes of a hello that may work; the others get no id, and the rest of the cell goes on.

    Parameters
    ----------
    hello
        What the cell says.
    known
        Every Node that it ever named.
    proof_needed
        Whether a key counts only with proof that its machine holds it.

    Raises
    ------
    KeyRevoked, KeyUnproven
        None may work; why the first may not.
    """
    closed = {node.node_key for node in known if node.revoked_ms} | {node.former_key for node in known} - {""}
    taken: list[NodeGreeting] = []
    why: list[type[KeyRevoked | KeyUnproven]] = []
    for node in hello.nodes:
        if node.node_key in closed:
            why.append(KeyRevoked)
        elif proof_needed and not proven(node.node_key, hello.cell_key, node.proof):
            why.append(KeyUnproven)
        else:
            taken.append(node)
    for reason in why:
        get().warning("node.refused", code=reason.code)
    if not taken:
        raise why[0]
    return taken


def node_record(node: str, cell: str, said: NodeGreeting) -> NodeRecord:
    """A Node as it describes itself."""
    return NodeRecord(
        node,
        cell,
        said.node_key,
        said.threads,
        said.memory_bytes,
        said.gpus,
        said.labels,
        said.machine_memory_bytes,
        said.tier,
        said.residency,
        said.accelerator,
        said.timetable,
        said.caps,
        said.slots,
    )
