"""The result of a convergence study, and its file format."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from limits.estimates import Estimate, Order
from limits.exceptions import StoreError

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["ConvergenceStudy", "ErrorKind"]

ErrorKind = Literal["strong", "uniform", "weak"]
_TEXTS = ("error_kind", "limit", "equation", "network", "path", "reference")
_NUMBERS = ("p", "seed", "width", "n_inputs")
_VARIABLES = {
    "depth",
    "error",
    "standard_error",
    "path_error",
    "order",
    "order_low",
    "order_high",
    "order_constant",
    "expected_order",
}


@dataclass(frozen=True, eq=False)
class ConvergenceStudy:
    """Errors of a network against its limit on a ladder of depths.

    Parameters
    ----------
    depths : tuple of int
        The ladder.
    errors : tuple of Estimate
        One per depth, in the units of the hidden state (of the functional, for weak errors).
    order : Order
        Fitted on all depths.
    path_errors : array
        Error of every path, shape ``(depth, path)``; signed differences for weak errors.
    closed_form : array or None
        Exact error at every depth, where the library has it.
    expected_order : float or None
        What the theorem says.
    error_kind, limit, equation, network, path, reference : str
        What was compared with what.
    p, seed, width, n_inputs : int
        Norm, seed, width and number of inputs.
    """

    depths: tuple[int, ...]
    errors: tuple[Estimate, ...]
    order: Order
    path_errors: NDArray[np.float64]
    closed_form: NDArray[np.float64] | None
    expected_order: float | None
    error_kind: ErrorKind
    limit: str
    equation: str
    network: str
    path: str
    reference: str
    p: int
    seed: int
    width: int
    n_inputs: int

    def to_dataset(self) -> "Dataset":
        """Return everything as a Dataset with named axes, ready for a netCDF file."""
        attrs: dict[str, str | int | float] = {name: getattr(self, name) for name in _TEXTS}
        attrs.update({name: getattr(self, name) for name in _NUMBERS})
        # netCDF has no integers beyond 64 bits, and a seed may be any integer.
        attrs["seed"] = str(self.seed)
        variables = {
            "error": ("depth", [each.value for each in self.errors]),
            "standard_error": ("depth", [each.standard_error for each in self.errors]),
            "path_error": (("depth", "path"), self.path_errors),
            "order": ((), self.order.value),
            "order_low": ((), self.order.low),
            "order_high": ((), self.order.high),
            "order_constant": ((), self.order.constant),
            "expected_order": (
                (), np.nan if self.expected_order is None else self.expected_order
            ),
        }  # fmt: skip
        if self.closed_form is not None:
            variables["closed_form"] = ("depth", self.closed_form)
        from xarray import Dataset

        return Dataset(variables, coords={"depth": list(self.depths)}, attrs=attrs)

    @classmethod
    def from_dataset(cls, dataset: "Dataset") -> "ConvergenceStudy":
        """Read back what `to_dataset` wrote.

        Raises
        ------
        StoreError
            If the dataset lacks something that a study has.
        """
        from xarray import Dataset

        if not isinstance(dataset, Dataset):
            raise StoreError(
                f"a study is read from an xarray.Dataset, found {type(dataset).__name__}. Pass "
                "what to_dataset returned."
            )
        absent = (_VARIABLES - set(dataset.variables)) | ({"depth", "path"} - set(dataset.dims))
        missing = sorted(absent | (set(_TEXTS + _NUMBERS) - set(dataset.attrs)), key=str)
        if missing:
            raise StoreError(
                f"this dataset is no convergence study: it lacks {', '.join(missing)}. Pass what "
                "to_dataset returned."
            )
        kinds = {str(name): str(each.dtype) for name, each in dataset.variables.items()}
        if not all(np.dtype(kind).kind in "iuf" for kind in kinds.values()):
            raise StoreError(
                f"the numbers of a study are real, found {kinds}. Pass what to_dataset returned."
            )
        depths = tuple(int(depth) for depth in dataset["depth"].values)
        n_paths = dataset.sizes["path"]
        expected = float(dataset["expected_order"])
        return cls(
            depths=depths,
            errors=tuple(
                Estimate(float(value), float(error), n_paths)
                for value, error in zip(dataset["error"], dataset["standard_error"], strict=True)
            ),
            order=Order(
                float(dataset["order"]),
                float(dataset["order_low"]),
                float(dataset["order_high"]),
                float(dataset["order_constant"]),
                depths,
            ),
            path_errors=dataset["path_error"].transpose("depth", "path").to_numpy(),
            closed_form=dataset["closed_form"].to_numpy() if "closed_form" in dataset else None,
            expected_order=None if np.isnan(expected) else expected,
            error_kind=dataset.attrs["error_kind"],
            limit=str(dataset.attrs["limit"]),
            equation=str(dataset.attrs["equation"]),
            network=str(dataset.attrs["network"]),
            path=str(dataset.attrs["path"]),
            reference=str(dataset.attrs["reference"]),
            p=_integer(dataset, "p"),
            seed=_integer(dataset, "seed"),
            width=_integer(dataset, "width"),
            n_inputs=_integer(dataset, "n_inputs"),
        )


def _integer(dataset: "Dataset", name: str) -> int:
    try:
        return int(dataset.attrs[name])
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"attribute {name} of this dataset is {dataset.attrs[name]!r}, not an integer. Pass "
            "what to_dataset returned."
        ) from error
