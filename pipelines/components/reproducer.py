"""Reproducer: a claim, a budget and images in, a verdict out."""

import dataclasses
import functools
import json
import shlex
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

import keras_resnet
from keras_resnet.experiments import CLAIMS, Budget, Claim, Reproduction, Training
from keras_resnet.experiments.figures import figure
from keras_resnet.experiments.measurements import MEASURES, Measured, Point
from keras_resnet.preprocessing import Preprocessing, preprocess_input
from pipelines import files
from pipelines.components.example_gen import example_gen
from pipelines.components.trainer import trainer
from pipelines.data import folders
from pipelines.data.preprocessing import prepare
from pipelines.data.sources import open_source
from pipelines.errors import UserError
from pipelines.runs.folder import Run, open_run
from pipelines.runs.record import record_start
from pipelines.runs.request import RunConfig, reproduce_command, request
from pipelines.training.history import read_columns
from pipelines.training.model import TrainedModel
from pipelines.training.watching import WatchOptions

CHECKPOINTS = {
    "resnet20": "resnet20_cifar10/resnet20-12fca82f.th",
    "resnet56": "resnet56_cifar10/resnet56-4bfd9763.th",
}
"""Published networks (akamaster/pytorch_resnet_cifar10), below `--checkpoints`."""

_HELD_OUT = 0.1
_FEW = 6_000


def reproduce(
    claim: Claim,
    budget: str,
    directory: Path,
    *,
    data: str,
    checkpoints: Path,
    console: Console,
) -> Reproduction:
    """Measures a claim seed by seed, and judges it.

    What is finished is kept in `<directory>/<claim>/<budget>/` and not done again;
    trainings are runs in `<directory>/runs/`, shared between claims.

    Args:
        claim: The claim.
        budget: One of the claim's budgets.
        directory: Gets everything that is made.
        data: Where images come from, see `open_source`.
        checkpoints: The folder of published networks.
        console: Where to tell how far it is.

    Returns:
        The `Reproduction`; `verdict.json` and `figure.png` are written.

    Raises:
        UserError: If the claim has no such budget, the images or networks that it needs
            are missing, or there are results of another version of its setting.
    """
    budgets = dict(claim.budgets)
    if budget not in budgets:
        raise UserError(
            f"claim {claim.name!r} has no budget {budget!r}; give --budget="
            f"{' or --budget='.join(budgets)}"
        )
    own = directory / claim.name / budget
    measured, seconds = [], 0.0
    for seed in range(budgets[budget].seeds):
        workshop = Workshop(
            directory, budgets[budget], seed, data, checkpoints, console
        )
        found, took = _seed(claim, claim.version(budget), own, workshop)
        measured.append(found)
        seconds += took
    result = Reproduction(
        claim, budget, tuple(one.effects for one in measured), round(seconds, 1)
    )
    _save(result, [point for one in measured for point in one.points], own)
    return result


def finished(directory: Path) -> list[Reproduction]:
    """Returns what is finished in the folder that `reproduce` gets, of all budgets."""
    found = []
    for claim in CLAIMS.values():
        for budget, setting in claim.budgets:
            own = directory / claim.name / budget
            if not (own / "verdict.json").exists():
                continue
            seeds = [_read(own / f"seed-{seed}.json") for seed in range(setting.seeds)]
            if {seed["version"] for seed in seeds} == {claim.version(budget)}:
                effects = tuple(seed["effects"] for seed in seeds)
                seconds = round(sum(seed["seconds"] for seed in seeds), 1)
                found.append(Reproduction(claim, budget, effects, seconds))
    return found


def commands(claim: Claim, budget: str, directory: Path, data: str) -> list[str]:
    """Returns the commands that train what a claim needs, ours for small data apart.

    They may run anywhere, in any order after the first; `reproduce` finds their runs.

    Args:
        claim: The claim.
        budget: One of the claim's budgets.
        directory: The folder that `reproduce` gets.
        data: Where images come from.
    """
    setting = dict(claim.budgets)[budget]
    lines = [
        reproduce_command(
            workshop.config(training), workshop.run(training.name).directory
        )
        for seed in range(setting.seeds)
        for workshop in [Workshop(directory, setting, seed, data, directory, Console())]
        for training in setting.trainings
        if not training.images
    ]
    if not lines:
        return []
    prepared = shlex.quote(str(directory / "data-all"))
    prepare = "python -m pipelines.prepare_data"
    return [f"{prepare} --data={shlex.quote(data)} --output_dir={prepared}", *lines]


