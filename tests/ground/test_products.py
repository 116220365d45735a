"""Products of matrices with several vectors: every sum in order, whatever stands beside it."""

import numpy as np
import pytest

from limits.kernels.dense.products import multiply, multiply_transposed


def _case(inputs, width, state, stored):
    vectors = np.sin(np.arange(1, inputs * width + 1) * 1.7).astype(state)
    matrix = np.cos(np.arange(1, width * width + 1) * 2.3).astype(stored)
    return vectors, matrix


def _in_order(vectors, matrix):
    """One addition after another, as a sum that begins with zero."""
    width = matrix.shape[0]
    out = np.zeros_like(vectors)
    for j in range(width):
        out = out + vectors[:, j : j + 1] * matrix[j].astype(vectors.dtype)
    return out


@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 3, 8, 11, 33, 40])
@pytest.mark.parametrize("inputs", [1, 3, 4, 10])
def test_outputs_are_sums_in_order_in_every_bit(inputs, width, stored):
    vectors, matrix = _case(inputs, width, np.float64, stored)
    out = np.full(inputs * width, np.nan)
    multiply(out, vectors, matrix, width)
    expected = _in_order(vectors.reshape(inputs, width), matrix.reshape(width, width))
    assert out.tobytes() == expected.tobytes()


def test_single_precision_rounds_every_product_and_every_sum():
    vectors, matrix = _case(5, 11, np.float32, np.float32)
    out = np.empty(55, np.float32)
    multiply(out, vectors, matrix, 11)
    expected = _in_order(vectors.reshape(5, 11), matrix.reshape(11, 11))
    assert out.tobytes() == expected.tobytes()


def test_sums_of_negative_zeros_are_positive():
    out = np.full(3, np.nan)
    multiply(out, np.ones(3), np.full(9, -0.0), 3)
    assert not np.signbit(out).any()


@pytest.mark.parametrize("width", [1, 7, 16, 41])
def test_transposed_products_are_those_of_the_transposed_matrix(width):
    vectors, matrix = _case(1, width, np.float64, np.float32)
    out = np.empty(width)
    multiply_transposed(out, vectors, matrix)
    expected = matrix.reshape(width, width).astype(np.float64) @ vectors
    assert np.allclose(out, expected, rtol=1e-13, atol=1e-13)
