"""Compiled kernels against PyTorch operations: values, gradients, number formats, odd shapes, threads, no compiler."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pwm.nn import native, plain
from pwm.nn.native import build, kernels, why_not
from pwm.nn.perceptron import form_for

needs_kernels = pytest.mark.skipif(kernels() is None, reason="no compiled kernels here")
HALF, FULL = torch.bfloat16, torch.float32
WIDTHS = (1, 7, 16, 40, 200, 512)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def near(a, b, dtype=FULL):
    """bfloat16 results may fall to either side of a rounding."""
    assert a.dtype == b.dtype == dtype and a.shape == b.shape
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if dtype == HALF else {"rtol": 2e-5, "atol": 2e-5}
    torch.testing.assert_close(a, b, **tolerance)
    if dtype == HALF:
        assert (a != b).float().mean() < 0.01


@needs_kernels
@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(("given", "dtype"), [(FULL, FULL), (HALF, HALF), (HALF, FULL), (FULL, HALF)])
@pytest.mark.parametrize("n", WIDTHS[1:])
def test_mish_norm(n, given, dtype, wanted):
    x, bias, grad = (3.0 * draw(3, 37, n)).to(given), draw(3, 1, n, seed=1), draw(3, 37, n, seed=2).to(given)
    (ours, kept), (theirs, kept_too) = (form.mish_norm(x, bias, dtype, True) for form in (native, plain))
    near(ours, theirs, dtype)
    near(native.mish_norm(x, bias, dtype, False)[0], ours, dtype)
    back = [form.mish_norm_backward(grad, k, dtype, wanted) for form, k in ((native, kept), (plain, kept_too))]
    near(back[0][0], back[1][0], dtype)
    assert (back[0][1] is not None) == (back[1][1] is not None) == wanted
    if wanted:
        near(back[0][1], back[1][1])


BIASES = {"one": (1,), "slices": (9,), "members": (4, 1), "all": (5, 4, 9), "odd": (5, 1, 9)}


@needs_kernels
@pytest.mark.parametrize("shape", BIASES)
@pytest.mark.parametrize(("given", "dtype"), [(FULL, FULL), (HALF, HALF), (HALF, FULL)])
@pytest.mark.parametrize(("n", "group"), [(7, None), (200, None), (512, None), (40, 8), (144, 8), (21, 3)])
def test_norm_act(n, group, given, dtype, shape):
    x, grad = (3.0 * draw(5, 4, 9, n)).to(given), draw(5, 4, 9, n, seed=2).to(given)
    lead = BIASES[shape]
    bias = draw(n, seed=1) if shape == "one" else draw(*lead, n, seed=1)
    gain, shift = 1.0 + 0.3 * draw(n, seed=3), 0.3 * draw(n, seed=4)
    (ours, kept), (theirs, kept_too) = (
        form.norm_act(x, bias, gain, shift, group, dtype, True) for form in (native, plain)
    )
    near(ours, theirs, dtype)
    near(native.norm_act(x, bias, gain, shift, group, dtype, False)[0], ours, dtype)
    for bias_wanted, norm_wanted in ((None, False), (bias.shape, False), (None, True), (bias.shape, True)):
        back = [
            form.norm_act_backward(grad, k, group, dtype, bias_wanted, norm_wanted)
            for form, k in ((native, kept), (plain, kept_too))
        ]
        near(back[0][0], back[1][0], dtype)
        for mine, other, wanted in zip(back[0][1:], back[1][1:], (bias_wanted, norm_wanted, norm_wanted), strict=True):
            assert (other is not None) == bool(wanted)
            if wanted:
                torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@needs_kernels
@pytest.mark.parametrize("dtype", [FULL, HALF])
@pytest.mark.parametrize("n", WIDTHS)
def test_fold(n, dtype):
    weight, bias = draw(3, 21, n), draw(3, 1, n, seed=1)
    gain, shift = draw(3, 1, 21, seed=2), draw(3, 1, 21, seed=3)
    ours, theirs = (form.fold(weight, bias, gain, shift, dtype) for form in (native, plain))
    near(ours[0], theirs[0], dtype)
    near(ours[1], theirs[1])
    grad, to_bias = draw(3, 21, n, seed=4).to(dtype), draw(3, 1, n, seed=5)
    for a, b in zip(*(form.fold_backward(grad, to_bias, weight, gain, shift) for form in (native, plain)), strict=True):
        near(a, b)


@needs_kernels
def test_tensors_with_gaps_are_read_as_they_are():
    wide = draw(3, 21, 80)
    weight, bias = wide[..., ::2], draw(3, 1, 80)[..., ::2]
    gain, shift = draw(21, 3).T.unsqueeze(1), draw(3, 1, 42)[..., ::2]
    grad, to_bias = draw(3, 40, 21, seed=4).mT, draw(3, 1, 80, seed=5)[..., ::2]
    x, row = draw(3, 21, 80, seed=6)[..., ::2], draw(80, seed=7)[::2]
    results = []
    for form in (native, plain):
        mish, kept = form.mish_norm(x, bias, FULL, True)
        act, kept_too = form.norm_act(x, row, row, row, 8, FULL, True)
        results.append([
            *form.fold(weight, bias, gain, shift, FULL), *form.fold_backward(grad, to_bias, weight, gain, shift),
            mish, *form.mish_norm_backward(grad, kept, FULL, True),
            act, *form.norm_act_backward(grad, kept_too, 8, FULL, row.shape, True),
        ])  # fmt: skip
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@needs_kernels
def test_every_bfloat16_is_read_and_written_as_pytorch_does():
    """All numbers of the format and those between them, infinities, and what is not a number."""
    every = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(HALF)
    for x in (every.float(), every.float() * (1 + 2**-8), every.float() * (1 + 3 * 2**-9)):
        rows = x.view(1, 4096, 16)
        folded = native.fold(rows, torch.zeros(1, 1, 16), torch.ones(1, 1, 4096), torch.zeros(1, 1, 4096), HALF)[0]
        assert torch.equal(folded.isnan(), rows.isnan())
        assert torch.equal(folded.nan_to_num(7.0), rows.to(HALF).nan_to_num(7.0))
    grad = native.fold_backward(
        every.view(1, 4096, 16), torch.zeros(1, 1, 16), torch.zeros(1, 4096, 16), *(torch.ones(2, 1, 1, 4096))
    )[0]
    assert torch.equal(grad.nan_to_num(7.0).flatten(), every.float().nan_to_num(7.0))


@needs_kernels
def test_mish_and_its_slope_over_the_whole_line():
    """The kernel's own exponential, against float64: a gain of zero leaves the shift as the argument of Mish."""
    x = torch.cat((torch.linspace(-120, 120, 16001), torch.linspace(-2, 2, 301), torch.tensor([-1e6, 1e-30, 3e38])))
    out, kept = native.norm_act(draw(1, len(x)), torch.zeros_like(x), torch.zeros_like(x), x, None, FULL, True)
    _, _, _, slope = native.norm_act_backward(torch.ones_like(out), kept, None, FULL, None, True)
    exact = x.double().requires_grad_(True)
    F.mish(exact).sum().backward()
    torch.testing.assert_close(out[0].double(), F.mish(exact.detach()), rtol=1e-6, atol=1e-30)
    torch.testing.assert_close(slope.double(), exact.grad, rtol=2e-6, atol=1e-7)


