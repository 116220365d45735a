"""Gaussian matrices that are only asked questions: the algebra, without sampling error."""

import math

import pytest
import torch
from torch import Tensor

import limits
from limits.paths.lazy.gram_schmidt import norms, split
from limits.paths.lazy.matrix import LazyMatrix
from limits.randomness import Stream
from tests.helpers import normal_inputs, relative_difference, unit_normals

WIDTH = 5
F32, F64 = torch.float32, torch.float64


def numbers(n_paths: int, width: int, dtype: torch.dtype = F64):
    """Return normals that depend on the number of the question alone."""
    return lambda number: normal_inputs(n_paths, 1, width, seed=number, dtype=dtype)


def asked(matrix: LazyMatrix, question: tuple[str, Tensor]) -> Tensor:
    side, vector = question
    return matrix.mv(vector) if side == "right" else matrix.rmv(vector)


def pairing(first: tuple[str, Tensor], other: tuple[str, Tensor], width: int) -> Tensor:
    """Return E a b^T of the answers a, b of a matrix with entries of unit variance."""
    (side, x), (other_side, y) = first, other
    if side == other_side:
        return (x @ y) * torch.eye(width, dtype=F64)
    # E (W x)_i (W^T p)_j = p_i x_j, and E (W^T p)_i (W x)_j = x_i p_j.
    return torch.outer(y, x)


QUESTIONS = {
    "independent": lambda z: [("right", z[0]), ("right", z[1]), ("left", z[2]), ("left", z[3])],
    "alternating": lambda z: [("left", z[0]), ("right", z[1]), ("left", z[2]), ("right", z[3])],
    "repeated": lambda z: [("right", z[0]), ("left", z[1]), ("right", -2 * z[0]), ("left", z[1])],
    "dependent": lambda z: [("right", z[0]), ("right", z[1]), ("right", z[0] - 3 * z[1])],
    "nearly dependent": lambda z: [
        ("right", z[0]), ("left", z[1]), ("right", z[0] + 1e-9 * z[2]), ("right", z[3]),
        ("right", z[0] + 1e-9 * z[2] + 1e-12 * z[3]), ("left", z[1] + 1e-8 * z[0]),
    ],
    "all there is": lambda z: [("right", each) for each in z] + [("left", z[0]), ("left", z[1])],
}  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_answers_have_the_covariance_of_a_gaussian_matrix(name):
    # Answers are linear in the fresh normals: path p gets the p-th unit vector for its normals.
    questions = QUESTIONS[name](normal_inputs(7, WIDTH))
    with unit_normals(Stream):
        sample = limits.BrownianPath(WIDTH).sample(
            depth=1, n_paths=16 * len(questions), seed=0, lazy=True
        )
        (layer,) = sample.layers()
        answers = []
        for side, vector in questions:
            batch = vector.expand(sample.n_paths, 1, WIDTH)
            product = layer.increment.mv(batch) if side == "right" else layer.increment.rmv(batch)
            answers.append(product[:, 0])
    for a, first in zip(answers, questions, strict=True):
        for b, other in zip(answers, questions, strict=True):
            found = (a.mT @ b) * WIDTH
            scale = float(first[1].norm() * other[1].norm())
            expected = pairing(first, other, WIDTH)
            assert float((found - expected).abs().max()) < 1e-11 * scale


def test_every_question_sees_a_matrix_that_explains_all_answers():
    # Asked about the whole basis at the end, the matrix is known: it must reproduce the answers.
    matrix = LazyMatrix(numbers(3, WIDTH))
    z = normal_inputs(4, 3, 1, WIDTH)
    questions = [("right", z[0]), ("left", z[1]), ("right", z[2]), ("left", z[3])]
    answers = [asked(matrix, question) for question in questions]
    basis = torch.eye(WIDTH, dtype=F64).expand(3, WIDTH, WIDTH)
    dense = matrix.mv(basis).mT
    for (side, vector), answer in zip(questions, answers, strict=True):
        weights = dense if side == "right" else dense.mT
        assert relative_difference(torch.einsum("pij,pnj->pni", weights, vector), answer) < 1e-12
    assert relative_difference(matrix.rmv(basis), dense) < 1e-12


def near(vectors: list[Tensor], generator: torch.Generator, fresh: Tensor, n_paths: int) -> Tensor:
    """Return a vector that on some paths is new, on others nearly or exactly a combination."""
    known = torch.cat(vectors, dim=1)
    weights = torch.randn(n_paths, 1, known.shape[1], generator=generator, dtype=F64)
    powers = torch.randint(0, 18, (n_paths, 1, 1), generator=generator).to(F64)
    share = torch.where(powers == 17, 0.0, 10**-powers)
    return torch.bmm(weights, known) + share * fresh


