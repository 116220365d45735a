"""What a device is worth: ``python -m experiments.benchmarks``, from a checkout, offline.

Every row runs in a process of its own with a budget of seconds, so that a row that fails or hangs
costs itself. It prints the median time of this library and of a plain torch loop on the same
device, and the largest difference from this library's result on the CPU, relative to its largest
entry. Rows call what everybody calls: where this library has no kernel, they measure what it does
instead, and say so when that is no faster than the loop.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryFile
from time import perf_counter

import torch
from torch import Tensor

import limits

REPEATS, LEAST_SECONDS = 5, 0.2


@dataclass(frozen=True)
class DeviceRow:
    """One comparison.

    Parameters
    ----------
    claim : str
        What is computed.
    bar : float
        Milliseconds asked for on an H100; not judged elsewhere.
    seconds : float
        Budget of the whole row, start and compilation included.
    ours : callable
        From a device to the result of this library.
    peer : callable
        The plain loop, from a device to its work.
    tolerance : float
        Largest difference from the CPU.
    """

    claim: str
    bar: float
    seconds: float
    ours: Callable[[str], Tensor]
    peer: Callable[[str], Callable[[], object]]
    tolerance: float = 1e-5


def bits(device: str) -> Tensor:
    """Draw normals of several layers and paths."""
    return limits.Stream(0, "bits").normals(3, 100, 10_000, 5, n_layers=20, device=device)


def euler(n_paths: int, width: int = 40, depth: int = 1024) -> Callable[[str], Tensor]:
    """Solve the isotropic limit in law."""
    limit = limits.depth_limit(limits.ResNet("relu"), limits.BrownianPath(width), form="law")
    h0 = torch.linspace(-1, 1, width).view(1, width)

    def solve(device: str) -> Tensor:
        noise = limit.sample(
            depth=depth, n_paths=n_paths, seed=0, dtype=torch.float32, device=device
        )
        return limits.EulerMaruyama().solve(limit, h0.to(device), noise).terminal

    return solve


def plain_euler(
    n_paths: int, width: int = 40, depth: int = 1024
) -> Callable[[str], Callable[[], object]]:
    """Write the same scheme as a loop of torch calls, replayed as a graph on CUDA."""

    def prepared(device: str) -> Callable[[], object]:
        start = torch.linspace(-1, 1, width, device=device).expand(n_paths, width)

        def steps() -> Tensor:
            h = start
            for _ in range(depth):
                size = h.relu().norm(dim=-1, keepdim=True) * (width * depth) ** -0.5
                h = h + size * torch.randn(n_paths, width, device=device)
            return h

        return captured(steps) if device == "cuda" else steps

    return prepared


def captured(steps: Callable[[], object]) -> Callable[[], object]:
    """Return a replay of a loop, which spares its thousands of launches."""
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        steps()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        steps()
    return graph.replay


def dense_forward(device: str) -> Tensor:
    """Run 256 layers of width 256 with fresh weights, 64 paths."""
    path = limits.BrownianPath(256)
    sample = path.sample(depth=256, n_paths=64, seed=0, dtype=torch.float32, device=device)
    return limits.ResNet("relu")(torch.ones(1, 256, device=device), sample).terminal


def plain_dense(device: str) -> Callable[[], object]:
    """Do the same with `randn` and a batched product a layer."""

    def steps() -> Tensor:
        h = torch.ones(64, 1, 256, device=device)
        for _ in range(256):
            h = h + h.relu() @ (torch.randn(64, 256, 256, device=device) / 256)
        return h

    return steps


def lazy_gradients(device: str) -> Tensor:
    """Run res-3 forward and backward on lazy weights, width 40, 1000 layers, 50 paths."""
    path, net = limits.BrownianPath(40), limits.ResNet("relu", block="res-3")
    sample = path.sample(
        depth=1000, n_paths=50, seed=0, dtype=torch.float32, device=device, lazy=True
    )
    out = net(torch.ones(1, 40, device=device), sample, keep="all")
    return net.backward(out, sample, out.terminal, keep="terminal").values


def plain_gradients(device: str) -> Callable[[], object]:
    """Do the same with dense weights and autograd."""

    def steps() -> Tensor:
        h0 = torch.ones(50, 1, 40, device=device, requires_grad=True)
        h = h0
        for _ in range(1000):
            inner, outer = torch.randn(2, 50, 40, 40, device=device) / 40**0.5
            h = h + 1000**-0.5 * (h @ inner).relu() @ outer
        (h.square().sum() / 2).backward()
        return h

    return steps


def study(device: str) -> Tensor:
    """Measure the strong errors of depths 8 to 512 against 1024, width 40, 1000 paths."""
    found = limits.convergence_study(
        limits.ResNet("tanh"),
        limits.BrownianPath(40),
        depths=tuple(2**k for k in range(3, 10)),
        reference=1024,
        n_paths=1000,
        seed=0,
        h0=torch.ones(1, 40, dtype=torch.float64, device=device),
        device=device,
    )
    return torch.tensor([each.value for each in found.errors], dtype=torch.float64)


def plain_study(device: str) -> Callable[[], object]:
    """Couple the same depths by adding up the increments of the deepest."""

    def steps() -> list[Tensor]:
        spans = [2**k for k in range(8)]
        shape, scale = (1000, 40, 40), (40 * 1024) ** -0.5
        states = [torch.ones(1000, 1, 40, device=device) for _ in spans]
        sums = [torch.zeros(shape, device=device) for _ in spans]
        for layer in range(1, 1025):
            weights = torch.randn(shape, device=device) * scale
            for place, span in enumerate(spans):
                sums[place] += weights
                if layer % span == 0:
                    states[place] = states[place] + states[place].tanh() @ sums[place]
                    sums[place].zero_()
        return states

    return steps


def plain_normals(device: str) -> Callable[[], object]:
    """Draw as many with torch's own generator."""
    return lambda: torch.randn(20, 100, 10_000, device=device)


