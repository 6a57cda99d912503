"""PWM: from logged experience, through one multi-task world model, to one policy per task.

    store = pwm.open_dataset(pwm.sample_dataset())
    model = pwm.pretrain(store, "runs/mine", "small")
    policies = pwm.learn(model, store, "runs/mine")
    results = pwm.evaluate("runs/mine")
    action = policies[0].act(observation)

Everything is imported at first use, so that `import pwm` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pwm.runtime.version import __version__

if TYPE_CHECKING:
    from pwm.acting.policy_file import load_policy
    from pwm.agents.online.config import OnlineConfig
    from pwm.agents.plan_config import PlanConfig
    from pwm.agents.pwm.config import PolicyConfig
    from pwm.agents.pwm.deployed import Policy
    from pwm.agents.sb3.config import PPOConfig, SACConfig
    from pwm.agents.shac.config import ShacConfig
    from pwm.data.store import Episode
    from pwm.data.store import open_store as open_dataset
    from pwm.data.store import sample_store_path as sample_dataset
    from pwm.pipeline.evaluate import evaluate
    from pwm.pipeline.finetune import finetune
    from pwm.pipeline.import_model import import_checkpoint
    from pwm.pipeline.learn import learn
    from pwm.pipeline.online import online
    from pwm.pipeline.plan import plan
    from pwm.pipeline.pretrain import pretrain
    from pwm.pipeline.train import train
    from pwm.report.page import write_report
    from pwm.runtime.errors import PWMError
    from pwm.tasks.registry import get_task, register_task
    from pwm.tasks.spec import TaskSpec
    from pwm.world_model.checkpoints.files import export_checkpoint
    from pwm.world_model.config import PretrainConfig, WorldModelConfig

_PLACES = {
    "open_dataset": "pwm.data.store:open_store",
    "sample_dataset": "pwm.data.store:sample_store_path",
    "pretrain": "pwm.pipeline.pretrain:pretrain",
    "learn": "pwm.pipeline.learn:learn",
    "train": "pwm.pipeline.train:train",
    "plan": "pwm.pipeline.plan:plan",
    "online": "pwm.pipeline.online:online",
    "finetune": "pwm.pipeline.finetune:finetune",
    "evaluate": "pwm.pipeline.evaluate:evaluate",
    "write_report": "pwm.report.page:write_report",
    "load_policy": "pwm.acting.policy_file:load_policy",
    "Policy": "pwm.agents.pwm.deployed:Policy",
    "WorldModelConfig": "pwm.world_model.config:WorldModelConfig",
    "PretrainConfig": "pwm.world_model.config:PretrainConfig",
    "PolicyConfig": "pwm.agents.pwm.config:PolicyConfig",
    "ShacConfig": "pwm.agents.shac.config:ShacConfig",
    "PPOConfig": "pwm.agents.sb3.config:PPOConfig",
    "SACConfig": "pwm.agents.sb3.config:SACConfig",
    "PlanConfig": "pwm.agents.plan_config:PlanConfig",
    "OnlineConfig": "pwm.agents.online.config:OnlineConfig",
    "Episode": "pwm.data.store:Episode",
    "TaskSpec": "pwm.tasks.spec:TaskSpec",
    "get_task": "pwm.tasks.registry:get_task",
    "register_task": "pwm.tasks.registry:register_task",
    "import_checkpoint": "pwm.pipeline.import_model:import_checkpoint",
    "export_checkpoint": "pwm.world_model.checkpoints.files:export_checkpoint",
    "PWMError": "pwm.runtime.errors:PWMError",
}

__all__ = [
    "PPOConfig",
    "Episode",
    "OnlineConfig",
    "finetune",
    "online",
    "PWMError",
    "PlanConfig",
    "Policy",
    "PolicyConfig",
    "PretrainConfig",
    "SACConfig",
    "ShacConfig",
    "TaskSpec",
    "WorldModelConfig",
    "__version__",
    "evaluate",
    "export_checkpoint",
    "get_task",
    "import_checkpoint",
    "learn",
    "load_policy",
    "open_dataset",
    "plan",
    "pretrain",
    "register_task",
    "sample_dataset",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pwm' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