@pytest.mark.parametrize("width", [3, 8, 40])
def test_random_sequences_of_nearly_dependent_questions_keep_the_identities(width):
    # 1,008 sequences of twelve questions in all, one a path, with every rank at once.
    n_paths, worst = 336, 0.0
    generator = torch.Generator().manual_seed(width)
    matrix = LazyMatrix(numbers(n_paths, width))
    sides: dict[str, list[Tensor]] = {"right": [], "left": []}
    answers: dict[str, list[Tensor]] = {"right": [], "left": []}
    for number in range(12):
        side = ("right", "left")[int(torch.randint(0, 2, (1,), generator=generator))]
        fresh = torch.randn(n_paths, 1, width, generator=generator, dtype=F64)
        old = sides[side]
        vector = near(old, generator, fresh, n_paths) if old and number > 1 else fresh
        sides[side].append(vector)
        answers[side].append(asked(matrix, (side, vector)))
    x, y = (torch.cat(sides[side], dim=1) for side in ("right", "left"))
    wx, wy = (torch.cat(answers[side], dim=1) for side in ("right", "left"))
    sizes = norms(y) * norms(x).mT
    # <y, W x> = <W^T y, x>
    gap = (torch.bmm(y, wx.mT) - torch.bmm(wy, x.mT)).abs() / sizes
    worst = max(worst, float(gap.max()))
    # Linearity: W (a x + b x') = a W x + b W x', for a sum that is asked last.
    for vectors, products, side in ((x, wx, "right"), (y, wy, "left")):
        weights = torch.randn(n_paths, 1, vectors.shape[1], generator=generator, dtype=F64)
        total = asked(matrix, (side, torch.bmm(weights, vectors)))
        expected = torch.bmm(weights, products)
        scale = torch.bmm(weights.abs(), norms(vectors))
        worst = max(worst, float(((total - expected).abs() / scale).max()))
    assert math.isfinite(worst)
    assert worst < 1e-11


@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-13), (F32, 1e-6)])
def test_a_repeated_question_gets_the_same_answer(dtype, tolerance):
    matrix = LazyMatrix(numbers(20, 40, dtype))
    x, p = (normal_inputs(20, 3, 40, seed=seed, dtype=dtype) for seed in (1, 2))
    first, other = matrix.mv(x), matrix.rmv(p)
    assert relative_difference(matrix.mv(x), first) < 10 * tolerance
    assert relative_difference(matrix.rmv(2 * p), 2 * other) < 10 * tolerance


def test_several_vectors_at_once_are_as_good_as_one_after_the_other():
    together, apart = (LazyMatrix(numbers(4, 6)) for _ in range(2))
    x = normal_inputs(4, 3, 6)
    at_once = together.mv(x)
    one_by_one = torch.cat([apart.mv(each) for each in x.split(1, dim=1)], dim=1)
    assert torch.equal(at_once, one_by_one)


@pytest.mark.parametrize("dtype", [F64, F32])
def test_zero_tiny_and_huge_questions_are_answered_without_nan(dtype):
    matrix = LazyMatrix(numbers(8, 4, dtype))
    x = normal_inputs(8, 1, 4, dtype=dtype)
    zero = torch.zeros_like(x)
    assert torch.equal(matrix.mv(zero), zero)
    answer = matrix.mv(x)
    for power in (-60, 60):
        scaled = matrix.mv(x * 2.0**power)
        torch.testing.assert_close(scaled * 2.0**-power, answer, rtol=1e-5, atol=1e-6)
    assert torch.equal(matrix.rmv(zero), zero)
    assert bool(torch.isfinite(matrix.rmv(x)).all())


def test_what_is_not_finite_spoils_its_own_answer_only():
    matrix = LazyMatrix(numbers(4, 3))
    x, other = normal_inputs(4, 1, 3), normal_inputs(4, 1, 3, seed=1)
    clean = LazyMatrix(numbers(4, 3))
    broken = x.clone()
    broken[1, 0, 2] = math.inf
    assert not bool(torch.isfinite(matrix.mv(broken)[1]).all())
    answers = matrix.mv(other)
    assert bool(torch.isfinite(answers).all())
    clean.mv(x)
    assert torch.equal(answers[[0, 2, 3]], clean.mv(other)[[0, 2, 3]])


def test_directions_stay_orthogonal_whatever_is_left_of_a_vector():
    known = torch.linalg.qr(normal_inputs(64, 40, 6)).Q.mT
    rows = known.transpose(0, 1).unsqueeze(2).contiguous()
    inside = torch.bmm(normal_inputs(64, 1, 6, seed=1), known)
    shares = 10.0 ** -torch.arange(64, dtype=F64).remainder(16).reshape(-1, 1, 1)
    vector = inside + shares * normal_inputs(64, 1, 40, seed=2)
    parts, direction, rest = split(vector, norms(vector), rows.unbind(), rows)
    assert direction is not None
    assert float(torch.bmm(known, direction.mT).abs().max()) < 1e-14
    rebuilt = torch.bmm(torch.cat(list(parts), dim=1).mT, known) + rest * direction
    assert float((rebuilt - vector).norm(dim=-1).max()) < 1e-11
    assert set(direction.norm(dim=-1).round(decimals=12).flatten().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("factor", [1e-30, 1e-16, 1e-6, 1.0, 1e6, 1e16, 1e30])
def test_norms_in_single_precision_are_exact_and_do_not_depend_on_the_company(factor):
    vectors = torch.randn(5, 1, 40, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([1e-32, 1e-10, 1.0, 1e10, 1e32])[:, None, None]
    company = torch.cat([vectors * factor, vectors * sizes, torch.zeros(1, 1, 40)])
    found, exact = norms(company), company.double().norm(dim=-1, keepdim=True)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)
    for row, alone in zip(found, company, strict=True):
        assert torch.equal(norms(alone[None])[0], row)