def _seed(
    claim: Claim, version: str, directory: Path, workshop: "Workshop"
) -> tuple[Measured, float]:
    """Returns what a seed gave and the seconds it took; a finished one is read."""
    seed, budget = workshop.seed, workshop.budget
    path = directory / f"seed-{seed}.json"
    if path.exists():
        values = _read(path)
        if values["version"] != version:
            raise UserError(
                f"{path} holds a result of another version of the claim's setting "
                f"({values['version']}, now {version}), and the two are not mixed; "
                "give another --output_dir, or remove that folder"
            )
        points = [Point(*point) for point in values["points"]]
        return Measured(values["effects"], points), values["seconds"]
    told = f"{claim.name}: seed {seed + 1} of {budget.seeds}"
    workshop.console.print(told, highlight=False)
    workshop.train()
    start = time.perf_counter()
    found = MEASURES[claim.measure](seed, workshop, **dict(budget.settings))
    seconds = time.perf_counter() - start
    values = {
        "version": version,
        "effects": {name: float(value) for name, value in found.effects.items()},
        "seconds": round(seconds, 1),
        "points": [
            [point.panel, point.series, float(point.x), float(f"{point.y:.5g}")]
            for point in found.points
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps(values) + "\n")
    return found, seconds


def _read(path: Path) -> dict[str, Any]:
    """Returns what a seed gave, as it was written."""
    with folders.read_values(
        path,
        missing=f"{path} is missing; run the claim again",
        mend="remove it and run the claim again",
    ) as values:
        return {key: values[key] for key in ("version", "effects", "seconds", "points")}


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What a measurement can ask for, see `keras_resnet.experiments.measurements`.

    Args:
        directory: The value of `--output_dir`.
        budget: The budget, whose trainings are made.
        seed: The seed of these trainings.
        data: Where images come from.
        checkpoints: The folder of published networks.
        console: Where to tell how far it is.
    """

    directory: Path
    budget: Budget
    seed: int
    data: str
    checkpoints: Path
    console: Console

    def train(self) -> None:
        """Trains what the budget asks for, each network in a run's folder."""
        for training in self.budget.trainings:
            self._train(training)

    def images(
        self, count: int, seed: int, size: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns normalised images `(count, size, size, 3)` and their labels."""
        paths = sorted(_kept_images(self.data, _FEW, self.directory).glob("*/*"))
        classes = sorted({path.parent.name for path in paths})
        if count > len(paths):
            raise UserError(
                f"--data={self.data} gives {len(paths)} images for this, and {count} "
                "are needed; give more"
            )
        order = np.random.default_rng(seed).permutation(len(paths))[:count]
        chosen = [paths[index] for index in order]
        cifar = Preprocessing(resize=size, crop=size)
        pixels = np.stack(
            [prepare(path.read_bytes(), cifar).numpy() for path in chosen]
        )
        images = preprocess_input(pixels, mode=cifar)
        labels = [classes.index(path.parent.name) for path in chosen]
        return keras.ops.convert_to_numpy(images), np.array(labels)

    def network(self, name: str) -> keras.Model:
        """Returns a network that was trained, or a published one, that gives logits."""
        if any(training.name == name for training in self.budget.trainings):
            return TrainedModel.load(self.run(name).model_dir).load_logits()
        return _published(name, self.checkpoints)

    def losses(self, training: str) -> np.ndarray:
        """Returns steps and their mean training loss, float64 `(rows, 2)`."""
        columns = read_columns(self.run(training).model_dir / "steps.csv")
        epochs = columns["epoch"] - columns["epoch"].min()
        steps = columns["step"] + epochs * columns["step"].max()
        return np.stack([steps, columns["loss"]], axis=1)

    def run(self, training: str) -> Run:
        """Returns the folder of a training."""
        return Run(self.directory / "runs" / f"{training}-seed-{self.seed}")

    def config(self, training: Training) -> RunConfig:
        """Returns what a training is asked to do."""
        return request(
            data=str(self.directory / f"data-{training.images or 'all'}"),
            model=training.network,
            recipe=training.recipe,
            settings=list(training.overrides),
            seed=self.seed,
        )

    def _train(self, training: Training) -> None:
        config = self.config(training)
        directory = self.run(training.name).directory
        source = self.data
        if training.images:
            count = round(training.images / (1 - _HELD_OUT))
            source = str(_kept_images(self.data, count, self.directory))
        examples = example_gen(
            source, Path(config.data) / "examples", validation_share=_HELD_OUT
        )
        run = open_run(directory, config)
        with run.held():
            if TrainedModel.is_in(run.model_dir):
                return
            run.write_config(config)
            record_start(run.directory)
            self.console.print(f"  training {directory}", highlight=False)
            trainer(
                examples,
                run.model_dir,
                network=config.network,
                recipe=config.recipe,
                seed=self.seed,
                watch=WatchOptions(tensorboard=False),
                console=Console(quiet=True),
            )


@functools.cache
def _published(name: str, checkpoints: Path) -> keras.Model:
    path = checkpoints / CHECKPOINTS[name]
    if not path.is_file():
        raise UserError(
            f"{path} is missing, the published {name} that this claim looks at; give "
            "--checkpoints with the folder that has it"
        )
    model = keras_resnet.create(name, classifier_activation=None)
    keras_resnet.load_weights(model, path)
    return model


def _kept_images(data: str, count: int, directory: Path) -> Path:
    """Returns a folder of the first images of each class, about `count` in all."""
    kept = directory / f"images-{count}"
    if kept.exists():
        return kept
    partial = directory / f".partial-images-{count}"
    source = open_source(data)
    taken: dict[str, int] = {}
    for image in source:
        taken.setdefault(image.class_name, 0)
    share = -(-count // len(taken))
    for image in source:
        number = taken[image.class_name]
        if number < share:
            taken[image.class_name] += 1
            folder = partial / image.class_name
            folder.mkdir(parents=True, exist_ok=True)
            suffix = Path(image.name).suffix or ".jpg"
            (folder / f"{number:06}{suffix}").write_bytes(image.content.read())
    partial.rename(kept)
    return kept


def _save(result: Reproduction, points: list[Point], directory: Path) -> None:
    verdict = result.verdict
    values = {
        "claim": result.claim.name,
        "budget": result.budget,
        "version": result.claim.version(result.budget),
        "verdict": verdict.verdict,
        "effect": {one.contrast.effect: one.effect for one in verdict.findings},
        "interval": {one.contrast.effect: one.interval for one in verdict.findings},
        "findings": {one.contrast.effect: one.verdict for one in verdict.findings},
        "seeds": verdict.seeds,
        "revised": result.claim.revised,
        "seconds": result.seconds,
    }
    files.write_text(directory / "verdict.json", json.dumps(values, indent=2) + "\n")
    with files.replacing(directory / "figure.png") as temporary:
        figure(result.claim, points).savefig(temporary, dpi=80)
