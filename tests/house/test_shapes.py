"""Annotations that name shapes are checked in the tests, in the first calls of every test."""

from dataclasses import dataclass

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from limits.networks.log_scale import rescaled
from tests.shapes import CALLS, checked, forget_calls


@checked
def product(a: Float[Tensor, "row inner"], b: Float[Tensor, "inner column"]) -> Tensor:
    return a.new_zeros(a.shape[0], b.shape[1])


@checked
@dataclass
class Pair:
    a: Float[Tensor, " n"]
    b: Float[Tensor, " n"]


def wrong_product() -> Tensor:
    return product(torch.zeros(2, 3), torch.zeros(4, 5))


def test_a_wrong_shape_is_noticed() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="inner"):
        wrong_product()
    with pytest.raises(jaxtyping.TypeCheckError):
        Pair(torch.zeros(2), torch.zeros(3))
    assert product(torch.zeros(2, 3), torch.zeros(3, 5)).shape == (2, 5)


def test_a_loop_is_checked_at_its_beginning_and_every_test_begins_anew() -> None:
    for _ in range(CALLS):
        product(torch.zeros(2, 3), torch.zeros(3, 5))
    assert wrong_product().shape == (2, 5)
    forget_calls()
    with pytest.raises(jaxtyping.TypeCheckError):
        wrong_product()


def test_what_names_no_shape_is_left_as_it_is() -> None:
    def plain(a: int) -> int:
        return a

    assert checked(plain) is plain


def test_the_library_is_checked() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        rescaled(torch.zeros(3))
