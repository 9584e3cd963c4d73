import logging

import pytest

from kohonen_tokenizer.service.errors import DeviceError
from kohonen_tokenizer.service.runtime.devices import Device, choose_device


class Machine:
    """Stands for a machine on which only some devices work; remembers what it was asked."""

    def __init__(self, *working: Device) -> None:
        self.working = working
        self.asked: list[Device] = []

    def check(self, device: Device) -> None:
        self.asked.append(device)
        if device not in self.working:
            raise DeviceError(f"there is no {device}; buy one")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_auto_takes_cuda_where_it_works_and_says_so(log: pytest.LogCaptureFixture) -> None:
    machine = Machine("cpu", "cuda", "tensorrt")
    assert choose_device("auto", check=machine.check) == "cuda"
    assert machine.asked == ["cuda"]
    assert log.messages == ["device auto: cuda, because it works here"]


def test_auto_takes_the_cpu_elsewhere_and_says_why(log: pytest.LogCaptureFixture) -> None:
    machine = Machine("cpu", "tensorrt")
    assert choose_device("auto", check=machine.check) == "cpu"
    assert log.messages == ["device auto: cpu, because there is no cuda; buy one"]


def test_auto_is_refused_where_not_even_the_cpu_works(log: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DeviceError, match="there is no cpu"):
        choose_device("auto", check=Machine().check)
    assert log.messages == []


@pytest.mark.parametrize("device", ["cpu", "cuda", "tensorrt"])
def test_a_device_that_is_named_is_taken_or_refused(device: Device) -> None:
    assert choose_device(device, check=Machine(device).check) == device
    machine = Machine(*({"cpu", "cuda", "tensorrt"} - {device}))  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=f"there is no {device}"):
        choose_device(device, check=machine.check)
    assert machine.asked == [device]
