import pytest

from plots import synthetic_results
from probneuro.compare import compare


@pytest.fixture(scope="module")
def result():
    return synthetic_results.make_result()


@pytest.fixture(scope="module")
def results():
    return synthetic_results.make_results()


@pytest.fixture(scope="module")
def table(results):
    return compare(results)
