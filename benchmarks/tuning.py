"""Two searches as evidence, on CIFAR-10 as lossy JPEG; docs/results.md has the outcome.

(a) Best of some random networks around ours against the best of as many of
`keras_tuner.applications.HyperResNet`: same tuner, trials, epochs, batches, images.
(b) A grid over shortcuts and depths, the paper's Table 3 and Figure 6 in small.

python -m benchmarks.tuning --images=cifar10_jpeg_train.tar.gz --part=spaces
python -m benchmarks.tuning --images=cifar10_jpeg_train.tar.gz --part=shortcuts

It goes on where it was stopped: what is in --output is not measured again.
"""

import argparse
import dataclasses
import io
import itertools
import json
import math
import os
import tarfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SHORTCUTS = ("A", "B", "C", "none")


def main() -> None:
    """Measures what --output lacks, then prints the outcome so far."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--part", choices=("spaces", "shortcuts"), required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/tuning_benchmark"))
    parser.add_argument("--training", type=int, default=2000, help="images")
    parser.add_argument("--validation", type=int, default=2000, help="images")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--blocks", type=int, nargs="+", default=[3, 9])
    parser.add_argument(
        "--width", type=float, default=1.0, help="of the shortcuts' nets"
    )
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="0 for all")
    flags = parser.parse_args()
    if flags.threads:
        # Before TensorFlow is imported.
        os.environ["OMP_NUM_THREADS"] = str(flags.threads)
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(flags.threads)
        os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    flags.output.mkdir(parents=True, exist_ok=True)
    part = {"spaces": _spaces, "shortcuts": _shortcuts}[flags.part]
    part(flags)


def _read(flags: argparse.Namespace) -> tuple[np.ndarray, ...]:
    """Returns images, uint8, and labels, one-hot: of training, then those held out."""
    wanted = flags.training + flags.validation
    per_class = -(-wanted // 10)
    images: dict[str, list[np.ndarray]] = {}
    with tarfile.open(flags.images) as archive:
        for member in archive:
            name = member.name.split("/")[-2] if "/" in member.name else ""
            if not member.isfile() or len(images.setdefault(name, [])) >= per_class:
                continue
            file = archive.extractfile(member)
            assert file is not None
            images[name].append(np.asarray(Image.open(io.BytesIO(file.read()))))
            if sum(map(len, images.values())) >= 10 * per_class:
                break
    names = sorted(name for name, found in images.items() if found)
    pairs = [
        (image, label) for label, name in enumerate(names) for image in images[name]
    ]
    order = np.random.default_rng(0).permutation(len(pairs))[:wanted]
    pixels = np.stack([pairs[index][0] for index in order])
    labels = np.eye(len(names), dtype="float32")[[pairs[index][1] for index in order]]
    cut = flags.training
    return pixels[:cut], labels[:cut], pixels[cut:], labels[cut:]


def _spaces(flags: argparse.Namespace) -> None:
    import keras
    import keras_tuner

    from keras_resnet.tuning import HyperResNet

    train, shares, held_out, held_out_shares = _read(flags)
    mean, deviation = train.mean((0, 1, 2)), train.std((0, 1, 2))
    train, held_out = ((part - mean) / deviation for part in (train, held_out))
    arguments = {"input_shape": (32, 32, 3), "classes": 10}
    hypermodels = {
        "ours": lambda: HyperResNet("default", **arguments),
        "keras_tuner": lambda: keras_tuner.applications.HyperResNet(**arguments),
    }
    path = flags.output / "spaces.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for seed, (name, make) in itertools.product(
        range(flags.seeds), hypermodels.items()
    ):
        key = (
            f"{name}, seed {seed}, {flags.trials} trials, {flags.epochs} epochs, "
            f"{flags.training} images, batches of {flags.batch_size}"
        )
        if key in found:
            continue
        keras.utils.set_random_seed(seed)
        began = time.perf_counter()
        tuner = keras_tuner.RandomSearch(
            make(),
            "val_accuracy",
            max_trials=flags.trials,
            seed=1 + 1000 * seed,
            directory=flags.output / "keras_tuner",
            project_name=f"{name}-{seed}",
        )
        tuner.search(
            train,
            shares,
            validation_data=(held_out, held_out_shares),
            epochs=flags.epochs,
            batch_size=flags.batch_size,
            verbose=0,
        )
        trials = [
            {"error": 1 - (trial.score or 0.0), **trial.hyperparameters.values}
            for trial in tuner.oracle.trials.values()
        ]
        found[key] = {
            "best": min(trial["error"] for trial in trials),
            "trials": trials,
            "seconds": time.perf_counter() - began,
        }
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(key, f"{found[key]['best']:.2%} in {found[key]['seconds']:.0f} s")
    pairs = [
        (found[ours]["best"], found[ours.replace("ours", "keras_tuner", 1)]["best"])
        for ours in found
        if ours.startswith("ours")
        and ours.replace("ours", "keras_tuner", 1) in found
        and f"{flags.epochs} epochs, {flags.training} images, " in ours
    ]
    print("errors of the best, ours and KerasTuner's:", pairs)
    if len(pairs) > 1:
        print("theirs minus ours:", _interval([b - a for a, b in pairs]))


def _shortcuts(flags: argparse.Namespace) -> None:
    import keras

    from keras_resnet import NETWORKS
    from keras_resnet.arrays import fit_arrays
    from keras_resnet.training import RECIPES
    from keras_resnet.tuning import Space, SpaceAround

    train, shares, held_out, held_out_shares = _read(flags)
    labels, held_out_labels = shares.argmax(1), held_out_shares.argmax(1)
    recipe = dataclasses.replace(
        RECIPES["onecycle_cifar"], epochs=flags.epochs, batch_size=flags.batch_size
    )
    depths = ",".join(map(str, flags.blocks))
    space = Space.parse(
        f"blocks={depths} shortcut={','.join(SHORTCUTS)} width={flags.width}"
    )
    near = SpaceAround(space, NETWORKS["resnet20"], recipe)
    path = flags.output / "shortcuts.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    scale = (
        f"{flags.epochs} epochs, {flags.training} images, width {flags.width}, "
        f"batches of {flags.batch_size}"
    )
    for seed, blocks, shortcut in itertools.product(
        range(flags.seeds), flags.blocks, SHORTCUTS
    ):
        key = f"{blocks} blocks, {shortcut}, seed {seed}, {scale}"
        if key in found:
            continue
        spec, _ = near.configure(
            {"blocks": blocks, "shortcut": shortcut, "width": flags.width}
        )
        began = time.perf_counter()
        fitted = fit_arrays(
            dataclasses.replace(spec, classes=10),
            recipe,
            train,
            labels,
            validation=(held_out, held_out_labels),
            seed=seed,
            verbose=0,
        )
        found[key] = 1 - fitted.history.history["val_top1"][-1]
        path.write_text(json.dumps(found, indent=1) + "\n")
        seconds = time.perf_counter() - began
        print(f"{key}: error {found[key]:.2%} in {seconds:.0f} s", flush=True)
        keras.backend.clear_session()
    for blocks, (one, other) in itertools.product(
        flags.blocks, itertools.combinations(SHORTCUTS, 2)
    ):
        differences = [
            found[f"{blocks} blocks, {other}, seed {seed}, {scale}"]
            - found[f"{blocks} blocks, {one}, seed {seed}, {scale}"]
            for seed in range(flags.seeds)
            if f"{blocks} blocks, none, seed {seed}, {scale}" in found
        ]
        if len(differences) > 1:
            print(f"{blocks} blocks, {other} minus {one}: {_interval(differences)}")


def _interval(differences: list[float]) -> str:
    """Returns a mean with its 95% interval by Student's t."""
    quantiles = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}
    count = len(differences)
    half = quantiles.get(count, 2.0) * np.std(differences, ddof=1) / math.sqrt(count)
    mean = float(np.mean(differences))
    return f"{mean:+.2%} ({mean - half:+.2%} to {mean + half:+.2%}, {count} seeds)"


if __name__ == "__main__":
    main()
