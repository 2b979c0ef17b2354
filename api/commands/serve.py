"""`bithive serve`: the hub."""

from __future__ import annotations

from typing import Annotated

import typer

from bithive.clock import SystemClock
from bithive.interpreter import tune_interpreter
from bithive.log import configure, get
from bithive.settings import Role, load

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    role: Annotated[Role | None, typer.Option(help="Which sides to serve; BITHIVE_ROLE when absent.")] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process ends.")] = None,
) -> None:
    """Start the hub, with a local cell beside it, until a signal asks it to stop. Settings come from the environment."""
    from api.startup import check, lock_state
    from api.supervise import die_with

    if parent is not None:
        die_with(parent)
    settings = load(**({"role": role} if role else {}))
    configure(settings.log_level)
    check(settings)
    with lock_state(settings.state):
        from api.app import create_app
        from api.server import listen, run
        from api.wiring import Background, wire

        where = listen(settings)
        services = wire(settings, SystemClock(), where.private_url)
        background = Background(services, where.private_url)
        app = create_app(services, background=background)

        def started() -> None:
            tune_interpreter()
            typer.echo(f"BitHive ({settings.role}) listens on {where.public_url}")
            get().info("hub.started", role=str(settings.role), port=where.public.getsockname()[1])

        run(app, settings, where, started, background.halt)
        get().info("hub.stopped")
