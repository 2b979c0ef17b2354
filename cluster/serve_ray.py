"""Ray Serve inside a cell: one application a deployment, made from the table of `cluster.deployments`.

No HTTP proxy, no runtime environment; replicas take slots, a custom resource of Ray, of which each machine has as many
as its contributor lends. The broker, not Serve, owns order: a replica runs one Attempt and the agent asks for no more
than there are slots.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import ray
from ray import serve
from ray._private import auto_init_hook
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig
from ray.serve.schema import LoggingConfig

from cluster.cluster_ray import MACHINES, NODE_LABEL, RayMachine
from cluster.deployments import Deployment
from cluster.errors import RunnerDied
from cluster.lent import WHOLE, Lent
from cluster.scaling_ray import POLICY

_REPLICAS_MAX = 1000
_LET_GO_S = 5.0
_GRACE_S = 900.0
"""How long a replica that is to go may finish what it runs: longer than any Lease is renewed for one Attempt."""

_QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


def connect(machine: RayMachine) -> None:
    """Make this process a driver of the cluster whose machine it is."""
    # Ray takes "localhost" for "my address on the network" unless it knows the address of its own node.
    ray._private.worker._global_node = machine.node  # noqa: SLF001
    # Whatever thread of Serve's asks between two connections would otherwise start a cluster that nobody set up.
    auto_init_hook.enable_auto_connect = False
    ray.init(
        address=machine.address,
        namespace="bithive",
        log_to_driver=False,
        logging_level=logging.WARNING,
        configure_logging=False,
        _node_ip_address=machine.node.node_ip_address,
        _temp_dir=machine.node.temp_dir,
    )
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.WARNING)
    serve.start(proxy_location="Disabled", logging_config=_QUIET)


def disconnect(handles: Iterable[Any] = ()) -> None:
    """Be no driver any more; the cluster goes on.

    Parameters
    ----------
    handles
        Of its deployments, which are of no use afterwards.
    """
    for handle in handles:
        router = handle._router  # noqa: SLF001 - its own `shutdown` waits for as long as it takes
        if router is not None:
            with suppress(Exception):
                router.shutdown().result(timeout=_LET_GO_S)
    ray.shutdown()


def deploy(deployment: Deployment, replicas: int, *, wait: bool = True) -> Any:
    """Make or change a deployment; its handle.

    Parameters
    ----------
    deployment
        Which.
    replicas
        How many to begin with.
    wait
        Until all of them are ready.

    Raises
    ------
    RunnerDied
        If a replica does not become ready.
    """
    from cluster.replica_ray import Replica

    made = serve.deployment(
        name=deployment.name,
        max_ongoing_requests=1,
        autoscaling_config=AutoscalingConfig(
            min_replicas=0,
            initial_replicas=replicas,
            max_replicas=_REPLICAS_MAX,
            target_ongoing_requests=1,
            upscale_delay_s=0,
            downscale_delay_s=0,
            policy=AutoscalingPolicy(policy_function=POLICY),
        ),
        request_router_config=RequestRouterConfig(request_router_class="cluster.router_ray:NodeRouter"),
        ray_actor_options={
            "num_cpus": 0,
            "num_gpus": deployment.gpu_hundredths / WHOLE,
            "resources": {deployment.kind: deployment.slots},
        },
        graceful_shutdown_timeout_s=_GRACE_S,
        graceful_shutdown_wait_loop_s=0.5,
        logging_config=_QUIET,
    )(Replica)
    try:
        application = made.bind(deployment.bundle)
        if wait:
            return serve.run(application, name=deployment.name, route_prefix=None)
        return serve._run(application, _blocking=False, name=deployment.name, route_prefix=None)  # noqa: SLF001
    except Exception as error:
        raise RunnerDied("a replica does not become ready") from error


def machines() -> dict[str, Lent]:
    """What each machine lends that is alive, by Ray's own name of it. Raises what Ray does when its GCS is away."""
    from ray.experimental.internal_kv import _internal_kv_get

    found = {}
    for node in ray.nodes():
        label = node["Labels"].get(NODE_LABEL)
        told = _internal_kv_get(label, namespace=MACHINES) if node["Alive"] and label else None
        if told:
            found[node["NodeID"]] = Lent.read(told)
    return found


def draining() -> set[str]:
    """Ray's own names of the machines that are leaving. Raises what Ray does when its GCS is away."""
    return set(ray._private.state.state.get_draining_nodes())  # noqa: SLF001


def connected() -> bool:
    """Whether this process is a driver of a cluster."""
    return bool(ray.is_initialized())
