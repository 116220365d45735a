"""Bugs as a careful programmer makes them, and the tests that must notice each one.

The text of a bug stands in one place of the library; which file that is may change.
"""

from dataclasses import dataclass

__all__ = ["BUGS", "Bug"]


@dataclass(frozen=True)
class Bug:
    """One line of the library, what it is made of, and who has to notice.

    Parameters
    ----------
    name : str
        What is wrong.
    right, wrong : str
        The text as it is, which occurs in the library exactly once, and as it would be.
    tests : str
        Arguments of pytest, chosen to take seconds.
    """

    name: str
    right: str
    wrong: str
    tests: str


NUMBERS = (
    Bug(
        "seeds and names run into one another",
        'f"limits:{seed}:{name}"',
        'f"limits:{seed}{name}"',
        "tests/ground/test_randomness.py -k 'stream_has_not_changed or independent'",
    ),
    Bug(
        "inner weights are the outer ones",
        '{self.label}/width={self.width}{at}/{role}"',
        '{self.label}/width={self.width}{at}/outer"',
        "tests/paths/test_reading.py -k inner_weights_are_an_independent_path",
    ),
    Bug(
        "uniform weights of the wrong variance",
        "_HALF_WIDTH = math.sqrt(3)",
        "_HALF_WIDTH = 1.0",
        "tests/paths/test_independent.py tests/ground/test_randomness.py -k 'variance or changed'",
    ),
    Bug(
        "the last frequency of the noise keeps half its variance",
        "real[0], real[depth] = amplitudes[0], amplitudes[depth]",
        "real[0] = amplitudes[0]",
        "tests/paths/test_fractional.py -k covariance",
    ),
    Bug(
        "smooth weights are read in the middle of a layer",
        "self.at(nodes / self.source.depth)",
        "self.at((nodes + 0.5) / self.source.depth)",
        "tests/paths/test_smooth.py -k left_ends",
    ),
    Bug(
        "weights at a time are transposed",
        "torch.cat(chunks).transpose(0, 1).mT.to(sample.device, sample.dtype)",
        "torch.cat(chunks).transpose(0, 1).to(sample.device, sample.dtype)",
        "tests/paths/test_smooth.py -k 'left_ends or weights_at'",
    ),
    Bug(
        "inner weights of a shallow reading are not of order one",
        "parts[1].scaled(depth**reading.index)",
        "parts[1].scaled(reading.source.depth**reading.index)",
        "tests/paths/test_reading.py -k 'order_one or coarse'",
    ),
    Bug(
        "a lazy matrix forgets what its transpose was told",
        "answer = _conditioned(self._normals(number), direction, other)",
        "answer = self._normals(number)",
        "tests/paths/test_lazy_matrices.py",
    ),
    Bug(
        "a compiled lazy matrix forgets what its transpose was told",
        "    _condition(other, start, stride, count, work, width)",
        "    _condition(other, start, stride, 0, work, width)",
        "tests/paths/test_lazy_passes.py -k 'res-3 and extend'",
    ),
    Bug(
        "gradients multiply by the increment, not by its transpose",
        "products = torch.bmm(rows, matrices.mT if transposed else matrices)",
        "products = torch.bmm(rows, matrices)",
        "tests/networks/test_gradients.py -k transposed_layer",
    ),
)

NETWORKS = (
    Bug(
        "gradients use the state after the layer",
        "stepper.block.pulled(states[layer.index], layer",
        "stepper.block.pulled(states[layer.index + 1], layer",
        "tests/networks/test_gradients.py -k transposed_layer",
    ),
    Bug(
        "log norms count powers of two as powers of e",
        "norms_of(h) + exponents.to(h.dtype) * math.log(2)",
        "norms_of(h) + exponents.to(h.dtype)",
        "tests/networks/test_log_norm.py",
    ),
    Bug(
        "the correction lacks 1 / width",
        "correction = scale * scale / (2 * sample.width) if self.corrected else None",
        "correction = scale**2 / 2 if self.corrected else None",
        "tests/house/test_injected_bugs_in_laws.py -k check_passes",
    ),
    Bug(
        "the derivative of the averaged block takes the mean of the cotangent",
        "unit * slope * p.sum(dim=-1, keepdim=True)",
        "unit * slope * p.mean(dim=-1, keepdim=True)",
        "tests/networks/test_blocks_inner.py -k derivatives_of_the_averaged",
    ),
    Bug(
        "embedded inputs shrink with their features",
        "h0 = (inputs.to(dtype) @ matrix.to(dtype)) / width**0.5",
        "h0 = (inputs.to(dtype) @ matrix.to(dtype)) / features**0.5",
        "tests/networks/test_forward.py -k embedding",
    ),
)

