import pytest

from pwm.runtime.errors import PWMError
from pwm.tasks import registry
from pwm.tasks.spec import TaskSpec


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    registry.list_tasks()
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    monkeypatch.setattr(registry, "_sets", dict(registry._sets))


def spec(id: str, observation_dim: int = 3) -> TaskSpec:
    return TaskSpec(id, observation_dim, 1, 10, 1, "return", make=dict)


def test_the_stock_tasks_of_mt30_are_there_in_order():
    stock = registry.task_set("mt30-stock")
    assert len(stock) == 19
    assert [task.id for task in stock[:4]] == ["walker-stand", "walker-walk", "walker-run", "cheetah-run"]
    assert [task.id for task in stock[-2:]] == ["hopper-stand", "hopper-hop"]
    assert all(registry.get_task(task.id) is task and task.id in registry.list_tasks() for task in stock)
    assert "mt30-stock" in registry.list_task_sets()


def test_the_multi_task_sets_grow_at_the_end():
    mt30, mt80 = registry.task_set("mt30"), registry.task_set("mt80")
    assert (len(mt30), len(mt80)) == (30, 80) and mt80[:30] == mt30
    assert mt30[:19] == registry.task_set("mt30-stock") and mt80[30:] == registry.task_set("metaworld-50")
    assert [task.id for task in mt80] == list(registry.list_tasks())[:80]
    widest = [(max(t.observation_dim for t in tasks), max(t.action_dim for t in tasks)) for tasks in (mt30, mt80)]
    assert widest == [(24, 6), (39, 6)]


def test_an_unknown_task_gets_the_closest_names():
    with pytest.raises(PWMError, match=r"unknown task 'walker-wlak'; did you mean walker-walk"):
        registry.get_task("walker-wlak")
    with pytest.raises(PWMError, match="known are walker-stand, "):
        registry.get_task("%")
    with pytest.raises(PWMError, match="unknown task set 'mt30-stok'; did you mean mt30-stock"):
        registry.task_set("mt30-stok")


def test_a_new_task_and_set_join():
    mine = registry.register_task(spec("mine"))
    registry.register_task_set("ours", ["mine", "cartpole-swingup"])
    assert registry.get_task("mine") is mine
    assert [task.id for task in registry.task_set("ours")] == ["mine", "cartpole-swingup"]


def test_an_id_is_not_silently_taken_over():
    registry.register_task(spec("mine"))
    again = registry.register_task(spec("mine"))
    assert registry.get_task("mine") is again
    with pytest.raises(PWMError, match="already registered"):
        registry.register_task(spec("mine", observation_dim=4))
    with pytest.raises(PWMError, match="already registered"):
        registry.register_task(spec("walker-walk"))
    registry.register_task(spec("mine", observation_dim=4), replace=True)
    assert registry.get_task("mine").observation_dim == 4


def test_a_set_with_an_unknown_task_says_so():
    registry.register_task_set("ours", ["nobody"])
    with pytest.raises(PWMError, match="unknown task 'nobody'"):
        registry.task_set("ours")
