"""Residual networks of two-layer blocks in the mean-field parameterisation."""

import hashlib
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from limits._typing import Keep, Nonfinite
from limits.activations import Activation
from limits.checks import check_choice, check_count, check_dtype, checked_device
from limits.exceptions import ShapeError
from limits.mean_field.descent import (
    Descender,
    MeanFieldDescent,
    Response,
    check_losses,
    checked_steps,
)
from limits.mean_field.inputs import as_batch, check_embeddings, check_pairs
from limits.mean_field.scaling import Constants, MeanFieldScaling
from limits.mean_field.weights import Embeddings, MeanFieldWeights, draw_embeddings, draw_neurons
from limits.modes import keeps_dtypes
from limits.parallel import map_chunks
from limits.randomness import Stream
from limits.scalars import plain_numbers
from limits.trajectory import Trajectory, norms_of

__all__ = ["MeanFieldResNet"]


@plain_numbers
class MeanFieldResNet:
    """h^l = h^(l-1) + alpha/(L M) sum_j v_j s(u_j.h^(l-1) / D): depth L, hidden width M.

    u has entries N(0, sigma_u^2 D), v has N(0, sigma_v^2 D): a block has the residual scale
    alpha sqrt(D) / (L M). Gradient descent on |y - target|^2 / (2 N D), N inputs, or / (2 N) with
    embeddings, moves u by -eta_u (eta/alpha) h s'(p) (v.b) and v by -eta_v D (eta/alpha) b s(p),
    p = u.h/D and b the gradient at the layer's output: raw learning rates eta_u, and eta_v, times
    eta L M D / alpha^2. As L and M grow the whole training converges to that of `limits.MeanODE`.

    alpha has two conventions. ``"residual"`` is the above. ``"initialisation"`` writes alpha
    into v: residual factor 1/(L M), v with entries N(0, alpha^2 sigma_v^2 D), no alpha in the
    rates, and eta_u = min(1, 1/alpha^2) by default. It is the first with v in other units and
    eta_u alpha^2 for eta_u.

    Parameters
    ----------
    embedding_dim : int
        D, the size of the hidden state.
    hidden_width : int
        M, neurons of a block.
    depth : int
        L, number of blocks.
    activation : str or callable
        The s, smooth.
    alpha : float
        Richness of training: large values are lazy.
    convention : {"residual", "initialisation"}
        What alpha multiplies.
    sigma_u, sigma_v : float
        Spread of the initial weights in units of sqrt(D).
    eta_u, eta_v : float, optional
        Learning rates of u and v in units of D. By default 1, but for eta_u under the
        convention ``"initialisation"``.
    features, outputs : int, optional
        Lengths of inputs and outputs with frozen embeddings h^0 = W_E x and y = W_U^T h^L / D.
        Without them h^0 is the input and h^L the output.
    embeddings : {"gaussian", "orthogonal"}
        Independent N(0, 1) entries, or columns made orthogonal and of norm sqrt(D).

    Raises
    ------
    LimitsError
        If a number is out of range or a name unknown.

    References
    ----------
    Chizat, "The hidden width of deep ResNets", arXiv:2509.10167 (2025), Sections 2 and 3.
    Chizat, arXiv:2603.18168 (2026), for frozen embeddings.

    Examples
    --------
    >>> net = MeanFieldResNet(10, 64, depth=32)
    >>> weights = net.sample(n_paths=5, seed=0)
    >>> x = torch.eye(10, dtype=torch.float64)
    >>> out = net.descend(x, x.roll(1, 0), weights, steps=10, keep=(0, 10))
    >>> out.outputs.shape, out.losses.shape
    (torch.Size([2, 5, 10, 10]), torch.Size([11, 5]))
    """

    def __init__(
        self,
        embedding_dim: int,
        hidden_width: int,
        *,
        depth: int,
        features: int | None = None,
        outputs: int | None = None,
        embeddings: Embeddings = "gaussian",
        **constants: Unpack[Constants],
    ) -> None:
        check_count(hidden_width, "hidden_width")
        check_count(depth, "depth")
        check_choice(embeddings, "embeddings", Embeddings)
        self.scaling = MeanFieldScaling.of(embedding_dim, **constants)
        check_embeddings(embedding_dim, features, outputs, embeddings)
        self.embedding_dim, self.hidden_width, self.depth = embedding_dim, hidden_width, depth
        self.features, self.outputs = features, outputs
        self.embeddings: Embeddings = embeddings

    @property
    def activation(self) -> Activation:
        """The s."""
        return self.scaling.activation

    @property
    def residual_scale(self) -> float:
        """Size of a neuron's contribution to a layer, alpha sqrt(D) / (L M)."""
        return self.scaling.alpha * self.embedding_dim**0.5 / (self.depth * self.hidden_width)

    @property
    def _factor(self) -> float:
        return self.scaling.residual_alpha / (self.depth * self.hidden_width)

    def sample(
        self,
        *,
        n_paths: int,
        seed: int,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> MeanFieldWeights:
        """Draw initial weights; at one seed those of a smaller L or `n_paths` are a larger's."""
        check_count(n_paths, "n_paths")
        check_dtype(dtype)
        place = checked_device(device)
        width = self.embedding_dim
        shape = (self.depth, n_paths, width, self.hidden_width)
        u, v = draw_neurons(
            Stream(seed, f"mean-field/D={width}/neurons"), shape,
            spreads=self.scaling.spreads, dtype=dtype, device=place,
        )  # fmt: skip
        embedding = readout = None
        if self.features is not None and self.outputs is not None:
            embedding, readout = draw_embeddings(
                Stream(seed, f"mean-field/D={width}/embeddings"),
                (n_paths, self.features, width, self.outputs), self.embeddings,
                dtype=dtype, device=place,
            )  # fmt: skip
        frozen = (self.features, self.outputs, self.embeddings)
        key = f"mean-field:{seed}:{shape}:{self.scaling.spreads}:{frozen}"
        tag = hashlib.shake_128(key.encode()).hexdigest(4)
        return MeanFieldWeights(u, v, embedding, readout, tag)

    @keeps_dtypes
    def __call__(
        self, x: Tensor, weights: MeanFieldWeights, *, keep: Keep = "terminal"
    ) -> Trajectory:
        """Push inputs through the blocks.

        Parameters
        ----------
        x : Tensor
            Inputs, ``(input, width)`` or ``(path, input, width)``; of length `features` where
            there are embeddings.
        weights : MeanFieldWeights
            A draw, or the result of a descent.
        keep : {"terminal", "all"}
            Whether states of all layers are kept.

        Returns
        -------
        Trajectory
            Hidden states; `read` turns the last one into outputs.
        """
        check_choice(keep, "keep", Keep)
        self._check_weights(weights)
        h = self._embed(x, weights)
        response, values = Response(self.activation), [h]
        for u, v in zip(weights.u, weights.v, strict=True):
            field = response.value(response.remember(h, u))
            h = torch.baddbmm(h, field, v.mT, alpha=self._factor)
            if keep == "all":
                values.append(h)
        states = torch.stack(values if keep == "all" else [values[0], h])
        return Trajectory.of(weights, states)

    @keeps_dtypes
    def read(self, h: Tensor, weights: MeanFieldWeights) -> Tensor:
        """Return the outputs W_U^T h / D of states ``(path, input, width)``, or the states."""
        return h if weights.readout is None else torch.bmm(h, weights.readout) / h.shape[-1]

    @keeps_dtypes
    @torch.no_grad()
    def backward(self, out: Trajectory, weights: MeanFieldWeights, cotangent: Tensor) -> Trajectory:
        """Return b^l = dLoss/dh^l of all layers, given dLoss/dh^L and all states.

        Parameters
        ----------
        out : Trajectory
            What the network returned with ``keep="all"`` on these weights.
        weights : MeanFieldWeights
            The weights.
        cotangent : Tensor
            Shaped like ``out.terminal``.
        """
        self._check_weights(weights)
        if not out.keeps_all or cotangent.shape != out.terminal.shape:
            raise ShapeError(
                f"backward needs all {weights.depth + 1} states and a cotangent of shape "
                f"{tuple(out.terminal.shape)}, found {len(out.times)} states and shape "
                f'{tuple(cotangent.shape)}. Use net(x, weights, keep="all").'
            )
        cotangent = as_batch(cotangent, weights, weights.width, "cotangent")
        response, b, values = Response(self.activation), cotangent, [cotangent]
        factor = self._factor / weights.width
        for layer in range(weights.depth - 1, -1, -1):
            kept = response.remember(out.values[layer], weights.u[layer])
            q = response.pull(torch.bmm(b, weights.v[layer]), kept)
            b = torch.baddbmm(b, q, weights.u[layer].mT, alpha=factor)
            values.append(b)
        states = torch.stack(values[::-1])
        return Trajectory(out.times, states, weights.tag, norms_of(states), out.stats)

    @keeps_dtypes
    @torch.no_grad()
    def descend(
        self,
        x: Tensor,
        targets: Tensor,
        weights: MeanFieldWeights,
        *,
        steps: int,
        learning_rate: float = 1.0,
        keep: Sequence[int] | None = None,
        track: Sequence[int] = (),
        in_place: bool = False,
        nonfinite: Nonfinite = "raise",
    ) -> MeanFieldDescent:
        """Take steps of full-batch gradient descent in the mean-field learning rates.

        Parameters
        ----------
        x, targets : Tensor
            Inputs and what the outputs should be, ``(input, ...)`` or ``(path, input, ...)``.
        weights : MeanFieldWeights
            Where to start.
        steps : int
            Number k of steps.
        learning_rate : float
            eta; the raw rate of u is eta eta_u L M D / alpha^2, that of v has eta_v for eta_u;
            no alpha^2 under the convention ``"initialisation"``.
        keep : sequence of int, optional
            Steps whose outputs are returned; the last one when left out.
        track : sequence of int
            Layers whose first neuron is recorded at every step.
        in_place : bool
            Whether `weights` may be overwritten, which saves a copy.
        nonfinite : {"raise", "keep"}
            What to do when a loss overflows.

        Raises
        ------
        NonFiniteStateError
            If a loss overflows. Lower the learning rate.
        """
        wanted = checked_steps(steps, keep)
        check_choice(nonfinite, "nonfinite", Nonfinite)
        self._check_weights(weights)
        goal = as_batch(targets, weights, self.outputs or weights.width, "targets")
        h0 = self._embed(x, weights)
        check_pairs(h0, goal)
        start = weights if in_place else weights.clone()
        rule = self.scaling.rule(learning_rate)
        descender = Descender(start, h0, goal, activation=self.activation, rule=rule)
        (out,) = map_chunks(lambda *_: descender.run(steps, keep=wanted, track=track), [(0, 1)])
        if nonfinite == "raise":
            check_losses(out.losses, 'Lower learning_rate, or pass nonfinite="keep" to record it.')
        return out

    def _embed(self, x: Tensor, weights: MeanFieldWeights) -> Tensor:
        states = as_batch(x, weights, self.features or weights.width, "x")
        return states if weights.embedding is None else torch.bmm(states, weights.embedding)

    def _check_weights(self, weights: MeanFieldWeights) -> None:
        found = (weights.depth, weights.width, weights.hidden_width)
        if found != (self.depth, self.embedding_dim, self.hidden_width):
            raise ShapeError(
                f"the network has depth {self.depth}, embedding_dim {self.embedding_dim} and "
                f"hidden_width {self.hidden_width}, the weights {found}. Use net.sample."
            )
