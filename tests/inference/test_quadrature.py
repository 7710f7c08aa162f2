import numpy as np
import pytest

from probneuro.inference.quadrature import ORDER, add_interval

NODES = 33


def weights_of(left: float, right: float, nodes: int = NODES) -> np.ndarray:
    weights = np.zeros(nodes)
    add_interval(weights, left, right, 0, nodes - 1)
    return weights


@pytest.mark.parametrize(
    ("left", "right"),
    [(0.0, 32.0), (0.3, 31.9), (7.0, 8.0), (7.2, 7.7), (31.5, 32.0), (0.0, 0.1), (5.5, 20.25)],
)
@pytest.mark.parametrize("power", range(ORDER))
def test_polynomials_below_the_order_are_exact(left: float, right: float, power: int) -> None:
    x = np.arange(NODES) / 32.0
    exact = (right ** (power + 1) - left ** (power + 1)) / (power + 1) / 32.0**power
    assert weights_of(left, right) @ x**power == pytest.approx(exact, rel=1e-11, abs=1e-12)


def test_a_polynomial_of_the_order_is_not_exact() -> None:
    x = np.arange(NODES) - 16.3
    assert weights_of(0.0, 0.5) @ x**ORDER != pytest.approx(
        (((0.5 - 16.3) ** 9) - (-16.3) ** 9) / 9, rel=1e-9
    )


def test_error_falls_with_the_eighth_power() -> None:
    errors = []
    for nodes in (9, 17, 33):
        x = np.linspace(0.0, 3.0, nodes)
        spacing = x[1]
        edge = 1.234
        estimate = spacing * weights_of(0.0, edge / spacing, nodes) @ np.exp(x)
        errors.append(abs(estimate - np.expm1(edge)))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders.min() > 7.0


def test_intervals_add_up() -> None:
    weights = weights_of(0.0, 11.37)
    add_interval(weights, 11.37, 32.0, 0, NODES - 1)
    np.testing.assert_allclose(weights, weights_of(0.0, 32.0), atol=1e-13)


def test_an_empty_interval_has_no_weight() -> None:
    assert (weights_of(4.5, 4.5) == 0.0).all()


def test_nodes_outside_the_range_get_no_weight() -> None:
    weights = np.zeros(NODES)
    add_interval(weights, 10.0, 20.0, 10, 20)
    assert (weights[:10] == 0.0).all()
    assert (weights[21:] == 0.0).all()
    assert weights.sum() == pytest.approx(10.0)
