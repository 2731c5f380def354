"""``bench ls``: list what is installed."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.cli.options import results_option
from bench.util.errors import RequestError


@click.command("ls")
@click.argument("kind", required=False)
@results_option
def list_plugins(kind: str | None, results: Path) -> None:
    """List what is installed.

    KIND is attacks, defenses, victims, metrics, datasets or suites; without it all are listed.
    """
    with one_sentence():
        from bench.interfaces.registry import KINDS
        from bench.running.plugin_check import plugin_faults
        from bench.util.text import suggestion

        kinds = (*KINDS, "suites")
        if kind is not None and kind not in kinds:
            raise RequestError(f"unknown kind {kind!r}{suggestion(kind, kinds)}")
        faults = plugin_faults()
        for one in (kind,) if kind else kinds:
            click.echo("\n".join(_suites() if one == "suites" else _plugins(one, faults)))


def _suites() -> list[str]:
    from bench.planning.suite import shipped

    return ["suites", *(f"  {name:<20} {text}" for name, text in shipped().items())]


def _plugins(kind: str, faults: dict[tuple[str, str], list[str]]) -> list[str]:
    """Return a line for each plugin of a kind, and one for each of its faults."""
    from bench.interfaces.registry import listing

    registry = listing(kind)
    lines = [kind]
    for name in registry.names():
        origin = "" if registry.is_clash(name) else registry.origin(name)
        lines.append(f"  {name:<20} {origin}".rstrip())
        lines += [f"  {'':<20} fault: {fault}" for fault in faults.get((kind, name), ())]
    return lines
