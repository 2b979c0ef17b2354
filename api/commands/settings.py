"""`bithive settings`: the effective values, secrets masked."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from pydantic import BaseModel, SecretStr
from rich.console import Console
from rich.table import Table

from bithive.settings import load

app = typer.Typer(add_completion=False)


@app.command()
def settings(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every setting by its environment variable, with its effective value; secrets are masked."""
    values = effective(load())
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    table = Table("variable", "value")
    for name, value in values.items():
        table.add_row(name, "" if value is None else str(value))
    Console().print(table)


def effective(section: BaseModel, prefix: str = "BITHIVE_") -> dict[str, Any]:
    """Environment variable to value, with `***` for a secret that is set."""
    found: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        variable = prefix + name.upper()
        if isinstance(value, BaseModel):
            found |= effective(value, variable + "__")
        elif isinstance(value, SecretStr):
            found[variable] = "***"
        elif value is None or isinstance(value, int | float | str):
            found[variable] = value
        elif isinstance(value, tuple):
            found[variable] = [str(item) for item in value]
        else:
            found[variable] = str(value)
    return found
