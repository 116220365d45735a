import subprocess
import sys
import textwrap

import pytest

HEAVY = ("torch", "xarray", "scipy", "matplotlib", "netCDF4", "sklearn", "numba", "triton")
OPTIONAL = (
    "xarray", "netCDF4", "scipy", "torchsde", "torchdiffeq", "tyro", "rich", "matplotlib",
    "safetensors", "sklearn", "threadpoolctl",
)  # fmt: skip


def run(source):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", ["--help", "list", "cite", "--version"])
def test_what_only_reads_starts_without_the_heavy_libraries(command):
    said = run(f"""
        import sys
        from limits.cli import main
        assert main([{command!r}]) == 0
        print("loaded:", [each for each in {HEAVY} if each in sys.modules])
    """)
    assert said.endswith("loaded: []\n")


@pytest.mark.thorough
def test_networks_solvers_and_studies_need_torch_only():
    run(f"""
        import sys
        # None in sys.modules makes an import fail as if nothing were installed.
        sys.modules.update(dict.fromkeys({OPTIONAL}))
        import torch, limits
        net, path = limits.ResNet("tanh"), limits.BrownianPath(4)
        sample = path.sample(depth=16, n_paths=8, seed=0)
        h0 = torch.ones(1, 4, dtype=torch.float64)
        limit = limits.depth_limit(net, path)
        solution = limits.EulerMaruyama().solve(limit, h0, sample)
        assert torch.allclose(net(h0, sample).terminal, solution.terminal)
        linear = limits.ResNet("identity")
        for each in (net, linear):
            study = limits.convergence_study(each, path, depths=(4, 8, 16), n_paths=64, seed=0)
            assert study.order.low < study.order.value < study.order.high
    """)


def test_importing_the_library_does_not_import_torch():
    run("import sys, limits; assert 'torch' not in sys.modules")


def test_compilers_are_loaded_when_numbers_are_drawn():
    said = run("""
        import sys
        import limits
        sample = limits.BrownianPath(4).sample(depth=16, n_paths=8, seed=0)
        print({"numba", "triton"} & {*sys.modules})
        limits.ResNet("tanh")(sample.increments[0, 0].double(), sample)
        print({"numba", "triton"} & {*sys.modules})
    """)
    # torch may load its own triton on the way.
    assert said.splitlines()[0] == "set()"
    assert "numba" in said.splitlines()[1]
