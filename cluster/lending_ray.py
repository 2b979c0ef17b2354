"""From a machine's profile to what it lends and to how its Ray processes are started."""

from __future__ import annotations

import shutil

from bithive.keys import SigningKey
from bithive.settings import Settings
from cluster import gpu_nvml, labels, measure
from cluster.cell_runner import plan_of
from cluster.cell_start import ray_folder
from cluster.cluster_ray import MachineSettings
from cluster.lent import Lent, shape_of
from cluster.loading import Stock
from cluster.profile import Profile, Role
from cluster.protocol_node import Accelerator, NodeGreeting

_STORAGE = "ray"


def lent_of(settings: Settings, profile: Profile, stock: Stock) -> Lent:
    """What a machine lends to its cell, and how it is told to the network side.

    Parameters
    ----------
    settings, profile
        Of the machine.
    stock
        The bundles that it can run.
    """
    plan, caps = plan_of(settings, profile, stock), profile.caps
    gpus = gpu_nvml.gpus() if caps.gpu_fraction_bp else ()
    smallest = min((gpu.memory_bytes for gpu in gpus), default=0)
    shape = shape_of(profile.slots, len(gpus), smallest, caps.gpu_fraction_bp)
    greeting = NodeGreeting(
        node_key=SigningKey.load_or_create(settings.state.absolute() / "keys" / "node.key").public_hex,
        threads=measure.threads(),
        memory_bytes=plan.memory_bytes,
        gpus=shape.gpus,
        labels={},
        machine_memory_bytes=measure.memory_bytes(),
        tier=str(profile.tier),
        residency=profile.residency,
        accelerator=Accelerator(gpus[0].name, smallest) if shape.gpus else None,
        timetable=profile.timetable.to_json(),
        caps=caps.to_json(),
        slots=profile.slots,
    )
    return Lent(greeting, shape, plan)


def machine_of(settings: Settings, profile: Profile, stock: Stock) -> MachineSettings:
    """How a machine's Ray processes are started.

    Parameters
    ----------
    settings, profile
        Of the machine.
    stock
        The bundles that it can run.
    """
    state, head, member = settings.state.absolute(), profile.head, profile.role is Role.MEMBER
    lent = lent_of(settings, profile, stock)
    node = lent.greeting
    accelerator = node.accelerator.name if node.accelerator is not None else "cpu"
    folder = ray_folder(settings)
    shutil.rmtree(folder, ignore_errors=True)
    return MachineSettings(
        folder=folder,
        storage=state / _STORAGE,
        lent=lent,
        labels=labels.node_labels(profile.tier, profile.residency, profile.operator, accelerator, node.node_key),
        node_ip=head.node_ip if head is not None else "127.0.0.1",
        head=head.gcs_address if member and head is not None else None,
        gcs_port=int(head.gcs_address.rpartition(":")[2]) if head is not None and not member else 0,
        cell_key="" if member else SigningKey.load_or_create(state / "keys" / "cell.key").public_hex,
    )
