"""``facerestore train``: train every network of facerestore, and make weights files of what was learnt."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from facerestore.cli.helping import paragraphs, settle, subcommand
from facerestore.cli.options import Spoken, command
from facerestore.cli.terminal import console, is_plain
from facerestore.errors import ConfigError, check_packages
from facerestore.fields import option
from facerestore.training.recipes import EXTENSIONS, RECIPES, recipe_entry

if TYPE_CHECKING:
    from facerestore.training.plan import TrainingPlan

EPILOG = """To begin:
facerestore train lite --smoke
facerestore data prepare PHOTOS FACES
facerestore train lite --data FACES/train --val FACES/val --run runs/lite
facerestore train plot runs/lite
facerestore train export runs/lite lite.safetensors
facerestore enhance photo.jpg --weights lite.safetensors
On several GPUs or machines:
torchrun --nproc-per-node 4 -m facerestore train gpen --data FACES/train --run-folder runs/gpen"""


class _Recipes(TyperGroup):
    """The commands of ``train``; a recipe of another package is looked for when it is called."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a name; None where there is none."""
        found = super().get_command(ctx, cmd_name)
        return _foreign_command(cmd_name) if found is None else found


train_app = typer.Typer(
    cls=_Recipes,
    no_args_is_help=True,
    help="Train networks. A run that was stopped goes on with the same command, and ends as if it had never been"
    " stopped.",
    epilog=paragraphs(EPILOG),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions(Spoken):
    """What a training is asked for."""

    data: Path | None = option(None, metavar="DIR")
    """Aligned faces to learn from, in folders by set; 'facerestore data prepare' makes them."""

    val: Path | None = option(None, metavar="DIR")
    """Aligned faces that are only judged on, never learnt from."""

    run: Path | None = option(None, flags=("--run", "--run-folder"), metavar="DIR")
    """Folder of this run; a run that is there goes on where it stands. torchrun takes --run for an option of its own:
    behind it, write --run-folder.
    """

    config: Path | None = option(None, metavar="FILE.toml")
    """Settings, in the tables engine, data, recipe and validation; --dry-run shows all."""

    set: tuple[str, ...] = option((), metavar="KEY=VALUE")
    """One setting, such as engine.batch_size=4; wins over the file. Repeat it for more."""

    steps: int | None = option(None, metavar="N")
    """Steps of the whole run; short for --set engine.steps=N."""

    device: str = option("auto")
    """auto, cpu, cuda, cuda:N or mps, for a run of one process."""

    dry_run: bool = option(False)
    """Show networks, memory and settings, and with --run the first batch as a picture; train nothing."""

    smoke: bool = option(False)
    """A whole tiny run with tiny networks, on drawn faces unless --data is given: does everything work here?"""


def _recipe_command(name: str) -> Callable[..., None]:
    """Return the command that trains by one recipe."""

    @command({"": "* quiet no_progress"})
    def trained(asked: TrainOptions) -> None:
        if asked.run is None and not (asked.smoke or asked.dry_run):
            raise ConfigError("a run needs a folder; give --run DIR")
        with _run_folder(asked.run) as folder:
            plan = _training_plan(name, asked, folder)
            if asked.dry_run:
                _tell_preview(
                    name, plan, None if asked.run is None else asked.run / f"{name}_first_batch.png"
                )
                return
            last = _train_and_tell(plan, folder, asked)
            if not asked.quiet and _is_first_process():
                gone = f"done: recipe '{name}' works here; give --run DIR to keep what it makes"
                typer.echo(gone if asked.run is None else _result_words(folder, last))

    return trained


for _name, _entry in RECIPES.items():
    train_app.command(_name, help=f"Train {_entry.title}.", epilog=paragraphs(EPILOG))(_recipe_command(_name))


def _foreign_command(name: str) -> Any:
    """Return the command of a recipe of another package, which is not imported yet; None where nobody brings it."""
    found = next((each for each in EXTENSIONS.outside() if each.name == name), None)
    if found is None:
        return None
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, help=f"Train by the recipe '{name}', from {found.package}.")(_recipe_command(name))
    made = typer.main.get_command(alone)
    settle(made, plain=is_plain(sys.stdout))
    return made


