"""What the metrics show that no request counts."""

from kohonen_tokenizer.service.errors import DeviceError
from kohonen_tokenizer.service.http.metrics import Metrics


class LosableGpu:
    """A GPU's memory, until it is lost."""

    bus_id = "00000000:3B:00.0"

    def __init__(self) -> None:
        self.is_lost = False

    def used_bytes(self) -> int:
        if self.is_lost:
            raise DeviceError("lost")
        return 3 * 2**30


def test_the_memory_of_the_gpu_is_shown_as_long_as_it_is_known():
    gpu = LosableGpu()
    metrics = Metrics()
    metrics.watch_gpu(gpu)
    metrics.refresh(is_ready=True)
    sample = f'kohonen_gpu_memory_used_bytes{{gpu="{gpu.bus_id}"}}'
    assert f"{sample} 3.221225472e+09" in metrics.expose().decode()
    gpu.is_lost = True
    metrics.refresh(is_ready=True)
    assert f"{sample} NaN" in metrics.expose().decode()
