"""The main job: images become a trained, evaluated, servable residual network.

python -m pipelines.train_imagenet --data=photos/ --model=resnet18 --recipe=he2015
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from pipelines import cli, environment
from pipelines.errors import UserError

_DATA = flags.DEFINE_string(
    "data",
    "drawings",
    "A folder with one folder of images per class, a .tar, .tar.gz or .zip of one, "
    "TFRecord files in the ImageNet layout, tfds:NAME[/CONFIG], or drawings, the "
    "embedded set.",
)
_MODEL = flags.DEFINE_string("model", "resnet20", "A network, for example resnet50.")
_RECIPE = flags.DEFINE_string("recipe", "onecycle", "How to train, for example he2015.")
_SET = flags.DEFINE_multi_string(
    "set",
    [],
    "KEY=VALUE changes a value of the recipe (learning_rate=0.1) or, as "
    "model.KEY=VALUE, of the network (model.shortcut=C); may be repeated.",
)
_HYPERPARAMETERS = flags.DEFINE_string(
    "hyperparameters", "", "A file of values, as python -m pipelines.tune writes it."
)
_EPOCHS = flags.DEFINE_integer("epochs", None, "Epochs; the recipe's by default.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Decides initial weights, order, augmentation.")
_WEIGHTS = flags.DEFINE_string(
    "weights", "", "Start from a run's folder, or a .keras or .weights.h5 file."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/demo", "The run's folder.")
_EXAMPLES_DIR = flags.DEFINE_string(
    "examples_dir", "", "Where the records lie, to share them between runs."
)
_VALIDATION_SHARE = flags.DEFINE_float(
    "validation_share",
    0.1,
    "Held out where the data has no validation split.",
    0.0,
    0.9,
)
_MAX_BAD_SHARE = flags.DEFINE_float(
    "max_bad_share", 0.01, "Stop above this share of unreadable images.", 0.0, 1.0
)
_REPLICAS = flags.DEFINE_integer(
    "replicas", 0, "GPUs, or logical CPU devices, to train on; 0 takes all GPUs.", 0
)
_RESUME = flags.DEFINE_bool(
    "resume", False, "Go on with the run in --output_dir as it was started."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the run in --output_dir.")
_CPU_SETTINGS = flags.DEFINE_enum(
    "cpu_settings",
    "fast",
    ["fast", "leave"],
    "Environment variables for TensorFlow on CPUs: measured ones, or leave them alone.",
)


def main(arguments: list[str]) -> None:
    """Runs the components one after the other."""
    if arguments:
        raise UserError(f"{arguments[0]!r} is not a flag; write --data={arguments[0]}")
    # TensorFlow reads the environment once, when it is imported.
    environment.prepare(_CPU_SETTINGS.value)
    from pipelines.components.evaluator import evaluator
    from pipelines.components.example_gen import example_gen
    from pipelines.components.pusher import pusher
    from pipelines.components.trainer import trainer
    from pipelines.runs import Run, open_run, request
    from pipelines.summary import print_skipped, print_summary
    from pipelines.training.strategies import make_strategy

    console = Console()
    strategy = make_strategy(_REPLICAS.value)
    output_dir = Path(_OUTPUT_DIR.value)
    if _RESUME.value:
        run = Run(output_dir)
        config = run.read_config()
    else:
        config = request(
            data=_DATA.value,
            model=_MODEL.value,
            recipe=_RECIPE.value,
            settings=_SET.value,
            hyperparameters=_HYPERPARAMETERS.value,
            epochs=_EPOCHS.value,
            seed=_SEED.value,
            weights=_WEIGHTS.value,
            validation_share=_VALIDATION_SHARE.value,
            max_bad_share=_MAX_BAD_SHARE.value,
            examples_dir=_EXAMPLES_DIR.value,
        )
        run = open_run(output_dir, config, overwrite=_OVERWRITE.value)

    examples = example_gen(
        config.data,
        Path(config.examples_dir or run.examples_dir),
        validation_share=config.validation_share,
        max_bad_share=config.max_bad_share,
    )
    run.write_config(config)
    print_skipped(examples, console)
    model = trainer(
        examples,
        run.model_dir,
        network=config.network,
        recipe=config.recipe,
        seed=config.seed,
        weights=config.weights,
        strategy=strategy,
        console=console,
    )
    metrics = evaluator(examples, model, run.evaluation_path)
    pushed = pusher(model, run.serving_dir)
    print_summary(examples, model, metrics, pushed, console)


if __name__ == "__main__":
    cli.run(main)
