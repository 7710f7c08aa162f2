"""The short public face: what it offers is there, whatever was imported before."""

import importlib.util
import subprocess
import sys

import pytest

import probneuro

CALLABLES = [name for name in probneuro.__all__ if name not in ("__version__", "az")]
SHADOWED = [name for name in CALLABLES if importlib.util.find_spec(f"probneuro.{name}")]
GLOBAL_STATE = """
import random, warnings
import arviz_base, arviz_stats, h5py, matplotlib.pyplot, netCDF4, numba, numpy, pandas, pyro
import scipy.stats, torch, xarray

def state():
    seeds = (torch.initial_seed(), random.getstate(), str(numpy.random.get_state()))
    return (*seeds, torch.get_default_dtype(), list(warnings.filters), len(pyro.get_param_store()))

before = state()
import probneuro
for name in probneuro.__all__:
    getattr(probneuro, name)
changed = [(old, new) for old, new in zip(before, state(), strict=True) if old != new]
raise SystemExit(f"changed: {changed}" if changed else 0)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("name", CALLABLES)
def test_name_is_there(name: str) -> None:
    assert callable(getattr(probneuro, name)), f"probneuro.{name} cannot be called."


def test_names_survive_the_import_of_submodules_of_the_same_name() -> None:
    done = run(
        f"import importlib, probneuro\n"
        f"for name in {SHADOWED}:\n"
        f"    importlib.import_module(f'probneuro.{{name}}')\n"
        f"    assert callable(getattr(probneuro, name)), name"
    )
    assert done.returncode == 0, (
        "After `import probneuro.NAME`, probneuro.NAME is the module, not the function. "
        "Python sets a submodule on its package, so `__getattr__` is never asked. Bind the "
        "function again once the submodule is loaded, or rename the module.\n" + done.stderr
    )


def test_importing_changes_nothing_global() -> None:
    done = run(GLOBAL_STATE)
    assert done.returncode == 0, (
        "Importing probneuro changed global state: set types, seeds and filters inside functions, "
        "and put them back.\n" + done.stderr
    )
