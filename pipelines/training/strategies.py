"""Where a training step runs."""

import tensorflow as tf

from pipelines.errors import UserError


def make_strategy(replicas: int = 0) -> tf.distribute.Strategy:
    """Returns the strategy for one host; call it before TensorFlow runs anything.

    Args:
        replicas: 0 takes all GPUs, or the one device there is. A positive number takes
            that many GPUs, or, without GPUs, that many logical CPU devices.

    Returns:
        `MirroredStrategy` over several devices, the default strategy on one.

    Raises:
        UserError: If there are fewer GPUs than `replicas`, or TensorFlow already runs.

    Example:

    >>> make_strategy(2).num_replicas_in_sync
    2
    """
    gpus = tf.config.list_physical_devices("GPU")
    if replicas < 0 or (gpus and replicas > len(gpus)):
        raise UserError(
            f"--replicas={replicas} does not fit the {len(gpus)} GPUs of this host; "
            "give 0 to use all"
        )
    count = replicas or max(len(gpus), 1)
    if count == 1:
        return tf.distribute.get_strategy()
    if not gpus:
        _split_cpu(count)
    kind = "GPU" if gpus else "CPU"
    return tf.distribute.MirroredStrategy([f"/{kind}:{n}" for n in range(count)])


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or ()) >= count:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        raise UserError(
            f"--replicas={count} cannot be set up after TensorFlow has started; "
            "start a new process"
        ) from error
