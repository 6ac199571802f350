"""The flags for what people watch while a network trains."""

from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    from pipelines.training.watching import WatchOptions

TENSORBOARD = flags.DEFINE_bool(
    "tensorboard", True, "Write what TensorBoard shows to model/tensorboard/."
)
PROFILE = flags.DEFINE_bool(
    "profile", False, "Profile the 10th to the 20th step for TensorBoard."
)
TRACK = flags.DEFINE_string(
    "track", "", "Tell a tracker of the run: mlflow or wandb, where installed."
)
EXPERIMENT = flags.DEFINE_string(
    "experiment", "keras_resnet", "The tracker's name for runs that belong together."
)


def watch_options() -> "WatchOptions":
    """Returns what the flags ask for.

    Raises:
        UserError: If the tracker is unknown or not installed.
    """
    from pipelines.training.watching import WatchOptions, trackers

    trackers.check(TRACK.value)
    return WatchOptions(
        tensorboard=TENSORBOARD.value,
        profile=PROFILE.value,
        track=TRACK.value,
        experiment=EXPERIMENT.value,
    )
