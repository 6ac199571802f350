"""Tensors as JSON and as messages, by TF Serving's rules."""

import base64
import binascii
import reprlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from pipelines.serving.server.batching import Arrays
from pipelines.serving.server.refusal import invalid


def from_json(
    values: dict[str, Any], signature: meta_graph_pb2.SignatureDef
) -> tuple[Arrays, bool]:
    r"""Returns the inputs in the body of a request to predict.

    Args:
        values: With `"instances"`, rows, or `"inputs"`, columns.
        signature: Says which inputs of which types there are.

    Returns:
        The inputs, and whether they came as rows.

    Raises:
        Refusal: If they do not fit.

    Example:

    >>> from_json({"instances": [{"b64": "/9j/4AAQ..."}]}, signature)
    ({'image_bytes': array([b'\xff\xd8...'], dtype=object)}, True)
    """
    is_rows = "instances" in values
    if is_rows and "inputs" in values:
        raise invalid(
            f"JSON Value: {_short(values)} Not formatted correctly expecting only one "
            "of 'inputs' or 'instances' keys to exist"
        )
    if is_rows:
        return _from_rows(values["instances"], signature), True
    if "inputs" in values:
        return _from_columns(values["inputs"], signature), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _from_rows(rows: Any, signature: meta_graph_pb2.SignatureDef) -> Arrays:
    if not isinstance(rows, list):
        raise invalid(
            f"JSON Value: {_short(rows)} Excepting 'instances' to be an list/array"
        )
    if not rows:
        raise invalid("JSON Value: [] No values in 'instances' array")
    inputs = signature.inputs
    if not _has_names(rows[0]):
        if len(inputs) > 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple "
                "input tensors required as per tensorinfo_map"
            )
        ((name, info),) = inputs.items()
        return {name: _array(rows, info)}
    for number, row in enumerate(rows):
        if not _has_names(row):
            raise invalid(
                f"Expecting object but got list at item {number} of input list"
            )
        if row.keys() != set(inputs):
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON "
                f"object: {_short(row)} keys must be equal to: "
                + ",".join(sorted(inputs))
            )
    return {
        name: _array([row[name] for row in rows], info) for name, info in inputs.items()
    }


def _from_columns(columns: Any, signature: meta_graph_pb2.SignatureDef) -> Arrays:
    inputs = signature.inputs
    if not _has_names(columns):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        columns = dict.fromkeys(inputs, columns)
    for name in inputs:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(columns[name], info) for name, info in inputs.items()}


def to_json(outputs: Arrays, is_rows: bool) -> dict[str, Any]:
    """Returns the body of an answer, in the form of the request.

    Args:
        outputs: Tensors; where they are rows, of one length.
        is_rows: Whether the request was.

    Raises:
        Refusal: If outputs are not rows, and should be.

    Example:

    >>> to_json({"valid": np.array([True]), "probabilities": np.ones((1, 1))}, True)
    {'predictions': [{'probabilities': [1.0], 'valid': True}]}
    """
    columns = {
        name: _plain(outputs[name], name.endswith("_bytes")) for name in sorted(outputs)
    }
    if not is_rows:
        only = next(iter(columns.values()))
        return {"outputs": columns if len(columns) > 1 else only}
    lengths = {len(array) if array.ndim else None for array in outputs.values()}
    if len(lengths) > 1 or None in lengths:
        raise invalid("outputs have not the same number of rows; ask with 'inputs'")
    if len(columns) == 1:
        (rows,) = columns.values()
    else:
        rows = [
            dict(zip(columns, row, strict=True))
            for row in zip(*columns.values(), strict=True)
        ]
    return {"predictions": rows}


def from_message(
    tensors: Any, signature: meta_graph_pb2.SignatureDef, *, max_bytes: int
) -> Arrays:
    """Returns the inputs in a `PredictRequest`.

    Args:
        tensors: Its `inputs`.
        signature: Says which inputs of which types there are.
        max_bytes: Of a tensor. A message of some bytes may stand for any number.

    Raises:
        Refusal: If they do not fit.
    """
    sent, wanted = set(tensors), set(signature.inputs)
    if sent != wanted:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len("
            f"{_names(sent)}) != len({_names(wanted)}). Sent extra: "
            f"{_names(sent - wanted)}. Missing but required: {_names(wanted - sent)}."
        )
    return {
        name: _from_proto(tensors[name], name, info.dtype, max_bytes)
        for name, info in signature.inputs.items()
    }


