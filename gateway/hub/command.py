"""`axgate pull` and `axgate models --available`, as the terminal shows them."""

import sys
from argparse import Namespace
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from backends.axcl.package import Package
from gateway.hub.catalogue import Catalogue
from gateway.hub.errors import PullError
from gateway.hub.plan import Choice, Plan, make_plan
from gateway.hub.pull import pull
from gateway.hub.source import Hub


def show_available(families: Collection[str]) -> None:
    """The catalogue as a table. `families` are the vision families that are served."""
    catalogue = Catalogue.load()
    # Names are there to be typed, so they are never cut.
    names = Column("name", min_width=max(map(len, catalogue.entries)))
    table = Table(names, "pictures", "size", "repository", "served", caption=f"From {catalogue.source}.")
    for name, entry in catalogue.entries.items():
        obstacle = entry.obstacle(families)
        served = "yes" if obstacle is None else f"no: {obstacle}"
        table.add_row(name, entry.family or "none", entry.size, entry.repository, served)
    Console(highlight=False).print(table)


def pull_package(options: Namespace, families: Collection[str]) -> None:
    """`options`: name, to, folder, vision, tokenizer, revision. Raises PullError, PackageError, OSError."""
    repository, known = _find(options.name, families)
    given = {part: getattr(options, part) for part in ("folder", "vision", "tokenizer")}
    # A folder may be written with a slash at its end.
    chosen = {part: value.rstrip("/") for part, value in given.items() if value is not None}
    choice = replace(known, **chosen)
    folder: Path = options.to or Path(options.name.rpartition("/")[2])
    hub = Hub()
    listing = hub.listing(repository, options.revision)
    other = choice.other_repository(listing)
    plan = make_plan(listing, choice, None if other is None else hub.listing(other, None))
    package = _pull(hub, plan, folder)
    _tell(package, plan)
    print(f"Serve it with: axgate serve --model {folder}", file=sys.stderr)


def _find(name: str, families: Collection[str]) -> tuple[str, Choice]:
    """The repository, and what the catalogue knows of it."""
    catalogue = Catalogue.load()
    if "/" in name:
        known = [entry for entry in catalogue.entries.values() if entry.repository == name]
        return name, known[0].choice if known else Choice()
    entry = catalogue.find(name)
    if obstacle := entry.obstacle(families):
        raise PullError(
            f"{name} cannot be served: {obstacle}. To have its files all the same: "
            f"axgate pull {entry.repository}"
        )
    return entry.repository, entry.choice


def _pull(hub: Hub, plan: Plan, folder: Path) -> Package:
    """With a bar over all bytes, if somebody looks."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=plan.size)

        def show(name: str, num_bytes: int) -> None:
            progress.update(task, description=name, completed=num_bytes)

        return pull(hub, plan, folder, show)


def _tell(package: Package, plan: Plan) -> None:
    table = Table("part", "found", title=str(package.folder))
    for part, found in package.parts.items():
        table.add_row(part.replace("_", " "), found)
    table.add_row("size", decimal(plan.size))
    commits = dict.fromkeys(f"{file.repository} at {file.commit}" for file in plan.files.values())
    for place, commit in enumerate(commits):
        table.add_row("" if place else "from", commit)
    Console(highlight=False, markup=False, emoji=False).print(table)
