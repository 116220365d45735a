"""The same grid on every executor gives the same bits."""

import concurrent.futures

import numpy as np
import pytest
import torch
import xarray
from threadpoolctl import threadpool_info, threadpool_limits

from limits.exceptions import ExperimentError
from limits.sweeps import ProcessWorkers, processes, run
from limits.sweeps.executors import executor_for
from limits.sweeps.status import run_status
from tests.survivor import Config, survivor, without_times


@pytest.fixture(scope="module")
def alone():
    return without_times(run(survivor(), Config(), seed=0))


@pytest.mark.thorough
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_no_bit(alone, workers):
    with executor_for(workers=workers) as executor:
        dataset = run(survivor(), Config(), seed=0, executor=executor)
    xarray.testing.assert_identical(without_times(dataset), alone)


@pytest.mark.thorough
def test_the_order_of_tasks_changes_no_bit(alone):
    dataset = run(survivor(), Config(widths=(16, 8, 4)), seed=0)
    ordered = dataset.sel(width=[4, 8, 16])
    assert ordered.attrs.pop("config") != alone.attrs["config"]
    expected = alone.copy()
    del expected.attrs["config"]
    xarray.testing.assert_identical(
        without_times(ordered).drop_attrs(deep=False), expected.drop_attrs(deep=False)
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_of_the_process_change_no_bit_and_are_given_back(alone, threads):
    before = torch.get_num_threads()
    with threadpool_limits(threads):
        torch.set_num_threads(threads)
        dataset = run(survivor(), Config(), seed=0)
        assert torch.get_num_threads() == threads
        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        assert set(pools) == {threads}
    torch.set_num_threads(before)
    xarray.testing.assert_identical(without_times(dataset), alone)


def test_costly_tasks_start_first(tmp_path):
    seen = []
    run(
        survivor(),
        Config(draws=1),
        seed=0,
        progress=lambda done, total, label: seen.append(label.split()[0]),
    )
    assert list(dict.fromkeys(seen)) == ["width=16", "width=8", "width=4"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "pool", [concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor]
)
def test_executors_of_the_standard_library_serve_as_well(alone, pool):
    context = {"mp_context": _spawn()} if pool.__name__.startswith("Process") else {}
    with pool(2, **context) as executor:
        dataset = run(survivor(), Config(), seed=0, executor=executor)
    xarray.testing.assert_identical(without_times(dataset), alone)


def _spawn():
    import multiprocessing

    return multiprocessing.get_context("spawn")


def test_an_object_that_offers_submit_is_enough(alone):
    class Eager:
        def submit(self, function, *arguments):
            future = concurrent.futures.Future()
            future.set_result(function(*arguments))
            return future

    xarray.testing.assert_identical(
        without_times(run(survivor(), Config(), seed=0, executor=Eager())), alone
    )


def test_an_executor_that_takes_nothing_is_named_with_what_to_do(tmp_path):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ExperimentError, match="ThreadPoolExecutor takes no more tasks"):
        run(survivor(), Config(), seed=0, folder=tmp_path, executor=pool)


class Local:
    """An experiment that cannot be pickled."""

    __name__ = "local"
    axes = staticmethod(lambda config: {"draw": [0]})
    task = staticmethod(lambda config, *, seed, draw: xarray.Dataset({"value": 1}))

    def __reduce__(self):
        raise TypeError("it holds a file")


def test_an_experiment_that_cannot_travel_is_refused_before_a_worker_starts():
    with pytest.raises(ExperimentError, match=r"it holds a file.*workers=0"):
        run(Local(), Config(), seed=0, executor=ProcessWorkers(1))


def test_a_call_is_not_left_waiting_when_no_worker_can_be_started(monkeypatch):
    def server_is_gone():
        raise EOFError

    monkeypatch.setattr(processes, "_context", server_is_gone)
    with ProcessWorkers(1) as workers:
        future = workers.submit(abs, -1)
        with pytest.raises(processes.WorkerDiedError, match="the process that starts workers"):
            future.result(timeout=30)


@pytest.mark.thorough
def test_progress_from_the_inside_reaches_the_parent():
    fractions = []
    with executor_for(workers=1) as executor:
        run(
            survivor(),
            Config(widths=(4,), draws=2, pause=1.0),
            seed=0,
            executor=executor,
            progress=lambda done, total, label: fractions.append(done),
        )
    assert 0.5 in fractions
    assert 1.5 in fractions
    assert fractions[-1] == 2


def test_a_finished_run_tells_its_state(tmp_path):
    run(survivor(), Config(), seed=0, folder=tmp_path)
    state = run_status(tmp_path)
    assert len(state.done) == 30
    assert not state.active
    assert state.along_axes()["width"] == {"4": (10, 10), "8": (10, 10), "16": (10, 10)}
    assert state.seconds > 0


@pytest.mark.thorough
def test_a_dask_cluster_changes_no_bit_even_when_a_worker_is_killed(alone, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    import os
    import signal
    import warnings

    monkeypatch.setenv("SURVIVOR_SECONDS", "0.05")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            victim = next(iter(cluster.workers.values())).pid
            killed = []

            def kill_once(done, total, label):
                if done >= 5 and not killed:
                    killed.append(victim)
                    os.kill(victim, signal.SIGKILL)

            with executor_for(dask=cluster.scheduler_address) as executor:
                dataset = run(
                    survivor(),
                    Config(),
                    seed=0,
                    folder=tmp_path,
                    executor=executor,
                    progress=kill_once,
                )
    assert killed
    xarray.testing.assert_identical(without_times(dataset), alone)
    assert np.isfinite(dataset.total).all()


def test_a_dask_scheduler_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("distributed")
    from limits.sweeps import executors

    monkeypatch.setattr(executors, "_SECONDS_TO_CONNECT", 0.2)
    with (
        pytest.raises(ExperimentError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1'"),
        executor_for(dask="tcp://127.0.0.1:1"),
    ):
        pass


# --- what people hand over as an executor ------------------------------------------------------


class Client:
    """What a Dask client looks like to a sweep."""

    status = "running"
    asynchronous = False

    def get_executor(self, *, pure: bool):
        assert not pure
        return concurrent.futures.ThreadPoolExecutor(1)

    def submit(self, function, *args, pure=True):
        raise AssertionError("its own submit returns futures of another kind")


def test_a_dask_client_serves_by_its_executor(alone):
    dataset = run(survivor(), Config(), seed=0, executor=Client())
    xarray.testing.assert_identical(without_times(dataset), alone)


class Asynchronous(Client):
    asynchronous = True


class ForeignFutures:
    def submit(self, function, *args):
        return object()


@pytest.mark.parametrize(
    ("executor", "remedy"),
    [
        (Asynchronous(), "asynchronous=False"),
        (ForeignFutures(), "returned builtins.object"),
        (ProcessWorkers, "found ProcessWorkers. Pass limits.sweeps.ProcessWorkers"),
        ("tcp://127.0.0.1:8786", "found str. .* a Dask Client"),
        (4, "found int"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_cannot_take_tasks_is_refused_with_what_can(executor, remedy):
    with pytest.raises(ExperimentError, match=remedy):
        run(survivor(), Config(), seed=0, executor=executor)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_a_real_dask_client_changes_no_bit(alone):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        dataset = run(survivor(), Config(), seed=0, executor=client)
    xarray.testing.assert_identical(without_times(dataset), alone)
