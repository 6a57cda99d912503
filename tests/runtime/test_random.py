"""Counter-based random numbers: distribution, independence of draws and of batch-mates."""

import torch

from pwm.runtime.random import key_of, normal, uniform

KEYS = torch.tensor([key_of(0, "a"), key_of(1, "a"), key_of(0, "b")])


def test_pure_in_key_and_counter():
    assert torch.equal(uniform(KEYS, 5, (4, 3)), uniform(KEYS, 5, (4, 3)))
    assert not torch.equal(uniform(KEYS, 5, (4, 3)), uniform(KEYS, 6, (4, 3)))


def test_a_member_does_not_depend_on_its_batch_mates():
    together = normal(KEYS, 9, (8, 2))
    for k in range(3):
        assert torch.equal(normal(KEYS[k : k + 1], 9, (8, 2))[0], together[k])


def test_keys_are_stable_and_distinct():
    assert key_of(0, "walker-walk", "noise") == key_of("0", "walker-walk", "noise")
    assert len({key_of(s, t) for s in range(50) for t in ("a", "b", "1", "11")}) == 200
    assert 0 <= key_of(3, "x") < 2**63


def test_uniform_moments_and_bins():
    x = torch.cat([uniform(KEYS, c, (20_000,)).flatten() for c in range(5)]).double()
    assert 0.0 < x.min() and x.max() < 1.0
    assert abs(x.mean() - 0.5) < 4 * (1 / 12 / len(x)) ** 0.5
    counts = torch.histc(x, 64, 0, 1)
    chi2 = ((counts - len(x) / 64) ** 2 / (len(x) / 64)).sum()
    assert chi2 < 63 + 6 * (2 * 63) ** 0.5


def test_draws_are_uncorrelated():
    a = uniform(KEYS, 0, (50_000,)).double() - 0.5
    b = uniform(KEYS, 1, (50_000,)).double() - 0.5
    bound = 5 / 12 / 50_000**0.5
    assert abs((a[0] * a[1]).mean()) < bound and abs((a[0] * a[2]).mean()) < bound
    assert abs((a[0] * b[0]).mean()) < bound and abs((a[0, 1:] * a[0, :-1]).mean()) < bound


def test_normal_moments():
    x = normal(KEYS, 3, (60_000,)).double()
    assert abs(x.mean()) < 0.01 and abs(x.var() - 1) < 0.02
    assert abs((x**3).mean()) < 0.03 and abs((x**4).mean() - 3) < 0.1


def test_fine_numbers_begin_with_the_coarse_ones():
    coarse, fine = uniform(KEYS, 3, (5000,)), uniform(KEYS, 3, (5000,), fine=True)
    assert coarse.dtype == torch.float32 and fine.dtype == torch.float64
    assert torch.equal((coarse.double() * 2**23).floor(), (fine * 2**23).floor())
    rest = (fine * 2**23) % 1
    assert 0.0 < fine.min() and fine.max() < 1.0 and abs(rest.mean() - 0.5) < 4 * (1 / 12 / rest.numel()) ** 0.5
    assert len((fine * 2**52).frac().unique()) == 1 and len(rest.unique()) == rest.numel()
    assert uniform(torch.tensor([-1]), -1, (1 << 16,), fine=True).max() < 1.0
