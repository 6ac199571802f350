"""What the progress bar and TensorBoard cost beside the training steps they watch.

    python -m benchmarks.watching --network=resnet20 --batch=128 --steps=350
    python -m benchmarks.watching --network=resnet50 --batch=32 --steps=200 --epochs=1

The steps are forward, backward and SGD on one batch of random images, and the callbacks
are called as the engine calls them; both are timed in the same process. Validation and
reading are left out, so that the share that is printed is an upper bound. On a GPU,
whose epochs are shorter, `--steps` should be those of a real epoch.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from pipelines import environment

PARTS = ("on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=350, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    environment.prepare("fast")
    measure(options.network, options.batch, options.steps, options.epochs)


def measure(network: str, batch: int, steps: int, epochs: int) -> None:
    import keras
    import tensorflow as tf

    import keras_resnet
    from keras_resnet.preprocessing import Preprocessing
    from keras_resnet.training import RECIPES
    from pipelines.training import watching
    from pipelines.training.network import for_training, takes_pixels

    spec = keras_resnet.NETWORKS[network]
    size, classes = spec.input_size, spec.classes
    plain = keras_resnet.build(spec, input_shape=(size, size, 3))
    trained = for_training(plain, RECIPES["onecycle"])
    model = takes_pixels(trained, Preprocessing(crop=size, resize=size))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)

    @tf.function
    def train(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels, model(images, training=True)
                )
            )
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    generator = np.random.default_rng(0)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        images = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        return images, generator.integers(0, classes, count)

    names = tuple(map(str, range(classes)))
    held_out = tf.data.Dataset.from_tensors(draw(1000))
    sample = watching.EvaluationSample.of(held_out, names, steps * batch)
    images, labels = map(tf.constant, draw(batch))
    float(train(images, labels))

    seconds = dict.fromkeys(PARTS, 0.0)

    def call(part: str, *arguments: object) -> None:
        begin = time.perf_counter()
        getattr(told, part)(*arguments)
        seconds[part] += time.perf_counter() - begin

    rows: list[dict[str, float]] = []
    logs = {"top1": 0.5, "gradient_norm": 1.0, "images_per_second": 1.0}
    with tempfile.TemporaryDirectory() as directory:
        callbacks = watching.make_callbacks(
            Path(directory),
            Console(),
            options=watching.WatchOptions(),
            images_at_once=batch,
            sample=sample,
            rows=rows,
        )
        told = keras.callbacks.CallbackList(
            callbacks, model=model, epochs=epochs, steps=steps, batch_size=batch
        )
        begin = time.perf_counter()
        call("on_train_begin")
        for epoch in range(epochs):
            call("on_epoch_begin", epoch)
            for step in range(steps):
                loss = float(train(images, labels))
                if (step + 1) % 50 == 0:
                    rows.append({**logs, "loss": loss, "learning_rate": 0.1})
                call("on_train_batch_end", step, {**logs, "loss": loss})
            call("on_epoch_end", epoch, {**logs, "loss": loss, "learning_rate": 0.1})
        total = time.perf_counter() - begin
        watching.close(callbacks)
    watched = sum(seconds.values())
    print(f"{network}, {size} pixels, batch {batch}, {steps} steps, {epochs} epochs")
    print(f"training {total - watched:.1f} s, a sample of {len(sample.images)} images")
    print(f"watching {watched:.1f} s: {watched / (total - watched):.1%} more, of these")
    for part, spent in seconds.items():
        print(f"  {part:20} {spent:6.2f} s")


if __name__ == "__main__":
    main()
