"""Networks in 8 bits, calibrated on training images, with each runtime's own quantizer.

Weights have a scale for each output channel, activations one for all.
"""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipelines.serving.runtimes import Runner, answers, batches

# A network and images to calibrate by in. Out comes how many convolutions there are,
# and what writes a file in which all that is computed before one of them, counted from
# 0, stays in float32.
Quantizer = Callable[[keras.Model, np.ndarray], tuple[int, Callable[[Path, int], None]]]

_CALIBRATION_IMAGES = 256
TRAINING_IMAGES = _CALIBRATION_IMAGES + 2048
"""How many images a network is quantized with; those after calibration try it."""
# 99% of all images, and a standard error of the share of 2,048.
_TOP1_AGREEMENT = 0.992


def int8(
    quantizer: Quantizer, load: Callable[[Path], Runner]
) -> Callable[[keras.Model, Path, np.ndarray], int]:
    """Returns what writes int8 with as little float32 as keeps the network's answers.

    Rounding near the image goes through all layers behind it, so that the first are
    those that stay in float32: none, then one, two, four and so on, until the share of
    images that get the network's class, of training images that it was not calibrated
    by, is `_TOP1_AGREEMENT`, or half of the convolutions do.
    """

    def write(network: keras.Model, path: Path, images: np.ndarray) -> int:
        calibration, others = np.split(
            images, [min(_CALIBRATION_IMAGES, len(images) // 2)]
        )
        expected = answers(network, others).argmax(-1)
        convolutions, write_from = quantizer(network, calibration)
        doublings = (2**power for power in range(convolutions.bit_length() - 1))
        for first in (0, *doublings):
            write_from(path, first)
            agreement = (answers(load(path), others).argmax(-1) == expected).mean()
            if agreement >= _TOP1_AGREEMENT:
                break
        return first

    return write


def quantize_onnx(
    network: keras.Model, images: np.ndarray
) -> tuple[int, Callable[[Path, int], None]]:
    """Quantizes as ONNX, with ONNX Runtime's own quantizer: a `Quantizer`."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, ready = Path(folder, "plain.onnx"), Path(folder, "ready.onnx")
        network.export(str(plain), format="onnx", verbose=False)
        # Symbolic inference fails on a batch of any size, and is for transformers.
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        model = onnx.load(ready)
    nodes = model.graph.node
    places = [place for place, node in enumerate(nodes) if node.op_type == "Conv"]

    def write(path: Path, first: int) -> None:
        # All activations of a batch are in memory at once.
        calibration = ({network.input.name: batch} for batch in batches(images, 8))

        class Reader(quantization.CalibrationDataReader):
            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(calibration, None)

        quantization.quantize_static(
            copy.deepcopy(model),  # It changes what it is given.
            path,
            Reader(),
            per_channel=True,
            # What ONNX Runtime advises for x86; ranges that one image does not decide.
            activation_type=quantization.QuantType.QUInt8,
            extra_options={"CalibMovingAverage": True},
            nodes_to_exclude=[node.name for node in nodes[: places[first]]],
        )

    return len(places), write


def quantize_openvino(
    network: keras.Model, images: np.ndarray
) -> tuple[int, Callable[[Path, int], None]]:
    """Quantizes for OpenVINO, with NNCF: a `Quantizer`."""
    import nncf
    import openvino
    from nncf.quantization import advanced_parameters, range_estimator

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.xml")
        network.export(str(plain), format="openvino", verbose=False)
        model = openvino.Core().read_model(plain)
    nodes = [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() not in ("Constant", "Parameter")
    ]
    places = [
        place
        for place, node in enumerate(nodes)
        if node.get_type_name() in ("Convolution", "GroupConvolution")
    ]
    names = [node.get_friendly_name() for node in nodes]

    def write(path: Path, first: int) -> None:
        quantized = nncf.quantize(
            model,
            nncf.Dataset(list(batches(images, 1))),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=names[: places[first]]),
            # Each loses less than what NNCF takes by itself: ranges are those of all
            # images, not means of each one's; 8 bits hold all of the weights, not 7.
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=(
                    range_estimator.RangeEstimatorParametersSet.MINMAX
                ),
                overflow_fix=advanced_parameters.OverflowFix.DISABLE,
            ),
        )
        openvino.save_model(quantized, path, compress_to_fp16=False)

    return len(places), write


def quantize_litert(
    network: keras.Model, images: np.ndarray
) -> tuple[int, Callable[[Path, int], None]]:
    """Quantizes for LiteRT, with TensorFlow's quantizer: a `Quantizer`."""
    from ai_edge_litert.interpreter import Interpreter

    with tempfile.TemporaryDirectory() as folder:
        network.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [image] for image in batches(images, 1)
        )
        # Named for what it was made for; it is what leaves layers in float32.
        quantizer = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=converter.representative_dataset
        )
    calibrated = Interpreter(model_content=quantizer.calibrated_model)
    names = {one["index"]: one["name"] for one in calibrated.get_tensor_details()}
    operations = calibrated._get_ops_details()
    places = [
        place
        for place, one in enumerate(operations)
        if one["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D")
    ]

    def write(path: Path, first: int) -> None:
        quantizer.options = tf.lite.experimental.QuantizationDebugOptions(
            denylisted_nodes=[
                names[one["outputs"][0]] for one in operations[: places[first]]
            ],
            # 8 bits of scores are so few that the best two are often the same.
            denylisted_ops=["FULLY_CONNECTED", "SOFTMAX"],
        )
        path.write_bytes(quantizer.get_nondebug_quantized_model())

    return len(places), write
