"""`bithive cell`: an operator's cell of one or several machines."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from api.commands.cell_top import top
from api.commands.node import (
    BandwidthOption,
    ClassOption,
    GpuOption,
    HoursOption,
    MemoryOption,
    PauseOption,
    ResidencyOption,
    SlotsOption,
    StateOption,
    ThreadsOption,
    TierOption,
    YesOption,
    ZoneOption,
    settings_of,
)
from bithive.clock import SystemClock
from bithive.errors import BadInput
from bithive.ids import RandomIds
from bithive.log import configure
from cluster.install_unit import How

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="An operator's cell: make it, invite machines, watch it."
)

_INVITE_H = 24.0


@app.callback()
def _group() -> None:
    """An operator's cell: make it, invite machines, watch it."""


@app.command()
def init(
    invite: Annotated[str, typer.Argument(help="One line from the hub's operator.")],
    state: StateOption = None,
    tier: TierOption = "workstation",
    residency: ResidencyOption = "",
    network: Annotated[str, typer.Option(help="The operator's network (CIDR); without it the cell is of one.")] = "",
    address: Annotated[str, typer.Option(help="Of this machine in that network.")] = "",
    interface: Annotated[str, typer.Option(help="Of this machine to that network.")] = "",
    attach: Annotated[str, typer.Option(help="How the wall gets it: bridge, macvlan or move.")] = "macvlan",
    tls: Annotated[bool, typer.Option("--tls", help="TLS between the machines, by an authority of its own.")] = False,
    slots: SlotsOption = 1,
    threads: ThreadsOption = None,
    memory: MemoryOption = None,
    gpu: GpuOption = None,
    bandwidth: BandwidthOption = None,
    pause_when_used: PauseOption = None,
    hours: HoursOption = None,
    zone: ZoneOption = None,
    data_class_max: ClassOption = None,
    yes: YesOption = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Make it, and start it later.")] = False,
    how: Annotated[How | None, typer.Option("--as", help="Where it runs; systemd where it can, else detached.")] = None,
    no_benchmark: Annotated[bool, typer.Option("--no-benchmark", help="Run no bundles to measure speed.")] = False,
) -> None:
    """Make this machine the head of an operator's cell: keys, Ray's token, the wall, and who it is to the hub."""
    from api.commands import cell_head, node_join, node_start

    configure("error")
    if bool(network) != bool(address):
        raise BadInput("--network and --address go together")
    lent = node_join.lent_of(
        tier,
        residency,
        slots,
        threads=threads,
        memory=memory,
        gpu=gpu,
        bandwidth_mbit=bandwidth,
        pause_when_used=pause_when_used,
        hours=hours,
        zone=zone,
        data_class_max=data_class_max,
    )
    settings = settings_of(state)
    if network:
        place = cell_head.Place(network, address, interface, attach, tls)
        cell_head.init(settings, invite, lent, place, run=not no_benchmark)
    else:
        node_join.join_as_cell(settings, invite, lent, run=not no_benchmark)
    if no_start or not (yes or typer.confirm("Start it now?", default=True)):
        typer.echo("made; `bithive node start` starts it")
        return
    node_start.start(settings_of(state), how or node_start.usual())


@app.command()
def invite(
    state: StateOption = None,
    address: Annotated[str, typer.Option(help="Of the new machine in the operator's network.")] = "",
    hours: Annotated[float, typer.Option(min=0.1, max=720, help="How long the line may be used.")] = _INVITE_H,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="A new token first: machines with the old one are out after a restart.")
    ] = False,
) -> None:
    """One line with which a further machine joins this cell, and the code that opens it; send them by different ways."""
    from api.commands import cell_head

    if address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise BadInput("that is no address") from None
    clock = SystemClock()
    line, code = cell_head.invite(settings_of(state), RandomIds(clock), clock, address, hours, new_token=new_token)
    typer.echo(line)
    typer.echo(f"code: {code}", err=True)


app.command()(top)
