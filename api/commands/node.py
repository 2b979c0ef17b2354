"""`bithive node`: contribute this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bithive.errors import BadSettings
from bithive.log import configure
from bithive.settings import Settings, load
from cluster.install_unit import How

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Contribute this machine: join, run, bound, leave.")

StateOption = Annotated[
    Path | None, typer.Option("--state", help="Folder of this machine; BITHIVE_STATE when absent.", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]
TierOption = Annotated[str, typer.Option(help="Kind of place: home, workstation, datacenter or hospital.")]
ResidencyOption = Annotated[str, typer.Option(help="Country of the machine (ISO 3166-1 alpha-2), such as DE.")]
SlotsOption = Annotated[int, typer.Option(min=1, max=200, help="Attempts at once.")]
ThreadsOption = Annotated[int | None, typer.Option(min=0, help="Processor threads for all of them; 0 for all.")]
MemoryOption = Annotated[str | None, typer.Option(help="GiB of memory for all of them; 0 for what can be spared.")]
GpuOption = Annotated[int | None, typer.Option(min=0, max=100, help="Percent of each GPU; 0 keeps them out.")]
BandwidthOption = Annotated[float | None, typer.Option(min=0, help="Mbit/s to and from the hub; 0 for no bound.")]
PauseOption = Annotated[bool | None, typer.Option(help="Take nothing new while somebody uses the machine.")]
HoursOption = Annotated[
    str | None, typer.Option(help="When it is lent, such as `mon-fri 18:00-08:00; sat,sun 00:00-24:00`, or always.")
]
ZoneOption = Annotated[str | None, typer.Option(help="Time zone of these hours; the machine's own when absent.")]
ClassOption = Annotated[str | None, typer.Option(help="The most sensitive data class to take: P0, P1, P2 or P3.")]


@app.callback()
def _group() -> None:
    """Contribute this machine: join, run, bound, leave."""


def settings_of(state: Path | None) -> Settings:
    """The settings of this machine, in the folder that was said."""
    return load() if state is None else load(state=state)


@app.command()
def run(
    state: StateOption = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process ends.")] = None,
) -> None:
    """Run a cell on this machine until it is told to stop: it pulls work, runs it under Ray Serve, and signs receipts.

    It needs a machine that has joined (`bithive node join`), or BITHIVE_CELL__HUB_URL and BITHIVE_CELL__TOKEN (from
    `bithive account add NAME --role cell` on the hub).
    """
    from api.startup import check_interpreter, check_packages, check_peers, check_runtimes
    from api.supervise import die_with
    from cluster.profile import FILE

    if parent is not None:
        die_with(parent)
    settings = settings_of(state)
    configure(settings.log_level)
    check_interpreter()
    check_packages()
    check_runtimes()
    check_peers(settings)
    if not (settings.state / FILE).exists() and (settings.cell.hub_url is None or settings.cell.token is None):
        raise BadSettings(
            "join first (`bithive node join INVITE`), or set BITHIVE_CELL__HUB_URL and BITHIVE_CELL__TOKEN"
        )
    from cluster.cell import run_cell

    raise typer.Exit(run_cell(settings))


@app.command()
def join(
    invite: Annotated[str, typer.Argument(help="One line, from a hub's operator or from `bithive cell invite`.")],
    state: StateOption = None,
    tier: TierOption = "home",
    residency: ResidencyOption = "",
    slots: SlotsOption = 1,
    threads: ThreadsOption = None,
    memory: MemoryOption = None,
    gpu: GpuOption = None,
    bandwidth: BandwidthOption = None,
    pause_when_used: PauseOption = None,
    hours: HoursOption = None,
    zone: ZoneOption = None,
    data_class_max: ClassOption = None,
    code: Annotated[str | None, typer.Option(help="Opens an invite to a cell; asked for when absent.")] = None,
    address: Annotated[str, typer.Option(help="Of this machine in the operator's network, for a cell's invite.")] = "",
    interface: Annotated[str, typer.Option(help="Of this machine to the operator's network.")] = "",
    attach: Annotated[str, typer.Option(help="How: bridge, macvlan or move.")] = "macvlan",
    yes: YesOption = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Join, and start it later.")] = False,
    how: Annotated[How | None, typer.Option("--as", help="Where it runs; systemd where it can, else detached.")] = None,
    no_benchmark: Annotated[bool, typer.Option("--no-benchmark", help="Run no bundles to measure speed.")] = False,
) -> None:
    """Make this machine a cell of one, or a further machine of a cell: check, measure, keys, words, start."""
    from api.commands import node_join, node_start
    from cluster.invites_cell import is_cell_invite

    configure("error")
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
    if is_cell_invite(invite):
        node_join.join_as_member(settings, invite, lent, code or typer.prompt("code"), address, attach, interface)
    else:
        node_join.join_as_cell(settings, invite, lent, run=not no_benchmark)
    if no_start or not (yes or typer.confirm("Start it now?", default=True)):
        typer.echo("joined; `bithive node start` starts it")
        return
    node_start.start(settings_of(state), how or node_start.usual())


@app.command()
def start(
    state: StateOption = None,
    how: Annotated[How | None, typer.Option("--as", help="Where it runs; systemd where it can, else detached.")] = None,
) -> None:
    """Start a machine that has joined; one that left or was drained comes back as who it was."""
    from api.commands import node_start

    node_start.start(settings_of(state), how or node_start.usual())


@app.command()
def status(state: StateOption = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """What this machine does now; exit code 3 when no agent runs."""
    from api.commands import node_control

    raise typer.Exit(node_control.show_status(settings_of(state).state.absolute(), as_json=as_json))


def _word(name: str, text: str) -> None:
    def say(state: StateOption = None) -> None:
        from api.commands import node_control

        node_control.say(settings_of(state).state.absolute(), name)

    say.__doc__ = text
    app.command(name)(say)


_word("pause", "Take nothing new until `resume`; what runs goes on.")
_word("resume", "Take work again.")


@app.command()
def drain(
    state: StateOption = None,
    timeout_s: Annotated[float, typer.Option(min=0, help="How long to wait for what runs.")] = 3600.0,
) -> None:
    """Take nothing new and wait until nothing runs. The agent stays, and `resume` takes work again."""
    from api.commands import node_control

    node_control.drain(settings_of(state).state.absolute(), timeout_s)


@app.command()
def leave(
    state: StateOption = None,
    timeout_s: Annotated[float, typer.Option(min=0, help="How long to wait for what runs.")] = 3600.0,
) -> None:
    """Finish what runs, tell the hub, and end. Keys stay: `bithive node start` comes back as the same machine."""
    from api.commands import node_control

    node_control.leave(settings_of(state).state.absolute(), timeout_s)


@app.command()
def caps(
    state: StateOption = None,
    threads: ThreadsOption = None,
    memory: MemoryOption = None,
    gpu: GpuOption = None,
    bandwidth: BandwidthOption = None,
    pause_when_used: PauseOption = None,
) -> None:
    """Show or change the bounds. Bandwidth and pausing change at once, the rest once what runs has ended."""
    from api.commands import node_control
    from api.commands.node_words import gib

    said: dict[str, Any] = {
        "threads": threads,
        "memory_bytes": None if memory is None else gib(memory),
        "gpu_fraction_bp": None if gpu is None else gpu * 100,
        "bandwidth_bps": None if bandwidth is None else round(bandwidth * 1e6),
        "pause_when_used": pause_when_used,
    }
    changes = {name: value for name, value in said.items() if value is not None}
    node_control.change(settings_of(state), lambda profile: replace(profile.caps, **changes), None)


@app.command()
def timetable(
    hours: Annotated[str | None, typer.Argument(help="Such as `mon-fri 18:00-08:00`, or always.")] = None,
    state: StateOption = None,
    zone: ZoneOption = None,
) -> None:
    """Show or change when the machine is lent."""
    from api.commands import node_control
    from cluster.timetable import Timetable

    def wanted(before: Timetable) -> Timetable:
        return Timetable.parse(before.words() if hours is None else hours, zone or before.zone)

    node_control.change(settings_of(state), None, lambda profile: wanted(profile.timetable))


@app.command()
def earnings(state: StateOption = None) -> None:
    """A one-time address of this machine's own page at the hub: what it did, earned and why."""
    from api.commands import node_control

    typer.echo(node_control.page_of(settings_of(state)))


@app.command()
def receives(state: StateOption = None) -> None:
    """What this machine may receive, and what it never will."""
    from api.commands import node_control

    node_control.show_receives(settings_of(state))


@app.command()
def receipts(state: StateOption = None) -> None:
    """Check every Receipt that this machine kept against the hub's signed chain, offline; exit code 1 if one breaks."""
    from api.commands import node_keys

    raise typer.Exit(node_keys.show_receipts(settings_of(state).state.absolute()))


@app.command("rotate-keys")
def rotate_keys(state: StateOption = None) -> None:
    """New keys in the place of the old ones; the machine stays who it is. Its agent must be stopped."""
    from api.commands import node_keys

    node_keys.rotate(settings_of(state))


@app.command()
def uninstall(state: StateOption = None, yes: YesOption = False) -> None:
    """Stop it and remove everything that it has put on this machine, its keys included: it never comes back as itself."""
    from api.commands import node_control

    node_control.uninstall(settings_of(state), yes=yes)


def printed(told: Any) -> str:
    """JSON for a program that reads it."""
    return json.dumps(told, indent=2, sort_keys=True)
