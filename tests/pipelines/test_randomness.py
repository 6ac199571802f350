"""Random numbers of image seeds: their distribution, and what they depend on."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipelines.data.randomness import beta, integers, normal, permuted, uniform

COUNT = 20_000
# Fixed seeds: these tests cannot fail by chance, only by a change.
SIGNIFICANCE = 1e-3
MASK = 2**64 - 1


def _seeds(count=COUNT, first=0, seed=3):
    indices = np.arange(first, first + count, dtype="int64")
    return tf.constant(np.stack([np.full_like(indices, seed), indices], axis=1))


def _split_mix(seed, stream, position):
    """The generator in Python's integers."""

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    first, second = (value & MASK for value in seed)
    key = mix(mix(first + golden * (stream + 1) & MASK) ^ second)
    return (mix(key + golden * (position + 1) & MASK) >> 40) / 2**24


int64s = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=50, deadline=None)
@given(st.tuples(int64s, int64s), st.integers(0, 1000), st.integers(0, 5))
def test_is_split_mix(seed, stream, position):
    ours = uniform(tf.constant([seed], tf.int64), position + 1, stream)
    assert ours[0, position].numpy() == _split_mix(seed, stream, position)


@pytest.mark.parametrize("first", [0, 2**40, 7 * 2**40 + 12345, -5])
def test_is_uniform(first):
    numbers = uniform(_seeds(first=first), 3, stream=1).numpy()
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0 and numbers.max() < 1
    for column in numbers.T:
        assert stats.kstest(column, "uniform").pvalue > SIGNIFICANCE


def test_rows_streams_positions_and_neighbours_are_independent():
    seeds = _seeds()
    columns = [
        *uniform(seeds, 3, stream=0).numpy().T,
        *uniform(seeds, 3, stream=1).numpy().T,
        *uniform(_seeds(first=1), 1, stream=0).numpy().T,
        *uniform(_seeds(first=2**40), 1, stream=0).numpy().T,
        *uniform(_seeds(seed=4), 1, stream=0).numpy().T,
    ]
    for one in range(len(columns)):
        for other in range(one):
            table, _, _ = np.histogram2d(columns[one], columns[other], bins=8)
            assert stats.chisquare(table.ravel()).pvalue > SIGNIFICANCE / 10


def test_a_row_depends_on_its_seed_alone():
    seeds = _seeds(64)
    whole = uniform(seeds, 5, stream=2).numpy()
    split = [uniform(seeds[n : n + 7], 5, stream=2) for n in range(0, 64, 7)]
    np.testing.assert_array_equal(whole, np.concatenate(split))
    np.testing.assert_array_equal(whole[:, :2], uniform(seeds, 2, stream=2))
    np.testing.assert_array_equal(
        whole, tf.function(lambda s: uniform(s, 5, stream=2))(seeds)
    )
    np.testing.assert_array_equal(whole[::-1], uniform(seeds[::-1], 5, stream=2))


def test_integers_are_below_their_limits():
    largest = np.nextafter(np.float32(1), np.float32(0))
    limits = tf.constant([1, 7, 2**24, 2**31 - 1])
    assert (integers(tf.fill([4], largest), limits) < limits).numpy().all()
    drawn = integers(uniform(_seeds(), 1, stream=0), 7).numpy()
    assert stats.chisquare(np.bincount(drawn.ravel())).pvalue > SIGNIFICANCE


def test_normal():
    numbers = normal(_seeds(), 2, stream=0).numpy()
    for column in numbers.T:
        assert stats.kstest(column, "norm").pvalue > SIGNIFICANCE
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 4 / np.sqrt(COUNT)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_beta(alpha):
    numbers = beta(_seeds(), alpha, stream=0).numpy()
    assert np.isfinite(numbers).all()
    # Near 1 a float32 is too coarse to tell, near 0 it is not.
    small = numbers[numbers < 0.5].astype(float)
    assert abs(len(small) / COUNT - 0.5) < 4 * 0.5 / np.sqrt(COUNT)
    half = stats.beta(alpha, alpha).cdf
    assert stats.kstest(small, lambda x: 2 * half(x)).pvalue > SIGNIFICANCE


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 3000), first=int64s, second=int64s)
def test_a_permutation_takes_every_place_once(count, first, second):
    seed = tf.constant([first, second], tf.int64)
    places = permuted(tf.range(count, dtype=tf.int64), count, seed).numpy()
    np.testing.assert_array_equal(np.sort(places), np.arange(count))
    some = permuted(tf.constant([count - 1, 0], tf.int64), count, seed).numpy()
    np.testing.assert_array_equal(some, places[[-1, 0]])


@pytest.mark.parametrize("count", [4, 9])
def test_all_permutations_are_as_likely(count):
    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
    def of_seed(second):
        seed = tf.stack([tf.constant(7, tf.int64), second])
        return permuted(tf.range(count, dtype=tf.int64), count, seed)

    drawn = np.stack([of_seed(second).numpy() for second in range(2400)])
    pairs = drawn[:, 0] * count + drawn[:, -1]
    ways = np.bincount(pairs, minlength=count**2).reshape(count, count)
    seen = ways[~np.eye(count, dtype=bool)]
    assert stats.chisquare(seen).pvalue > SIGNIFICANCE
    if count == 4:
        _, seen = np.unique(drawn, axis=0, return_counts=True)
        assert len(seen) == 24
        assert stats.chisquare(seen).pvalue > SIGNIFICANCE
