"""The command dashboard: the web page of the hub."""

from __future__ import annotations

import typer

from partage.cli.services import Announce, ConfigFile, Host, Port, Verbose, serve_command
from partage.serve.services import run_dashboard


def register(app: typer.Typer) -> None:
    app.command("dashboard")(dashboard_command)


def dashboard_command(
    host: Host = None,
    port: Port = None,
    config: ConfigFile = None,
    announce: Announce = False,
    verbose: Verbose = False,
) -> None:
    """Serve the web page (port 11435): memory, queue, clients, alerts, and pages to try the services.

    It has no login: beyond loopback, put a proxy that asks for one before it.
    """
    serve_command("dashboard", run_dashboard, config, host=host, port=port, announce=announce, verbose=verbose)
