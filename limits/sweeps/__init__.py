"""Grids of independent tasks: what to run, how to run it and where results are kept.

Nothing in here knows what a task computes.
"""

from limits.sweeps.executors import executor_for as executor_for
from limits.sweeps.experiment import Experiment as Experiment
from limits.sweeps.experiment import experiment_name as experiment_name
from limits.sweeps.experiment import scale_name as scale_name
from limits.sweeps.grid import Task as Task
from limits.sweeps.grid import tasks as tasks
from limits.sweeps.processes import ProcessWorkers as ProcessWorkers
from limits.sweeps.runner import run as run
from limits.sweeps.status import run_status as run_status
from limits.sweeps.store import load_dataset as load_dataset
from limits.sweeps.store import prepare_folder as prepare_folder
from limits.sweeps.store import save_dataset as save_dataset
from limits.sweeps.store import write_bytes as write_bytes
