import ast
import importlib
import inspect
import pickle
from pathlib import Path

import pytest

import limits

# Everything that the first version offered at the top.
OLD = [
    "Activation",
    "AnalysedEnsemble",
    "AveragedInner",
    "Block",
    "BranchError",
    "BrownianPath",
    "ClosedForm",
    "Configuration",
    "ConvResNet",
    "ConvergenceStudy",
    "CouplingError",
    "DTypeError",
    "DepthCheck",
    "DepthLimit",
    "DepthMismatchError",
    "DepthRegularity",
    "ErrorSplit",
    "Estimate",
    "EulerMaruyama",
    "ExperimentError",
    "FractionalPath",
    "IIDPath",
    "InfiniteDepthExpectation",
    "Inner",
    "LargeWidthLimit",
    "LazyLimit",
    "LimitDescent",
    "LimitsError",
    "MeanFieldDescent",
    "MeanFieldResNet",
    "MeanFieldWeights",
    "MeanODE",
    "MeanODESolution",
    "MidpointExtrapolation",
    "NoLimitError",
    "NoiseSample",
    "NonFiniteStateError",
    "Order",
    "ParticleTransport",
    "Recipe",
    "ResNet",
    "ResNetModule",
    "ScaledResiduals",
    "ShapeError",
    "ShapeFit",
    "SmoothPath",
    "SolverError",
    "StoreError",
    "Stream",
    "TorchDiffEq",
    "TorchSDE",
    "TrainedClassifier",
    "TrainedEnsemble",
    "TrainedPath",
    "TrainingPhase",
    "Trajectory",
    "Verdict",
    "WeightPath",
    "WeightRegularity",
    "WeightSample",
    "as_activation",
    "closed_forms",
    "convergence_study",
    "data",
    "depth_check",
    "depth_limit",
    "descend_squares",
    "embed",
    "fit_order",
    "fit_shape",
    "from_torchsde",
    "infinite_depth_expectation",
    "path_errors",
    "phase_of",
    "plots",
    "read_layers",
    "readout",
    "scale_residuals",
    "split_error",
    "strong_error",
    "sweeps",
    "train_analysed",
    "train_classifier",
    "train_ensemble",
    "training_phase",
    "weak_error",
    "weight_regularity",
]
WINGS = ("mean_field", "training", "user_models")


def test_the_face_is_small_and_of_one_subject():
    face = [name for name in dir(limits) if not name.startswith("_")]
    assert len(face) <= 70
    assert set(WINGS) <= set(face)
    assert not set(limits._MOVED["mean_field"].split()) & set(face)


@pytest.mark.parametrize("name", OLD)
def test_every_old_name_is_the_object_of_its_wing(name):
    found = getattr(limits, name)
    home = limits._HOMES.get(name)
    if home is None:
        assert inspect.ismodule(found)
    else:
        assert found is getattr(importlib.import_module(f"limits.{home}"), name)
        assert vars(limits)[name] is found


def test_type_checkers_see_the_same_face():
    tree = ast.parse(Path(limits.__file__).read_text(encoding="utf-8"))
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("limits."):
            room = node.module.removeprefix("limits.")
            seen |= {each.asname: room for each in node.names if each.asname}
    assert seen == limits._PUBLIC


def test_a_misspelt_name_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match=r"Did you mean limits\.BrownianPath"):
        _ = limits.BrownianPaths


def test_what_is_loaded_late_is_pickled_like_any_other_class():
    path = limits.BrownianPath(3)
    assert pickle.loads(pickle.dumps(path)) == path
    assert limits.__version__[0].isdigit()
