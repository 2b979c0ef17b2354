"""Which deployments a cell needs, derived from its machines and its catalogue; a table, and no Ray.

Each kind of slot has one general deployment whose replicas load whatever bundle is asked for. A bundle that needs more
of a graphics processor than a slot has gets a deployment of its own, which takes several slots of one machine at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.lent import WHOLE, Shape

_NAME_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Deployment:
    """Replicas of one kind.

    Attributes
    ----------
    name
        Of it, and of its application.
    kind
        The custom resource of which its replicas take some.
    slots
        How many of them each takes.
    gpu_hundredths
        Of a graphics processor, for each.
    bundle
        SHA-256 of the only bundle that they run; empty for any.
    """

    name: str
    kind: str
    slots: int
    gpu_hundredths: int
    bundle: str = ""


def deployments(shapes: Iterable[Shape], gpu_needs: Mapping[str, int]) -> tuple[Deployment, ...]:
    """All that a cell needs, general ones first.

    Parameters
    ----------
    shapes
        Of its machines.
    gpu_needs
        Memory of a graphics processor that a bundle takes, by SHA-256, in bytes.
    """
    kinds = {shape.name: shape for shape in sorted(shapes, key=lambda shape: shape.gpu_memory_bytes, reverse=True)}
    general = [Deployment(name, name, 1, shape.gpu_hundredths) for name, shape in sorted(kinds.items())]
    own = [
        _own(shape, sha256, need) for _, shape in sorted(kinds.items()) for sha256, need in sorted(gpu_needs.items())
    ]
    return (*general, *(deployment for deployment in own if deployment is not None))


def _own(shape: Shape, sha256: str, need_bytes: int) -> Deployment | None:
    """The deployment that a bundle needs on machines of one kind; None when a slot is enough, or all are too small."""
    if not shape.gpu_hundredths or not shape.gpu_memory_bytes or need_bytes > shape.gpu_memory_bytes:
        return None
    hundredths = -(-need_bytes * WHOLE // shape.gpu_memory_bytes)
    if hundredths <= shape.gpu_hundredths:
        return None
    # A slot is no less than its share: what is left of a graphics processor beside it stays usable.
    slots = min(shape.slots, -(-hundredths // shape.gpu_hundredths))
    return Deployment(f"{shape.name}-{sha256[:_NAME_DIGITS]}", shape.name, slots, hundredths, sha256)


def serving(all_of_them: Iterable[Deployment], sha256: str, gpu_need_bytes: int, shapes: Iterable[Shape]) -> list[str]:
    """Names of the deployments that may run a bundle, its own first; on a processor alone where no memory is enough.

    Parameters
    ----------
    all_of_them
        As `deployments` gave them.
    sha256
        Of the bundle.
    gpu_need_bytes
        As there.
    shapes
        Of the machines that are alive.
    """
    own, general = [], []
    roomy = {shape.name for shape in shapes if _fits(shape, gpu_need_bytes)}
    for deployment in all_of_them:
        if deployment.bundle == sha256:
            own.append(deployment.name)
        elif not deployment.bundle and deployment.kind in roomy:
            general.append(deployment.name)
    return own + general


def _fits(shape: Shape, need_bytes: int) -> bool:
    if not shape.gpu_hundredths or not shape.gpu_memory_bytes:
        return True
    return need_bytes * WHOLE <= shape.gpu_memory_bytes * shape.gpu_hundredths