@contextmanager
def _run_folder(run: Path | None) -> Iterator[Path]:
    """Yield the run's folder, or one that goes away."""
    if run is not None:
        yield run
        return
    import tempfile

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("several processes need one folder for their run; give --run DIR")
    with tempfile.TemporaryDirectory(prefix="facerestore-train-") as folder:
        yield Path(folder)


def _training_plan(name: str, asked: TrainOptions, folder: Path) -> TrainingPlan:
    """Return the plan; a smoke run without faces gets drawn ones."""
    _check_extra()
    from facerestore.training.plan import make_plan

    faces, judged, assignments = asked.data, asked.val, list(asked.set)
    if asked.steps is not None:
        assignments.append(f"engine.steps={asked.steps}")
    if asked.smoke and faces is None:
        from facerestore.training.data.drawn import landmarks_file, write_drawn_faces

        faces, maps = write_drawn_faces(folder / "drawn", count=16, face_size=128)
        judged = judged or faces
        drawn = [f"data.parsing={str(maps)!r}", f"data.landmarks={str(landmarks_file(folder / 'drawn'))!r}"]
        assignments = [*drawn, *assignments]
    return make_plan(
        name,
        faces=faces,
        validation_faces=judged,
        config=asked.config,
        assignments=assignments,
        smoke=asked.smoke,
    )


def _check_extra() -> None:
    """Raise ConfigError where what only training needs is not installed."""
    check_packages(("accelerate", "matplotlib"), what="training", install='pip install "facerestore[train]"')


def _tell_preview(name: str, plan: TrainingPlan, picture: Path | None) -> None:
    """Say what a run would be, and write its first batch as a picture, where the run has a folder."""
    from facerestore.training.engine.folder import write_grid
    from facerestore.training.plan import preview

    shown = preview(plan)
    typer.echo(f"{name}: {recipe_entry(name).title}")
    for network, count in shown.networks.items():
        typer.echo(f"  {network}: {count:,} parameters")
    for network, count in shown.frozen.items():
        typer.echo(f"  {network}: {count:,} parameters, which are not trained")
    typer.echo(
        f"  about {shown.state_bytes / 2**20:,.0f} MiB of memory for parameters, gradients, optimisers and averages;"
        " activations come on top"
    )
    kept = plan.engine.keep
    typer.echo(f"  about {shown.checkpoint_bytes / 2**20:,.0f} MiB a checkpoint, of which {kept} are kept")
    for note in plan.recipe.notes:
        typer.echo(f"  note: {note}")
    typer.echo(f"  {len(plan.files)} faces to learn from, {len(plan.validation_files)} to judge on")
    typer.echo(json.dumps(plan.described, indent=2))
    if shown.rows and picture is None:
        typer.echo("first batch: give --run DIR to have it there as a picture")
    elif shown.rows and picture is not None:
        write_grid(picture, list(shown.rows))
        typer.echo(f"first batch: {picture}")


SECONDS_BETWEEN_LINES = 60
"""How often a run without a bar says its losses; often enough to see that it lives, seldom enough for a log."""


