"""What a residual network becomes when its depth goes to infinity."""

import torch

from limits.checks import check_choice
from limits.equations.limit import DepthLimit
from limits.equations.theorems import Form, Structure, away_from_critical, find
from limits.exceptions import LimitsError, NoLimitError
from limits.networks.blocks import Block, reflects
from limits.networks.resnet import ResNet
from limits.paths import WeightPath
from limits.scaling import regime

__all__ = ["depth_limit"]

_CORRECTED = (
    "the correction is one for Young limits (H > 1/2); on {} weights it changes the limit. Leave "
    "out corrected=True."
)


def depth_limit(net: ResNet, path: WeightPath, *, form: Form = "path") -> DepthLimit:
    """Return what `net` becomes on weights of law `path` when depth goes to infinity.

    At the critical exponent i.i.d. weights give an SDE, smooth weights an ODE, fractional weights
    with H > 1/2 a Young equation (of the averaged field where there are inner weights), with
    H < 1/2 a drift ODE (res-1) or a law (res-3). Above it the network becomes the identity,
    below it explodes, or contracts for res-1 and H < 1/2. The limits of post-relu are reflected
    at the boundary of the orthant, and begin at relu(h_0).

    Parameters
    ----------
    net : ResNet
        The network; its `beta` decides the regime.
    path : WeightPath
        The law of the weights.
    form : {"path", "law"}
        Driven by the network's weights, or the isotropic equation in law. Where only laws
        converge (weights that are not Gaussian, res-3 with i.i.d. weights) the answer is the law
        form, whatever was asked.

    Returns
    -------
    DepthLimit
        With ``.kind``, ``.coupling``, ``.form``, ``.order`` and ``.equation``.

    Raises
    ------
    LimitsError
        If arguments are of the wrong type, or the inputs' exponents lie in different regimes.
    NoLimitError
        If no theorem applies: to post-relu on fractional weights, to trained weights that are
        not smooth.

    References
    ----------
    Marion et al., "Scaling ResNets in the large-depth regime", JMLR 26 (2025), Theorems 4, 9.

    Examples
    --------
    >>> import limits
    >>> limit = depth_limit(limits.ResNet("tanh"), limits.BrownianPath(8))
    >>> limit.kind, limit.coupling, limit.order
    ('sde', 'strong', 0.5)
    """
    if not isinstance(net, ResNet) or not isinstance(path, WeightPath):
        raise LimitsError(
            f"depth_limit needs a ResNet and a WeightPath, found {type(net).__name__} and "
            f'{type(path).__name__}. Use depth_limit(ResNet("tanh"), BrownianPath(40)).'
        )
    check_choice(form, "form", Form)
    betas = torch.as_tensor(net.exponent(path), dtype=torch.float64, device="cpu").reshape(-1)
    kinds = {regime(float(beta), path.index) for beta in betas}
    if len(kinds) > 1:
        raise LimitsError(
            f"the inputs' exponents lie in different regimes ({', '.join(sorted(kinds))}; critical "
            f"exponent {path.critical_beta:g}). Ask for the limit of one regime at a time."
        )
    kind = regime(float(betas[0]), path.index)
    structure = _structure(net.vector_field)
    if structure == "reflected" and path.family in ("persistent", "antipersistent"):
        raise NoLimitError(
            f"no limit of post-relu on {path.label} weights is known: they push a unit off 0 and "
            f"back with correlation (H = {path.index:g}), which the theorems for independent and "
            "for smooth weights leave out. Use BrownianPath, IIDPath or SmoothPath; the network "
            "itself runs on any weights."
        )
    if kind == "explosion" and path.family == "antipersistent" and structure == "outer":
        if net.corrected:
            raise NoLimitError(_CORRECTED.format(path.label))
        return DepthLimit(net, path, away_from_critical("contraction"))
    if kind in ("identity", "explosion"):
        return DepthLimit(net, path, away_from_critical(kind, structure))
    row = find(path.family, structure, form)
    if row is None:
        raise NoLimitError(
            f"weights of one trained network with index {path.index:g} have no law, so no theorem "
            "applies. Use index=1.0 if they vary smoothly with the layer."
        )
    if net.corrected and row.kind != "young":
        raise NoLimitError(_CORRECTED.format(path.label))
    return DepthLimit(net, path, row)


def _structure(block: Block) -> Structure:
    if reflects(block):
        return "reflected"
    return "inner" if block.has_inner else "outer"
