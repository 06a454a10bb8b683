import numpy as np
import pytest
import torch

from engines import Engine, compile_engine
from engines.benchmark import random_inputs
from engines.cuda_graph import CudaGraph, GraphMemory
from engines.engine import EngineError
from engines.torch_engine import BUCKETS, TorchEngine, device_named
from posefix_track.network import PoseFix
from tests.decided_network import JOINTS, SIZE, decided_network

# Crop pixels; kernels for other batch sizes sum in another order.
BATCHES_AGREE_PX = 0.05
# Crop pixels at the 99th percentile, what half precision may cost.
HALF_PX = 0.25

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]


@pytest.fixture(scope="module")
def network() -> PoseFix:
    return decided_network()


@pytest.fixture(scope="module", params=DEVICES)
def engine(network: PoseFix, request: pytest.FixtureRequest) -> TorchEngine:
    """In FP32, with the buckets of a GPU."""
    return TorchEngine(network, SIZE, JOINTS, request.param, "fp32", BUCKETS)


def inputs(batch: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    return random_inputs(batch, SIZE, JOINTS, seed)


def one_by_one(engine: Engine, columns: tuple[np.ndarray, ...]) -> np.ndarray:
    rows = range(len(columns[0]))
    return np.concatenate([engine(*(column[i : i + 1] for column in columns))[0] for i in rows])


def test_every_row_of_every_bucket_is_what_it_is_alone(engine: TorchEngine) -> None:
    columns = inputs(BUCKETS[-1])
    alone = one_by_one(engine, columns)
    for bucket in BUCKETS:
        together, _ = engine(*(column[:bucket] for column in columns))
        assert np.abs(together - alone[:bucket]).max() <= BATCHES_AGREE_PX


def test_equal_rows_of_one_batch_get_equal_answers(engine: TorchEngine) -> None:
    columns = [np.repeat(column, 64, 0) for column in inputs(1)]
    for batch in (5, 16, 64):
        refined, similarity = engine(*(column[:batch] for column in columns))
        # Rows of one kernel may be summed by different tiles.
        assert np.abs(refined - refined[:1]).max() <= 1e-3
        assert np.abs(similarity - similarity[:1]).max() <= 1e-4


@pytest.mark.parametrize("batch", [3, 7, 33, 63, 65, 130])
def test_odd_batches_are_filled_up_and_cut_off_again(engine: TorchEngine, network: PoseFix, batch: int) -> None:
    engine(*inputs(64, seed=9))  # what fills the rows up
    refined, similarity = engine(*inputs(batch))
    with torch.inference_mode():
        expected = network(*(torch.from_numpy(column) for column in inputs(batch)))
    assert refined.shape == (batch, JOINTS, 2)
    assert np.abs(refined - expected[0].numpy()).max() <= BATCHES_AGREE_PX
    assert np.abs(similarity - expected[1].numpy()).max() <= 1e-3


def test_results_are_the_callers_to_keep(engine: TorchEngine) -> None:
    tensors = [torch.from_numpy(column).to(engine.device) for column in inputs(2)]
    first, _ = engine.run(*tensors)
    kept = first.clone()
    engine.run(*(tensor.flip(0) for tensor in tensors))
    torch.testing.assert_close(first, kept, atol=0, rtol=0)


def test_a_cpu_runs_batches_as_they_come(network: PoseFix) -> None:
    rows: list[int] = []
    engine = TorchEngine(network, SIZE, JOINTS)
    engine._network.register_forward_pre_hook(lambda _, arguments: rows.append(len(arguments[0])))
    engine(*inputs(5))
    assert rows == [5] and engine.name == "torch cpu fp32"


def test_the_smallest_bucket_that_holds_a_batch_is_run(network: PoseFix) -> None:
    rows: list[int] = []
    engine = TorchEngine(network, SIZE, JOINTS, buckets=(2, 4))
    engine._network.register_forward_pre_hook(lambda _, arguments: rows.append(len(arguments[0])))
    for batch in (1, 2, 3, 4, 5, 9):
        engine(*inputs(batch))
    assert rows == [2, 2, 4, 4, 4, 2, 4, 4, 2] and engine.max_batch == 4


@pytest.mark.parametrize("device", DEVICES)
def test_half_precision_stays_within_a_quarter_pixel(network: PoseFix, device: str) -> None:
    engine = TorchEngine(network, SIZE, JOINTS, device, "fp16")
    distance = np.linalg.norm(engine(*inputs(64))[0] - TorchEngine(network, SIZE, JOINTS)(*inputs(64))[0], axis=-1)
    assert 0 < np.quantile(distance, 0.99) <= HALF_PX
    assert engine.name == f"torch {device} fp16"


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_precision_that_it_lacks_is_refused(network: PoseFix, precision: str) -> None:
    with pytest.raises(EngineError, match=f"no precision '{precision}'; it has fp32, fp16"):
        compile_engine(network, SIZE, JOINTS, "torch", "cpu", precision)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "cuda:0 has too little free memory for the network"),
        (
            RuntimeError("CUDA error: no kernel image is available\nmore"),
            r"cuda:0 cannot run the network \(CUDA error: no",
        ),
    ],
)
def test_a_gpu_that_does_not_take_the_network_is_named(
    monkeypatch: pytest.MonkeyPatch, network: PoseFix, error: RuntimeError, message: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(TorchEngine, "_ready", fail)
    with pytest.raises(EngineError, match=message) as caught:
        TorchEngine(network, SIZE, JOINTS, "cuda:0")
    assert caught.value.__cause__ is error


@needs_cuda
def test_a_graph_runs_on_what_lies_in_its_inputs_by_then() -> None:
    x = torch.zeros(3, device="cuda")
    graph = CudaGraph(lambda x: (x + 1, x * 2), (x,), GraphMemory())
    x.fill_(5)
    plus, times = graph()
    assert plus.tolist() == [6] * 3 and times.tolist() == [10] * 3


def test_the_current_gpu_is_remembered_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert device_named("cuda") == torch.device("cuda:1")
    assert device_named("cuda:0") == torch.device("cuda:0") and device_named("cpu") == torch.device("cpu")


@needs_cuda
def test_auto_takes_half_precision_on_a_gpu(network: PoseFix) -> None:
    assert TorchEngine(network, SIZE, JOINTS, "cuda").name == "torch cuda fp16"
