"""Whether Ray really runs as it was told to: looked at from outside, in its processes and its store, at each start.

Ray ignores what it does not know: a variable in capitals where lower case is wanted, an option that another version
renamed. What keeps an image off a disk, or a stranger out, must not rest on that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil
import ray
from ray import serve

from bithive.log import get
from cluster.errors import RaySettingsDiffer
from cluster.ray_settings import Found, differing


def check_ray(processes: Mapping[str, psutil.Process], storage: Path, *, tls: bool) -> None:
    """Look at a cluster of which this process is a driver.

    Parameters
    ----------
    processes
        Of this machine, by name.
    storage
        Where its GCS keeps its state.
    tls
        Whether its machines are to speak TLS with each other.

    Raises
    ------
    RaySettingsDiffer
        If one of its settings is not in force.
    """
    wrong = differing(look(processes, storage), tls=tls)
    if wrong:
        get().error("ray.settings_differ", kind=",".join(wrong))
        raise RaySettingsDiffer(f"not in force: {', '.join(wrong)}", settings=", ".join(wrong))


def look(processes: Mapping[str, psutil.Process], storage: Path) -> Found:
    """What can be found out of a cluster of which this process is a driver."""
    from ray._common.usage import usage_lib

    return Found(
        {name: process.environ() for name, process in processes.items()},
        dict(ray._private.state.state.get_system_config()),  # noqa: SLF001
        frozenset(path.name for path in storage.rglob("*")),
        str(storage),
        len(serve.status().proxies),
        usage_lib.usage_stats_enabled(),
        {name: tuple(process.cmdline()) for name, process in processes.items()},
    )