ROWS = {
    "bits": DeviceRow("20 million normals, CPU = device", 5, 30, bits, plain_normals, 0.0),
    "euler-1000": DeviceRow(
        "isotropic Euler, d=40, 1024 steps, 1000 paths", 1, 40, euler(1000), plain_euler(1000)
    ),
    "euler-16384": DeviceRow(
        "isotropic Euler, d=40, 1024 steps, 16384 paths", 6, 40, euler(16384), plain_euler(16384)
    ),
    "dense": DeviceRow("dense forward, d=256, L=256, 64 paths", 15, 40, dense_forward, plain_dense),
    "lazy": DeviceRow(
        "lazy res-3 both ways, d=40, L=1000, 50 paths", 20, 40, lazy_gradients, plain_gradients
    ),
    "study": DeviceRow(
        "study, d=40, depths 8..1024, 1000 paths, tanh", 150, 45, study, plain_study
    ),
}


def timed(work: Callable[[], object], device: str) -> float:
    """Return the seconds of one call, waiting for the device."""
    if device == "cuda":
        torch.cuda.synchronize()
    started = perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - started


def repeated(work: Callable[[], object], device: str, until: float) -> list[float]:
    """Return seconds of five calls or more, fewer if the budget ends first."""
    times = [timed(work, device)]
    while perf_counter() < until and (len(times) < REPEATS or sum(times) < LEAST_SECONDS):
        times.append(timed(work, device))
    return times


def measure(row: DeviceRow, device: str) -> None:
    """Measure one row in this process, and print what is known as soon as it is."""
    started = perf_counter()
    until = started + row.seconds * 0.75
    first = timed(lambda: row.ours(device), device)
    found: dict[str, float] = {"first": first}
    ours = repeated(lambda: row.ours(device), device, started + row.seconds * 0.4)
    found |= {"ours": median(ours), "repeats": len(ours)}
    print(json.dumps(found), flush=True)
    expected, result = row.ours("cpu"), row.ours(device).cpu()
    found["difference"] = float((result - expected).abs().max() / expected.abs().max())
    print(json.dumps(found), flush=True)
    work = row.peer(device)
    timed(work, device)
    peer = repeated(work, device, until)
    print(json.dumps({**found, "peer": median(peer), "peer_repeats": len(peer)}), flush=True)


def report(row: DeviceRow, found: dict[str, float], device: str, end: str) -> str:
    """Return one line of what is known, and of how it ended."""
    parts = [end] if end else []
    if "ours" in found:
        asked = f" (asked {row.bar:g})" if device == "cuda" else ""
        parts.append(f"{found['ours'] * 1e3:.3g} ms{asked}, median of {found['repeats']:.0f}")
        parts.append(f"first call {found['first']:.2g} s")
    if "difference" in found:
        equal = "equal" if found["difference"] <= row.tolerance else "DIFFERENT"
        parts.append(f"{equal} to {found['difference']:.1e}")
    if "peer" in found:
        times = f"{found['peer'] * 1e3:.3g} ms, median of {found['peer_repeats']:.0f}"
        parts.append(f"plain torch {times}")
        if found["ours"] > found["peer"]:
            parts.append("NOT FASTER than the plain loop")
    return f"{row.claim}: {'; '.join(parts)}"


def apart(name: str, device: str) -> str:
    """Run a row in a process of its own."""
    command = [sys.executable, "-m", str(__package__), "--device", device, "--row", name]
    row = ROWS[name]
    with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
        try:
            done = subprocess.run(
                command, stdout=out, stderr=errors, timeout=row.seconds, check=False
            ).returncode
            end = f"failed with status {done}" if done else ""
        except subprocess.TimeoutExpired:
            end = f"not done in {row.seconds:g} s"
        for each in (out, errors):
            each.seek(0)
        end = (errors.read().strip().splitlines() or [end])[-1] if "failed" in end else end
        lines = out.read().strip().splitlines()
    return report(row, json.loads(lines[-1]) if lines else {}, device, end)


def main() -> None:
    """Print every row."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=default)
    parser.add_argument("--row", choices=tuple(ROWS), help="measure this one, print JSON")
    chosen = parser.parse_args()
    if chosen.row:
        measure(ROWS[chosen.row], chosen.device)
        return
    where = torch.cuda.get_device_name() if chosen.device == "cuda" else "CPU"
    print(f"{where}, torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    for name in ROWS:
        print(apart(name, chosen.device), flush=True)


if __name__ == "__main__":
    main()