class _Progress:
    """Shows how a run goes: a bar where somebody looks, a plain line every now and then elsewhere."""

    def __init__(self, *, quiet: bool, bar: bool) -> None:
        self._quiet = quiet
        self._steps = 0
        self._said_at = 0.0
        self._wanted = bar and not quiet and sys.stderr.isatty() and not is_plain(sys.stderr)
        self._bar: Any = None
        self._task: Any = None

    def begin(self, first: int, steps: int) -> None:
        """Show the bar."""
        self._steps = steps
        if not self._wanted:
            return
        from rich import progress

        text = progress.TextColumn("{task.description}", markup=False)
        columns = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn(), text)
        self._bar = progress.Progress(*columns, console=console(stderr=True))
        self._bar.start()
        self._task = self._bar.add_task("", total=steps, completed=first)

    def step(self, record: Mapping[str, float]) -> None:
        """Move the bar, and show the terms; without a bar, say them once in a while."""
        hidden = ("step", "seconds", "rate")
        terms = "  ".join(f"{k} {v:.3g}" for k, v in record.items() if k not in hidden and "/" not in k)
        if self._bar is not None:
            self._bar.update(self._task, completed=record["step"], description=terms)
        elif not self._said_at or record["seconds"] - self._said_at >= SECONDS_BETWEEN_LINES:
            self._said_at = record["seconds"]
            self.message(f"step {record['step']:.0f} of {self._steps}: {terms}")

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, soft_wrap=True)
        elif not self._quiet:
            typer.echo(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _result_words(folder: Path, last: Path) -> str:
    """Return where a run's results are."""
    return (
        f"done: {last}\ncurves: {folder / 'curves.png'}\n"
        f"weights: facerestore train export {folder} NAME.safetensors"
    )


def _train_and_tell(plan: TrainingPlan, folder: Path, asked: TrainOptions) -> Path:
    """Train, say how it goes, and return the last checkpoint."""
    import torch

    from facerestore.engines.device import keep_freed_memory, resolve_device
    from facerestore.training.plan import run_plan

    place = resolve_device(asked.device)
    if place.type == "cpu":
        keep_freed_memory()
    # Under torchrun or accelerate each process has its own device, which accelerate knows.
    alone = "LOCAL_RANK" not in os.environ
    listener = _Progress(quiet=asked.quiet, bar=not asked.no_progress)
    try:
        device = torch.device(place) if alone or place.type == "cpu" else None
        return run_plan(plan, folder, device=device, listener=listener)
    except KeyboardInterrupt:
        listener.close()
        if _is_first_process():
            listener.message("stopped; the same command goes on from the last checkpoint")
        raise
    finally:
        listener.close()


@subcommand(train_app, "export", "facerestore train export runs/lite lite.safetensors --licence CC0-1.0")
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="Weights file to write.")],
    licence: Annotated[
        str, typer.Option(metavar="TEXT", help="Licence of the weights, for the file's header.")
    ] = "unstated",
    data: Annotated[
        str, typer.Option(metavar="TEXT", help="What they were trained on, for the file's header.")
    ] = "unstated",
    half: Annotated[
        bool, typer.Option("--half", help="Store the numbers in float16: half of the bytes.")
    ] = False,
    graph: Annotated[
        bool,
        typer.Option(
            help="Put the network's graph into the file, so that ONNX Runtime runs it without torch. Needs"
            ' pip install "facerestore[onnx]".'
        ),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write the averaged network of a run as a weights file that 'enhance --weights' takes at once."""
    _check_extra()
    from facerestore.training.export import export_run

    if graph:
        from facerestore.export.writers import check_packages

        check_packages("onnx")

    written = export_run(run, out, licence=licence, data=data, half=half, overwrite=overwrite)
    graph = graph and written.runs_alone
    if graph:
        from facerestore.export.embedding import embed_graph

        embed_graph(written.path)
    runner = "ONNX Runtime or torch" if graph else "torch"
    typer.echo(
        f"{written.path}: {written.recipe} after {written.step} steps, {_size_words(written.path)}, for {runner}"
    )
    if written.installable:
        backend = recipe_entry(written.recipe).backend
        typer.echo(f"to give it a name: facerestore weights import {backend}.NAME {written.path}")
    elif written.starts:
        typer.echo(f"to go on from it: facerestore train {written.starts}={written.path}")


def _size_words(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"


@subcommand(train_app, "plot", "facerestore train plot runs/lite -o curves.png")
def plot(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, done or going on.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE.png", help="Picture to write; RUN/curves.png without it."
        ),
    ] = None,
) -> None:
    """Draw the terms of the losses and the validation metrics of a run over its steps."""
    _check_extra()
    from facerestore.training.engine.curves import plot_run

    typer.echo(str(plot_run(run, output or run / "curves.png")))