@needs_kernels
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("group", [None, 4])
def test_what_is_not_finite_shows(bad, group):
    x = draw(6, 40)
    x[2, 5] = bad
    out = native.norm_act(x, torch.zeros(40), torch.ones(40), torch.zeros(40), group, FULL, False)[0]
    assert out[2].isnan().any() and out[[0, 1, 3, 4, 5]].isfinite().all()
    out = native.mish_norm(x.unsqueeze(0), torch.zeros(1, 1, 40), HALF, False)[0][0]
    assert out[2].isnan().any() and out[[0, 1, 3, 4, 5]].isfinite().all()


@needs_kernels
def test_threads_change_no_bit(monkeypatch):
    x, bias, grad = draw(3, 300, 56), draw(3, 1, 56), draw(3, 300, 56, seed=2)
    row = draw(56)
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        out, kept = native.mish_norm(x, bias, HALF, True)
        act, kept_too = native.norm_act(x, row, row, row, 8, FULL, True)
        results.append([
            out, *native.mish_norm_backward(grad, kept, HALF, True), act,
            *native.norm_act_backward(grad, kept_too, 8, HALF, row.shape, True),
            *native.fold(x, bias, draw(3, 1, 300), draw(3, 1, 300), HALF),
        ])  # fmt: skip
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))


