import pytest
import torch

from pwm.runtime.device import resolve_device, set_threads
from pwm.runtime.errors import PWMError


def test_cpu_and_auto():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "mps", "meta"])
def test_unknown_device(name):
    with pytest.raises(PWMError, match="use auto, cpu"):
        resolve_device(name)


def test_absent_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(PWMError, match="'cuda:1': PyTorch finds no CUDA GPU"):
        resolve_device("cuda:1")


def test_absent_second_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(PWMError, match="only 1 GPU"):
        resolve_device("cuda:1")


def test_threads():
    before = torch.get_num_threads()
    try:
        assert set_threads(1) == 1 == torch.get_num_threads()
        assert set_threads(None) == 1
        with pytest.raises(PWMError, match="threads is 0"):
            set_threads(0)
    finally:
        torch.set_num_threads(before)


def test_keep_freed_memory(monkeypatch):
    import ctypes

    from pwm.runtime.device import keep_freed_memory

    calls = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: type("Libc", (), {"mallopt": lambda *a: calls.append(a[-2:])})())
    keep_freed_memory()
    assert calls == [(-3, 1 << 30), (-1, (1 << 31) - 1)]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # another C library
    keep_freed_memory()