LIMITS = (
    Bug(
        "the critical exponent is the index, below one half too",
        "return max(index, 0.5)",
        "return index",
        "tests/vocabulary/test_scaling.py",
    ),
    Bug(
        "the border between regimes is wide",
        "if math.isclose(beta, critical, abs_tol=1e-9):",
        "if math.isclose(beta, critical, abs_tol=1e-3):",
        "tests/equations/test_depth_limit.py -k border",
    ),
    Bug(
        "the drift of rough weights points outwards",
        "return pulled * (-(self.net.coefficient**2) / (2 * self.width))",
        "return pulled * (self.net.coefficient**2 / (2 * self.width))",
        "tests/solvers/test_rough.py -k drift_of_a_linear_network",
    ),
    Bug(
        "the drift of the limit in law forgets the coefficient",
        "kept = 1 - self.decay * self.coefficient**2 * duration",
        "kept = 1 - self.decay * duration",
        "tests/equations/test_law_forms.py -k square_of_the_coefficient",
    ),
    Bug(
        "a pivot that rounding left counts as one",
        "usable = pivot > floor[..., j]",
        "usable = pivot > 0",
        "tests/equations/test_isotropic.py -k rounding",
    ),
    Bug(
        "two inputs with a bias are as if they had none",
        "inner = (block.activation.value(y + block.bias) * weights).sum(dim=-1)",
        "inner = (block.activation.value(y) * weights).sum(dim=-1)",
        "tests/equations/test_law_forms.py -k kernel",
    ),
    Bug(
        "noise read at a shallower depth has the scale of that depth",
        "1 / math.sqrt(self.drawn_depth)",
        "1 / math.sqrt(self.depth)",
        "tests/equations/test_depth_limit.py -k noise",
    ),
    Bug(
        "the Ito term is linear in the coefficient",
        'ito = c * c / 2 if limit.kind == "sde" else 0.0',
        'ito = c / 2 if limit.kind == "sde" else 0.0',
        "tests/solvers/test_solvers.py -k closed",
    ),
    Bug(
        "paths swap their noise where there are several inputs",
        "increment.to(y).repeat_interleave(n_inputs, dim=0)",
        "increment.to(y).repeat(n_inputs, 1)",
        "tests/equations/test_from_torchsde.py -k several_inputs",
    ),
    Bug(
        "adaptive steps interpolate at the end",
        'options={"step_t": span[1].reshape(1)},',
        "options={},",
        "tests/solvers/test_rough.py -k adaptive",
    ),
    Bug(
        "torchsde asks for the layer below",
        "index = round(position)",
        "index = int(position)",
        "tests/house/test_injected_bugs.py -k checks_pass",
    ),
)

STUDIES = (
    Bug(
        "weak errors are paired without regard to the draw",
        "return a.tag == b.tag and a.terminal.shape == b.terminal.shape",
        "return a.terminal.shape == b.terminal.shape",
        "tests/errors/test_metrics.py -k paired",
    ),
    Bug(
        "an order's interval is that of 90 percent",
        "np.percentile(slopes, [2.5, 97.5])",
        "np.percentile(slopes, [5, 95])",
        "tests/errors/test_orders.py",
    ),
    Bug(
        "a Young limit is measured against the plain network",
        "net = replace(net, block=limit.block, corrected=True)",
        "net = replace(net, block=limit.block, corrected=False)",
        "tests/solvers/test_young.py -k measured_against",
    ),
    Bug(
        "extrapolation weighs the last levels as for half-order errors",
        "return (*ones[:-2], 2 / 3, 8 / 3)",
        "return (*ones[:-2], 2 / 3, 2.0)",
        "tests/studies/test_allocation_and_couplings.py -k extrapolation",
    ),
    Bug(
        "a level's variance divides by its count",
        "return self._second / (self.count - 1)",
        "return self._second / self.count",
        "tests/studies/test_allocation_and_couplings.py -k moments",
    ),
    Bug(
        "the shallow half of a pair takes the deep one's step",
        "sizes, place, ONE, coarse_law, code, reflected, TRUE)",
        "sizes, place, ONE, law, code, reflected, TRUE)",
        "tests/ground/test_isotropic_kernels.py -k pairs",
    ),
    Bug(
        "levels share their seed",
        "seed=_level_seed(self.seed, depth),",
        "seed=self.seed,",
        "tests/studies/test_allocation_and_couplings.py -k levels_are_independent",
    ),
)

