import pwm.cli.doctor as module


def test_doctor(pwm, monkeypatch):
    monkeypatch.setattr(module, "rendering", lambda: "works (egl)")  # tested in its own room, in seconds
    outcome = pwm("doctor", "--task", "toy-a")
    assert (outcome.code, outcome.err) == (0, "")
    for word in ("python", "torch", "threads in use", "GFLOP/s on cpu", "sample is whole", "steps/s", "works (egl)"):
        assert word in outcome.out


def test_what_is_broken_is_told_and_the_rest_goes_on(pwm, monkeypatch):
    monkeypatch.setattr(module, "rendering", lambda: "no films: no OpenGL")
    monkeypatch.setattr(module, "products", lambda: 1 / 0)
    outcome = pwm("doctor", "--task", "toy-c")
    assert outcome.code == 1
    assert "training     does not work: division by zero" in outcome.out
    assert "simulator    does not work: unknown task 'toy-c'" in outcome.out
    assert "sample is whole" in outcome.out and "no OpenGL" in outcome.out