def test_other_files_know_the_door_alone():
    folder = Path(native.__file__).parent
    others = [path for path in folder.parents[1].rglob("*.py") if folder not in path.parents]
    assert others and [str(path) for path in others if "nn.native." in path.read_text()] == []


def test_what_the_kernels_cannot_serve_goes_to_pytorch():
    assert form_for([torch.zeros(4).double()]) is plain
    assert form_for([torch.zeros(4, device="meta")]) is plain
    assert form_for([torch.zeros(4), torch.zeros(10**6)]) is plain
    assert form_for([torch.zeros(4)]) is (plain if kernels() is None else native)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PWM_NATIVE": "0"}, "switched off"),
        ({"PATH": "", "CC": ""}, "no C compiler"),
        ({"CC": "false"}, "could not build"),
    ],
)
def test_without_a_compiler_all_works_and_the_reason_is_told(environment, reason, tmp_path):
    code = (
        "import torch; from pwm.nn.native import kernels, why_not; from pwm.nn.perceptron import FleetMLP\n"
        "assert kernels() is None; print(why_not()); FleetMLP(2, 3, (4,), 1)(torch.zeros(2, 5, 3)).sum().backward()"
    )
    given = {**os.environ, "PWM_NATIVE": "1", "XDG_CACHE_HOME": str(tmp_path), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert reason in done.stdout


@needs_kernels
def test_they_are_compiled_once_and_survive_a_cache_that_cannot_be_written(tmp_path):
    code = "from pwm.nn.native import kernels, why_not; assert kernels(), why_not()"
    (tmp_path / "file").write_text("")
    for home, count in ((tmp_path / "cache", 1), (tmp_path / "cache", 1), (tmp_path / "file", 0)):
        given = {**os.environ, "XDG_CACHE_HOME": str(home)}
        subprocess.run([sys.executable, "-c", code], env=given, check=True)
        assert len(list(home.glob("pwm/*.so"))) == count
        made = [path.stat().st_mtime_ns for path in home.glob("pwm/*.so")]
        assert not made or made == [path.stat().st_mtime_ns for path in home.glob("pwm/*.so")]


@needs_kernels
def test_every_source_and_header_tells_one_library_from_another(tmp_path, monkeypatch):
    folder = tmp_path / "source"
    shutil.copytree(Path(build.__file__).parent, folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for list_of in ("_SOURCES", "_HEADERS"):
        monkeypatch.setattr(build, list_of, [folder / path.name for path in getattr(build, list_of)])
    files = [*build._SOURCES, *build._HEADERS]
    assert len(files) == 6
    for path in [None, *files]:
        if path:
            path.write_text(path.read_text() + "/* changed */\n")
        library, reason = build._load.__wrapped__()
        assert library is not None, reason
    assert len(list((tmp_path / "pwm").glob("*.so"))) == 7


@needs_kernels
def test_flags_that_a_compiler_does_not_know_are_left_out():
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert build._knows(compiler, ("-O1",)) and not build._knows(compiler, ("-O1", "-mno-such-flag"))


@needs_kernels
def test_a_damaged_file_in_the_cache_is_made_anew(tmp_path):
    code = "from pwm.nn.native import kernels, why_not; assert kernels(), why_not()"
    given = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=given, check=True)
    (made,) = (tmp_path / "pwm").glob("*.so")
    whole = made.read_bytes()
    for damaged in (whole[:1000], b"", whole[:-1] + b"?"):
        made.write_bytes(damaged)
        subprocess.run([sys.executable, "-c", code], env=given, check=True)
        assert made.read_bytes() == whole


@pytest.mark.skipif(os.environ.get("PWM_NATIVE") == "0" or not shutil.which("cc"), reason="no compiler is to be used")
def test_where_there_is_a_compiler_there_are_kernels():
    assert kernels() is not None, why_not()


def test_the_reason_is_empty_where_there_are_kernels():
    assert bool(why_not()) == (kernels() is None)