MEAN_FIELD = (
    Bug(
        "the rate of u lacks 1 / width",
        "u.baddbmm_(self._h[layer].mT, q, alpha=-self.rule.rate_u / width)",
        "u.baddbmm_(self._h[layer].mT, q, alpha=-self.rule.rate_u)",
        "tests/mean_field/test_networks.py -k raw_rate",
    ),
    Bug(
        "the learning rate is not scaled by alpha",
        "rate = learning_rate * self.embedding_dim / self.residual_alpha",
        "rate = learning_rate * self.embedding_dim",
        "tests/mean_field/test_networks.py -k raw_rate",
    ),
    Bug(
        "the bias of a split holds the fluctuation",
        "squared_bias = (all_pairs - same) / pairs",
        "squared_bias = all_pairs / len(values) ** 2",
        "tests/mean_field/test_errors.py -k noise_of_the_mean",
    ),
    Bug(
        "the fluctuation of the outputs divides by the count",
        "* n_paths / (n_paths - 1)",
        "* 1.0",
        "tests/mean_field/test_training_phases.py -k by_hand",
    ),
    Bug(
        "particles move at a rate without 1 / width",
        "piece.u.baddbmm_(h.mT, piece.q, alpha=-self.rule.rate_u / h.shape[-1])",
        "piece.u.baddbmm_(h.mT, piece.q, alpha=-self.rule.rate_u)",
        "tests/mean_field/test_mean_ode.py -k collocation_is_the_limit",
    ),
    Bug(
        "the error of the Mean ODE is the spread of one replicate",
        "return (variance / self.replicates.shape[1]).sqrt()",
        "return variance.sqrt()",
        "tests/mean_field/test_mean_ode.py -k spread_of_the_mean",
    ),
    Bug(
        "the lazy limit forgets the rate of v",
        "self.eta_u * learning_rate, self.eta_v * learning_rate,",
        "self.eta_u * learning_rate, self.eta_v,",
        "tests/mean_field/test_lazy_limit.py -k linear_network",
    ),
)

TRAINING = (
    Bug(
        "the learning rate falls an epoch early",
        "factor = self.plan.gamma ** (epoch // self.plan.step_epochs)",
        "factor = self.plan.gamma ** ((epoch + 1) // self.plan.step_epochs)",
        "tests/training/test_ensembles.py -k one_by_one",
    ),
    Bug(
        "survivors get the batches of those who left",
        "self._rows = self._rows[chosen]",
        "self._rows = self._rows[: len(chosen)]",
        "tests/training/test_ensembles.py -k batches_of_its_own",
    ),
    Bug(
        "every epoch has the order of the first",
        'Stream(seed, "training/order").generator(epoch, path)',
        'Stream(seed, "training/order").generator(0, path)',
        "tests/training/test_ensembles.py -k order_of_its_own",
    ),
    Bug(
        "analysed networks learn at a rate without tau",
        "weights.baddbmm_(states[-1].mT, q, alpha=-rate * self.tau)",
        "weights.baddbmm_(states[-1].mT, q, alpha=-rate)",
        "tests/training/test_post_relu.py -k autograd",
    ),
    Bug(
        "the gradient of the shared tau is not divided by the depth",
        "tau = torch.lerp(self.tau.detach(), self.tau, 1 / self.depth)",
        "tau = self.tau",
        "tests/training/test_convolutional.py -k shared_tau",
    ),
    Bug(
        "inner weights of a trained path are lost",
        "inner = None if self.inner is None else self.inner.detach()",
        "inner = None",
        "tests/training/test_module.py -k come_back",
    ),
)

USERS_MODELS = (
    Bug(
        "a block that holds its skip connection is scaled as a branch",
        "return torch.lerp(args[0], value, self.tau)",
        "return value * self.tau",
        "tests/user_models/test_branches.py -k almost_nothing",
    ),
    Bug(
        "a rule with a negative power loses its sign",
        "float(f\"{sign or ''}{exponent or 1}\")",
        'float(f"{exponent or 1}")',
        "tests/user_models/test_branches.py -k 'rule or tau or power'",
    ),
    Bug(
        "an interval over seeds has the quantile of one side",
        "scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1)",
        "scipy.stats.t.ppf(_CONFIDENCE, n - 1)",
        "tests/user_models/test_depth_check.py -k intervals_cover",
    ),
    Bug(
        "the rate for Adam has the wrong sign",
        "return -(1 - alpha + weights)",
        "return 1 - alpha + weights",
        "tests/user_models/test_depth_check.py -k fix_that_is_recommended",
    ),
    Bug(
        "rough weights are called between",
        "if low <= _ROUGH_BELOW:",
        "if low < 0.5:",
        "tests/user_models/test_regularity.py -k down_to_the_border",
    ),
    Bug(
        "layers are sorted as text",
        "numbers = tuple(sorted(found))",
        "numbers = tuple(sorted(found, key=str))",
        "tests/cli/test_check_commands.py tests/user_models -k 'checkpoint or layers'",
    ),
)

