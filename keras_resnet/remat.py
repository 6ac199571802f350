"""Training deep networks in little memory, by computing activations twice.

Training keeps every activation for the backward pass. A rematerialised stage of `n`
blocks keeps only those between about `sqrt(n)` runs of blocks, and computes one run at
a time again when the backward pass reaches it: memory that grows with the square root
of depth, for one more forward pass (Chen et al. 2016, 1604.06174).
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_resnet import structure


def rematerialize(
    model: keras.Model, stages: Sequence[str] | None = None
) -> keras.Model:
    """Makes a model train in less memory, with the same results.

    Losses, gradients and the batch norms' moving statistics are those of `model`, on
    TensorFlow, JAX and PyTorch. Only training differs; inference is untouched. What a
    compiler makes of it is its own: XLA for CPUs, JAX's default there, orders the
    computation for speed and saves little.

    Args:
        model: A network of keras_resnet.
        stages: Stages such as `("conv2", "conv3")`. None for all.

    Returns:
        A functional model that shares all layers, and so all weights, with `model`. It
        saves and loads like it; `keras.models.clone_model` of it rematerialises all
        stages.

    Raises:
        ValueError: If a stage is unknown, or the layers are not named as ours.

    Example:

    >>> model = keras_resnet.rematerialize(keras_resnet.ResNet1202())
    """
    structure.stages(model)
    return RematerializedModel(
        model.input, model.output, name=model.name, stages=stages
    )


@keras.saving.register_keras_serializable(package="keras_resnet")
class RematerializedModel(keras.Model):
    """What `rematerialize` returns.

    Args:
        inputs: As for `keras.Model`.
        outputs: As for `keras.Model`.
        name: As for `keras.Model`.
        stages: As for `rematerialize`.
        **kwargs: As for `keras.Model`.

    Raises:
        ValueError: As `rematerialize`.

    Example:

    >>> model = RematerializedModel(plain.input, plain.output, stages=("conv4",))
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        name: str | None = None,
        *,
        stages: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)
        known = structure.stages(self)
        stages = tuple(known) if stages is None else stages
        unknown = [stage for stage in stages if stage not in known]
        if unknown or not stages or isinstance(stages, str):
            raise ValueError(
                f"The stages to rematerialise must be some of "
                f"{', '.join(map(repr, known))} of {self.name!r}, got {stages!r}."
            )
        self.stages = tuple(stage for stage in known if stage in stages)
        self._plan = _Plan(tuple(_pieces(self, self.stages)))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Maps images to what the plain model maps them to."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        return self._plan.run(inputs, self.output)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this model."""
        return {**super().get_config(), "stages": list(self.stages)}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "RematerializedModel":
        """Returns the model that `config` describes, however deep."""
        structure.allow_recursion(len(config["layers"]))
        return super().from_config(config, custom_objects)


class _Segment(keras.layers.Layer):
    """Runs a part of a model and keeps only its input for the backward pass.

    The part becomes a pure function of its input and its variables, since what runs
    twice must not update a moving average twice nor draw a second dropout mask.
    """

    def __init__(self, part: keras.Model) -> None:
        # The variables must arrive as they are; the layers inside cast for themselves.
        super().__init__(dtype="float32", autocast=False)
        self.part = part
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> list[Any]:
        part = self.part
        # Read here: TensorFlow would count the gradient of a variable itself twice.
        learned = [keras.ops.cast(v, v.dtype) for v in part.trainable_variables]
        # Copied, since PyTorch would recompute from what is assigned below.
        state = [keras.ops.copy(v) for v in part.non_trainable_variables]

        def pure(inputs: Any, *learned: Any) -> tuple[Any, ...]:
            outputs, new_state = part.stateless_call(
                learned, state, inputs, training=training
            )
            return *keras.tree.flatten(outputs), *new_state

        results = keras.remat(pure)(inputs, *learned)
        count = len(part.outputs)
        for variable, value in zip(
            part.non_trainable_variables, results[count:], strict=True
        ):
            variable.assign(value)
        return list(results[:count])


@dataclasses.dataclass(frozen=True)
class _Piece:
    """One of the parts that a model is cut into; each begins where the last one ends.

    Args:
        run: Maps the part's input to the values of `tensors`.
        tensors: Symbolic tensors of the whole model: the piece's end, then those of the
            model's outputs that lie before it.
    """

    run: keras.layers.Layer
    tensors: tuple[keras.KerasTensor, ...]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """All pieces, hidden here lest Keras take them for further layers of the model."""

    pieces: tuple[_Piece, ...]

    def run(self, x: Any, outputs: Any) -> Any:
        """Returns the values in training of the model's symbolic `outputs` for `x`."""
        values: dict[int, Any] = {}
        for piece in self.pieces:
            results = keras.tree.flatten(piece.run(x, training=True))
            for tensor, result in zip(piece.tensors, results, strict=True):
                values[id(tensor)] = result
            x = results[0]
        return keras.tree.map_structure(lambda tensor: values[id(tensor)], outputs)


def _pieces(model: keras.Model, stages: Sequence[str]) -> Iterator[_Piece]:
    # Layers come in the order of the graph, whose paths all meet where we cut.
    order = {id(layer.output): index for index, layer in enumerate(model.layers)}
    start, begin = model.input, 0
    for end, is_segment in _ends(model, stages):
        if order[id(end)] <= begin:
            continue
        between = range(begin + 1, order[id(end)])
        tensors = (end, *(t for t in model.outputs if order[id(t)] in between))
        part = keras.Model(start, list(tensors))
        yield _Piece(_Segment(part) if is_segment else part, tensors)
        start, begin = end, order[id(end)]


def _ends(
    model: keras.Model, stages: Sequence[str]
) -> Iterator[tuple[keras.KerasTensor, bool]]:
    """Yields where pieces end, and whether to rematerialise them."""
    for stage in stages:
        blocks = structure.stages(model)[stage]
        yield structure.source(model, blocks[0]), False
        for last in _last_blocks(blocks):
            yield structure.output(model, last), True
    order = {id(layer.output): index for index, layer in enumerate(model.layers)}
    yield max(model.outputs, key=lambda tensor: order[id(tensor)]), False


def _last_blocks(blocks: Sequence[str]) -> list[str]:
    """Returns the last block of each of about `sqrt(len(blocks))` equal runs."""
    runs = round(math.sqrt(len(blocks)))
    return [blocks[len(blocks) * run // runs - 1] for run in range(1, runs + 1)]
