"""What OpenVINO's streams add: several calls under way at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.benchmark import Inputs, random_inputs
from engines.engine import AsynchronousEngine
from engines.openvino_engine import OpenVinoEngine
from engines.torch_engine import TorchEngine
from posefix_track.network import PoseFix
from tests.decided_network import JOINTS, SIZE, decided_network

# Crop pixels; kernels of the two engines, and of different numbers of rows, sum in another order.
ENGINES_AGREE_PX = 0.05


@pytest.fixture(scope="module")
def network() -> PoseFix:
    return decided_network()


@pytest.fixture(scope="module")
def engine(network: PoseFix) -> OpenVinoEngine:
    return OpenVinoEngine(network, SIZE, JOINTS)


@pytest.fixture(scope="module")
def reference(network: PoseFix) -> TorchEngine:
    return TorchEngine(network, SIZE, JOINTS)


def test_it_can_compute_in_the_background(engine: OpenVinoEngine, reference: TorchEngine) -> None:
    assert isinstance(engine, AsynchronousEngine)
    assert not isinstance(reference, AsynchronousEngine)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(1, 20), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_calls_under_way_at_once_do_not_mix(
    engine: OpenVinoEngine, reference: TorchEngine, rows: list[int], seed: int
) -> None:
    inputs: list[Inputs] = [random_inputs(count, SIZE, JOINTS, i) for i, count in enumerate(rows)]
    started = [engine.start(*one) for one in inputs]
    asked = np.random.default_rng(seed).permutation(len(rows))
    found = {i: started[i]() for i in asked}
    for i, one in enumerate(inputs):
        np.testing.assert_allclose(found[i][0], reference(*one)[0], atol=ENGINES_AGREE_PX)


def test_results_may_be_asked_for_twice_and_late(engine: OpenVinoEngine) -> None:
    inputs = random_inputs(5, SIZE, JOINTS)
    first = engine.start(*inputs)
    kept = first()[0].copy()
    for seed in range(10):
        engine(*random_inputs(5, SIZE, JOINTS, seed + 1))
    np.testing.assert_array_equal(first()[0], kept)


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 200])
def test_rows_do_not_depend_on_their_neighbours(engine: OpenVinoEngine, rows: int) -> None:
    inputs = random_inputs(rows, SIZE, JOINTS)
    alone = np.concatenate([engine(*(column[i : i + 1] for column in inputs))[0] for i in range(min(rows, 8))])
    np.testing.assert_allclose(engine(*inputs)[0][:8], alone, atol=ENGINES_AGREE_PX)