SWEEPS = (
    Bug(
        "files are written in place",
        "_write_flushed(aside, payload)\n        aside.replace(path)",
        "path.write_bytes(payload)",
        "tests/sweeps/test_store.py",
    ),
    Bug(
        "tasks of one seed share their numbers",
        "digest = hashlib.sha256(_canonical(coordinates, seed)).digest()",
        "digest = hashlib.sha256(str(seed).encode()).digest()",
        "tests/sweeps/test_grid.py",
    ),
    Bug(
        "the order of axes changes the seeds",
        "json.dumps([seed, sorted(coordinates.items())]",
        "json.dumps([seed, list(coordinates.items())]",
        "tests/sweeps/test_grid.py",
    ),
    Bug(
        "a run with other code goes on with the old results",
        '_IDENTITY = ("experiment", "config", "seed", "code")',
        '_IDENTITY = ("experiment", "config", "seed")',
        "tests/sweeps/test_faults.py -k are_the_question",
    ),
    Bug(
        "the death of a worker is an answer",
        "future.set_exception(WorkerDiedError(self._cause_of_death(slot)))",
        "future.set_result(None)",
        "tests/sweeps/test_faults.py -k a_dead_worker_fails",
    ),
    Bug(
        "half a line of the journal swallows the next",
        "if os.fstat(self._descriptor).st_size and not _ends_a_line(path):",
        "if os.fstat(self._descriptor).st_size and not path:",
        "tests/sweeps/test_faults.py -k half_a_line",
    ),
)

SURFACE = (
    Bug(
        "one good experiment makes a folder good",
        "return 0 if all(outcome.good for outcome in outcomes) else 1",
        "return 0 if any(outcome.good for outcome in outcomes) else 1",
        "tests/cli/test_cli.py -k folder",
    ),
    Bug(
        "a page calls a figure good that has one verdict passed",
        'return next((each for each in _ORDER if each in words), "pass")',
        'return "pass" if "pass" in words else "FAIL"',
        "tests/cli/test_figure_index.py -k verdict",
    ),
    Bug(
        "exported numbers lose their last digits",
        'float_format="%.17g"',
        'float_format="%.15g"',
        "tests/cli/test_cli.py -k every_digit",
    ),
)

VOCABULARY = (
    Bug(
        "the log norm of the linear network has the drift of width d + 1",
        "return LogNormal(time * (1 - 2 / width), time * 4 / width)",
        "return LogNormal(time * (1 - 1 / width), time * 4 / width)",
        "tests/vocabulary/test_closed_forms.py -k log_norm_law",
    ),
    Bug(
        "correlations of rough weights count once",
        "return 0.5 - reached / (2 * math.pi) + 2 * series, reached / (4 * math.pi * width)",
        "return 0.5 - reached / (2 * math.pi) + series, reached / (4 * math.pi * width)",
        "tests/solvers/test_rough.py -k rates_agree",
    ),
    Bug(
        "test images are centred by their own mean",
        "parts = [data.train_inputs - mean, data.test_inputs - mean]",
        "parts = [data.train_inputs - mean, data.test_inputs - data.test_inputs.mean(dim=0)]",
        "tests/vocabulary/test_data.py limits/data",
    ),
    Bug(
        "the share of test images is rounded down",
        "torch.floor(places * share + 0.5).diff()",
        "torch.floor(places * share).diff()",
        "tests/vocabulary/test_data.py -k digits",
    ),
    Bug(
        "a noisy order agrees with everything",
        "return close and self.high - self.low < widest",
        "return close or self.high - self.low > widest",
        "tests/vocabulary/test_estimates.py",
    ),
)

BUGS = (
    *NUMBERS,
    *NETWORKS,
    *LIMITS,
    *STUDIES,
    *MEAN_FIELD,
    *TRAINING,
    *USERS_MODELS,
    *SWEEPS,
    *SURFACE,
    *VOCABULARY,
)
