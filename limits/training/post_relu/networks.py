"""The networks analysed by Zhang et al.: relu after the addition, first and last layer frozen.

Draws are trained in step. The gradients are those of the adjoint recursion, and a layer is
updated as soon as its gradient is there, so that no gradient of the whole stack is ever held.
"""

import math

import torch
from torch import Tensor

from limits.checks import check_count, check_real, is_number
from limits.exceptions import LimitsError, ShapeError
from limits.modes import keeps_dtypes
from limits.paths import WeightPath
from limits.randomness import Stream
from limits.scalars import plain_numbers

__all__ = ["AnalysedEnsemble"]


@plain_numbers
class AnalysedEnsemble:
    """Draws of y = B h_L, h_l = relu(s h_{l-1} + tau W_l h_{l-1}), h_0 = relu(A x), in step.

    A has normal entries of variance 2 / width, B of variance 1 / outputs; both are frozen. The
    W_l begin as the order-one weights of a path (normal, variance 1 / width for a
    `limits.BrownianPath`) and are trained. With s = 0 and tau = sqrt(2) the network is
    feed-forward with the initialisation of He et al.

    Parameters
    ----------
    path : WeightPath
        The law of the weights across layers; its width is the networks' width m.
    depth : int
        Number of layers L.
    n_paths : int
        Number of independent draws.
    seed : int
        Of the weights, A and B.
    features, outputs : int
        Length of an input and of an output.
    tau : float
        The residual scale, positive.
    skip : float
        The s.
    dtype : torch.dtype
        float32 or float64.
    device : str
        Where products are computed.

    Raises
    ------
    LimitsError
        If a number is out of range.

    References
    ----------
    Zhang, Yu, Yi, Chen and Liu, "Stabilize deep ResNet with a sharp scaling factor tau",
    Machine Learning (2022), Section 2.

    Examples
    --------
    >>> import limits
    >>> nets = AnalysedEnsemble(
    ...     limits.BrownianPath(8), depth=16, n_paths=3, seed=0, features=64, outputs=10, tau=0.25
    ... )
    >>> inputs, targets = torch.ones(5, 64) / 8, torch.zeros(5, 10)
    >>> before = nets.outputs(inputs) - targets
    >>> nets.descend(before, rate=1e-3)
    >>> bool((nets.outputs(inputs).square().sum() < before.square().sum()))
    True
    """

    def __init__(
        self,
        path: WeightPath,
        *,
        depth: int,
        n_paths: int,
        seed: int,
        features: int,
        outputs: int,
        tau: float,
        skip: float = 1.0,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        check_count(features, "features")
        check_count(outputs, "outputs")
        if not (is_number(tau) and tau > 0 and is_number(skip)):
            raise LimitsError(
                f"tau must be positive and finite and skip finite, found tau={tau!r} and "
                f"skip={skip!r}. Use for example tau=depth**-0.5 and skip=1.0."
            )
        sample = path.sample(depth=depth, n_paths=n_paths, seed=seed, dtype=dtype, device=device)
        self.depth, self.width, self.tau, self.skip = depth, path.width, tau, skip
        # Rows are inputs, so W is held transposed. It is held by itself: in s I + tau W steps of
        # size rate tau^2 would be lost to rounding beside the identity.
        self._layers = sample.layer_weights.mT.clone(memory_format=torch.contiguous_format)
        self._embedding = _frozen(
            "embedding", (features, self.width), 2 / self.width, n_paths, seed
        ).to(self._layers)
        self._readout = _frozen(
            "readout", (self.width, outputs), 1 / outputs, n_paths, seed
        ).to(self._layers)  # fmt: skip
        self._states: list[Tensor] = []

    def __len__(self) -> int:
        return self._layers.shape[1]

    @property
    def weights(self) -> Tensor:
        """A copy of the W_l as they are now, shape ``(layer, path, width, width)``."""
        return self._layers.mT.clone()

    @property
    def embedding(self) -> Tensor:
        """The A, shape ``(path, width, features)``."""
        return self._embedding.mT

    @property
    def readout(self) -> Tensor:
        """The B, shape ``(path, outputs, width)``."""
        return self._readout.mT

    def keep(self, chosen: Tensor) -> None:
        """Go on with some of the draws only, given by their positions."""
        self._layers = self._layers.index_select(1, chosen)
        self._embedding = self._embedding.index_select(0, chosen)
        self._readout = self._readout.index_select(0, chosen)
        self._states = []

    @keeps_dtypes
    def outputs(self, inputs: Tensor) -> Tensor:
        """Return B h_L and remember the states for `descend`.

        Parameters
        ----------
        inputs : Tensor
            Shape ``(input, features)``, seen by all draws, or ``(path, input, features)``.

        Returns
        -------
        Tensor
            Shape ``(path, input, outputs)``.

        Raises
        ------
        ShapeError
            If inputs have another length. Flatten images with ``x.flatten(1)``.
        """
        features = self._embedding.shape[1]
        check_real(inputs, "the tensor inputs")
        if inputs.ndim not in (2, 3) or inputs.shape[-1] != features:
            raise ShapeError(
                f"inputs must have shape (input, {features}) or ({len(self)}, input, {features}), "
                f"found {tuple(inputs.shape)}. Flatten images with x.flatten(1)."
            )
        h = torch.matmul(inputs.to(self._layers), self._embedding).clamp_min_(0)
        self._states = [h]
        for layer in self._layers.unbind():
            h = self._residual(h, layer).clamp_min_(0)
            self._states.append(h)
        return torch.bmm(h, self._readout)

    @keeps_dtypes
    def descend(self, slope: Tensor, *, rate: float) -> None:
        """Take one step W_l <- W_l - rate dLoss/dW_l at the inputs of the last `outputs`.

        Parameters
        ----------
        slope : Tensor
            Derivative of the loss by the outputs, shape ``(path, input, outputs)``.
        rate : float
            Learning rate.

        Raises
        ------
        LimitsError
            If `outputs` was not called since the last step.
        ShapeError, DTypeError
            If `slope` is not shaped like what it returned.
        """
        if not self._states:
            raise LimitsError(
                "there are no states to take a step from: they are those of the last call of "
                "outputs, and a step uses them up. Call outputs(inputs) before every descend."
            )
        wanted = (len(self), self._states[-1].shape[1], self._readout.shape[2])
        check_real(slope, "slope")
        if slope.shape != wanted or slope.dtype != self._layers.dtype:
            raise ShapeError(
                f"slope must be {self._layers.dtype} of shape {wanted}, (path, input, outputs), "
                f"found {slope.dtype} of shape {tuple(slope.shape)}. Pass the derivative of the "
                "loss by what outputs returned."
            )
        states, self._states = self._states, []
        p = torch.bmm(slope, self._readout.mT)
        for layer in range(self.depth - 1, -1, -1):
            q = torch.ops.aten.threshold_backward(p, states.pop(), 0)
            weights = self._layers[layer]
            p = self._residual(q, weights.mT)
            weights.baddbmm_(states[-1].mT, q, alpha=-rate * self.tau)

    @keeps_dtypes
    def tangent_kernel(self, inputs: Tensor) -> Tensor:
        """Return the Gram matrix of the outputs' gradients by all W_l.

        K[(a, i), (b, j)] = tau^2 sum_l <h_{l-1}^a, h_{l-1}^b> <q_l^{a,i}, q_l^{b,j}> with
        q_l^{a,i} the derivative of output i at input a by what layer l's relu is applied to; no
        Jacobian is formed. Under gradient descent on |y - y*|^2 / 2 with a small rate, errors
        decay as exp(-rate K t).

        Parameters
        ----------
        inputs : Tensor
            Shape ``(input, features)`` or ``(path, input, features)``.

        Returns
        -------
        Tensor
            Shape ``(path, input * outputs, input * outputs)``, inputs first.

        References
        ----------
        Jacot, Gabriel and Hongler, "Neural tangent kernel", NeurIPS 2018.
        """
        n_outputs = self.outputs(inputs).shape[-1]
        states, self._states = self._states, []
        n_inputs = states[-1].shape[1]
        rows = n_inputs * n_outputs
        p = self.readout.repeat(1, n_inputs, 1)
        kernel = p.new_zeros(len(self), rows, rows)
        for layer in range(self.depth - 1, -1, -1):
            mask = (states.pop() > 0).to(p.dtype).repeat_interleave(n_outputs, dim=1)
            q = p * mask
            p = self._residual(q, self._layers[layer].mT)
            inner = torch.bmm(states[-1], states[-1].mT)
            spread = inner.repeat_interleave(n_outputs, 1).repeat_interleave(n_outputs, 2)
            kernel.addcmul_(spread, torch.bmm(q, q.mT), value=self.tau**2)
        return kernel

    def _residual(self, rows: Tensor, weights: Tensor) -> Tensor:
        return torch.baddbmm(rows, rows, weights, beta=self.skip, alpha=self.tau)


def _frozen(name: str, shape: tuple[int, int], variance: float, n_paths: int, seed: int) -> Tensor:
    stream = Stream(seed, f"analysed/{name}/{shape[0]}x{shape[1]}")
    normals = stream.normals(0, n_paths, math.prod(shape))
    return normals.reshape(n_paths, *shape) * math.sqrt(variance)
