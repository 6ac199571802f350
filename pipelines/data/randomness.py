"""Random numbers that are a function of an image's seed, and of nothing else.

TensorFlow's stateless operations take one seed for a whole tensor: what a row of a
batch gets would depend on its place in the batch. Here each row has its own seed, and
its numbers are a hash of the seed and their position, all rows at once: a
counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011) with the mixing function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

import math

import numpy as np
import tensorflow as tf

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_GAMMA_ATTEMPTS = 12
_FEISTEL_ROUNDS = 8  # Even, so that the halves are back in their places.


def uniform(seeds: tf.Tensor, count: int, stream: int) -> tf.Tensor:
    """Draws numbers for each row of seeds.

    Args:
        seeds: int64 `(batch, 2)`.
        count: Numbers per row.
        stream: Which of a row's sequences to draw from; numbers of different streams
            are independent.

    Returns:
        float32 `(batch, count)`, uniform in `[0, 1)` on a grid of 2**-24.

    Example:

    >>> uniform(tf.constant([[7, 0], [7, 1]], tf.int64), 3, stream=0).shape
    TensorShape([2, 3])
    """
    seeds = tf.bitcast(seeds, tf.uint64)
    key = _mix(seeds[:, 0] + _wrapped(_GOLDEN * (stream + 1)))
    key = _mix(key ^ seeds[:, 1])
    positions = _wrapped([_GOLDEN * (n + 1) for n in range(count)])
    bits = _mix(key[:, None] + positions)
    return tf.cast(_shift(bits, 40), tf.float32) * 2.0**-24


def uniform_of_one(seed: tf.Tensor, count: int) -> tf.Tensor:
    """Draws numbers for one image: one operation, where a hash takes dozens.

    Args:
        seed: int64 `(2,)`.
        count: How many.

    Returns:
        float32 `(count,)`, uniform in `[0, 1)`, independent of those of `uniform`.
    """
    return tf.random.stateless_uniform([count], seed, alg="philox")


def integers(uniform_numbers: tf.Tensor, limits: tf.Tensor | int) -> tf.Tensor:
    """Makes integers of uniform numbers.

    Args:
        uniform_numbers: float32, in `[0, 1)`.
        limits: int32, broadcast: each integer is below its limit, and 0 or more.

    Returns:
        int32 of the broadcast shape.
    """
    # In float32 the product may round up to the limit.
    scaled = tf.cast(uniform_numbers, tf.float64) * tf.cast(limits, tf.float64)
    return tf.cast(tf.floor(scaled), tf.int32)


def permuted(places: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """Computes where a random permutation takes places; there is no table of it.

    A generalised Feistel cipher with cycle walking (Black and Rogaway, "Ciphers with
    arbitrary finite domains", CT-RSA 2002).

    Args:
        places: int64, each from 0 to `count - 1`.
        count: How many places there are in all, at least 1.
        seed: int64 `(2,)`; decides the permutation.

    Returns:
        int64 of the shape of `places`.

    Example:

    >>> permuted(tf.range(5, dtype=tf.int64), 5, tf.constant([7, 0], tf.int64)).numpy()
    array([3, 0, 4, 1, 2])
    """
    first = math.isqrt(count - 1) + 1
    second = -(-count // first)
    seed = tf.bitcast(seed, tf.uint64)
    key = _mix(_mix(seed[0] + _wrapped(_GOLDEN)) ^ seed[1])
    keys = [_mix(key + _wrapped(_GOLDEN * n)) for n in range(_FEISTEL_ROUNDS)]

    def encipher(numbers: tf.Tensor) -> tf.Tensor:
        left, right = numbers % first, numbers // first
        for n, key in enumerate(keys):
            # The first half of the bits: as an integer they are not negative.
            bits = _shift(_mix(tf.bitcast(right, tf.uint64) ^ key), 1)
            modulus = second if n % 2 else first
            change = tf.bitcast(bits, tf.int64) % modulus
            left, right = right, (left + change) % modulus
        return first * right + left

    return tf.while_loop(
        lambda numbers: tf.reduce_any(numbers >= count),
        lambda numbers: (tf.where(numbers < count, numbers, encipher(numbers)),),
        (encipher(places),),
    )[0]


def normal(seeds: tf.Tensor, count: int, stream: int) -> tf.Tensor:
    """Draws standard normal numbers for each row of seeds (Box and Muller, 1958).

    Args:
        seeds: int64 `(batch, 2)`.
        count: Numbers per row.
        stream: As for `uniform`.

    Returns:
        float32 `(batch, count)`.
    """
    radii, angles = tf.split(uniform(seeds, 2 * count, stream), 2, axis=1)
    # 1 - u is never 0.
    return tf.sqrt(-2 * tf.math.log(1 - radii)) * tf.cos(2 * math.pi * angles)


def beta(seeds: tf.Tensor, alpha: float, stream: int) -> tf.Tensor:
    """Draws one number of the distribution Beta(alpha, alpha) for each row of seeds.

    It is the share of the first of two gamma variables in their sum.

    Args:
        seeds: int64 `(batch, 2)`.
        alpha: Above 0.
        stream: As for `uniform`; the streams up to `stream + 5` are used.

    Returns:
        float32 `(batch,)`, in `[0, 1]`.
    """
    first = _log_gamma_variable(seeds, alpha, stream)
    second = _log_gamma_variable(seeds, alpha, stream + 3)
    return tf.sigmoid(first - second)


def _log_gamma_variable(seeds: tf.Tensor, shape: float, stream: int) -> tf.Tensor:
    """Draws log(g) for g of Gamma(shape), by Marsaglia and Tsang (TOMS 26(3), 2000).

    Each attempt is accepted with probability 0.95 or more, so that the last one is
    hardly ever needed. In logarithms, since a small shape gives numbers below the
    smallest float32.
    """
    d = shape + 1 - 1 / 3
    x = normal(seeds, _GAMMA_ATTEMPTS, stream)
    v = tf.maximum(1 + x / math.sqrt(9 * d), 1e-6) ** 3
    u = 1 - uniform(seeds, _GAMMA_ATTEMPTS, stream + 1)
    accepted = tf.math.log(u) < x**2 / 2 + d * (1 - v + tf.math.log(v))
    chosen = tf.gather(v, tf.argmax(accepted, axis=1), batch_dims=1)
    # Gamma(shape) is Gamma(shape + 1) times u ** (1 / shape).
    boost = tf.math.log(1 - uniform(seeds, 1, stream + 2)[:, 0]) / shape
    return tf.math.log(d * chosen) + boost


def _mix(bits: tf.Tensor) -> tf.Tensor:
    for shift, multiplier in _MULTIPLIERS:
        bits = (bits ^ _shift(bits, shift)) * _wrapped(multiplier)
    return bits ^ _shift(bits, 31)


def _shift(bits: tf.Tensor, count: int) -> tf.Tensor:
    return tf.bitwise.right_shift(bits, tf.constant(count, tf.uint64))


def _wrapped(numbers: int | list[int]) -> tf.Tensor:
    return tf.constant(np.array(numbers, object) % 2**64, tf.uint64)