def _from_proto(
    tensor: tensor_pb2.TensorProto, name: str, dtype: int, max_bytes: int
) -> np.ndarray:
    if tensor.dtype != dtype:
        raise invalid(
            f"input {name} expects to be {_type_name(dtype)} but "
            f"{_type_name(tensor.dtype)} is provided"
        )
    elements = 1
    for dimension in tensor.tensor_shape.dim:
        elements *= max(dimension.size, -1)
    kind = tf.as_dtype(dtype)
    is_text = kind == tf.string
    size = len(tensor.string_val) if is_text else max_bytes // kind.size
    fits = elements == size if is_text else 0 <= elements <= size
    if tensor.tensor_shape.unknown_rank or not fits:
        raise invalid(f"input {name} has other elements than its shape says")
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise invalid(f"input {name} is not right ({error})") from error


def to_message(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Returns a tensor with its numbers in fields, where TF Serving's clients look.

    Example:

    >>> to_message(np.float32([0.5])).float_val
    [0.5]
    """
    field = _FIELDS.get(array.dtype.name)
    if field is None:  # Strings have but one place; others few ask for.
        return tf.make_tensor_proto(array)
    tensor = tensor_pb2.TensorProto(
        dtype=tf.as_dtype(array.dtype).as_datatype_enum,
        tensor_shape=tf.TensorShape(array.shape).as_proto(),
    )
    getattr(tensor, field).extend(array.ravel().tolist())
    return tensor


_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int8": "int_val",
    "int16": "int_val",
    "int32": "int_val",
    "uint8": "int_val",
    "uint16": "int_val",
    "int64": "int64_val",
    "bool": "bool_val",
}


def _array(value: Any, info: meta_graph_pb2.TensorInfo) -> np.ndarray:
    """Returns a value of JSON as a tensor."""
    dtype = tf.as_dtype(info.dtype)
    if dtype == tf.string:
        shape = tuple(_shape(value))
        leaves = list(_leaves(value, shape))
        # Not from a list, of which numpy would take the final zero bytes.
        array = np.empty(len(leaves), object)
        array[:] = leaves
        return array.reshape(shape)
    try:
        array = np.array(value)
    except (ValueError, OverflowError):  # Rows of different lengths.
        raise invalid(f"JSON Value: {_short(value)} is no tensor") from None
    wanted = dtype.as_numpy_dtype
    is_kind = array.size == 0 or (
        array.dtype.kind == "b"
        if dtype.is_bool
        else array.dtype.kind in ("iu" if dtype.is_integer else "iuf")
    )
    if not is_kind:
        raise invalid(
            f"JSON Value: {_short(value)} Type: {_kind(value)} is not of expected "
            f"type: {_type_name(info.dtype)}"
        )
    with np.errstate(all="ignore"):
        cast = array.astype(wanted)
    if dtype.is_integer:
        is_lossy = bool((cast != array).any())
    else:
        is_lossy = bool((np.isfinite(array) & ~np.isfinite(cast)).any())
    if is_lossy:
        raise invalid(
            f"Cannot convert JSON value: {_short(value)} to {_type_name(info.dtype)} "
            "without loss of precision."
        )
    return cast


def _shape(value: Any) -> Iterator[int]:
    while isinstance(value, list):
        yield len(value)
        if not value:
            return
        value = value[0]


def _leaves(value: Any, shape: tuple[int, ...]) -> Iterator[bytes]:
    """Yields the texts and bytes of nested lists."""
    if not shape:
        yield _text(value)
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise invalid(f"JSON Value: {_short(value)} is not a list of size: {shape[0]}")
    for each in value:
        yield from _leaves(each, shape[1:])


def _text(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not _is_base64(value):
        if isinstance(value, dict):
            raise invalid(
                f"JSON Value: {_short(value)} not formatted correctly for base64 data"
            )
        raise invalid(
            f"JSON Value: {_short(value)} Type: {_kind(value)} is not of expected "
            "type: string"
        )
    text = value["b64"]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        # Others break lines and leave the padding out.
        text = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def _is_base64(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"b64"}
        and isinstance(value["b64"], str)
    )


def _has_names(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _plain(array: np.ndarray, as_bytes: bool) -> Any:
    """Returns a tensor as nested lists."""
    values = array.tolist()
    if array.dtype != object:
        return values

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(each) for each in value]
        try:
            if not as_bytes:
                return value.decode()
        except UnicodeDecodeError:
            pass  # What is no text can be told in no other way.
        return {"b64": base64.b64encode(value).decode()}

    return plain(values)


def _type_name(dtype: int) -> str:
    if dtype not in types_pb2.DataType.values():
        return "invalid"
    return types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()


def _kind(value: Any) -> str:
    while isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, bool) or value is None:
        return "Null" if value is None else str(value)
    kinds = {"dict": "Object", "list": "Array", "str": "String"}
    return kinds.get(type(value).__name__, "Number")


def _short(value: Any) -> str:
    return reprlib.repr(value)


def _names(names: set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
