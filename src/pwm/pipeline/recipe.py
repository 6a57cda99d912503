"""The settings of all steps of `pwm quickstart`."""

from __future__ import annotations

from dataclasses import dataclass

from pwm.agents.pwm.config import PolicyConfig
from pwm.runtime.errors import PWMError
from pwm.world_model.config import PretrainConfig, WorldModelConfig, world_model_size


@dataclass(frozen=True)
class Recipe:
    """Settings from data to evaluated policies: episodes per policy, and the length of each film in simulator time."""

    model: WorldModelConfig
    pretrain: PretrainConfig
    policy: PolicyConfig
    episodes: int
    film_seconds: float = 6.0


RECIPES: dict[str, Recipe] = {
    # For two processor cores and a few minutes; docs/recipe.md explains each departure from the paper.
    "quickstart": Recipe(
        model=world_model_size("small", latent_dim=256, embedding_init=0.3, bias_init=0.15),
        pretrain=PretrainConfig(
            updates=3600,
            batch_size=128,
            short_horizons=(2, 4, 8),
            early_starts=0.25,
            reward_weight=0.5,
            learning_rate=1e-3,
            final_learning_rate=3e-5,
            warmup=100,
            encoder_scale=1.0,
            normalise_observations=True,
            precision="auto",
            evaluate_every=400,
        ),
        policy=PolicyConfig(
            behaviour_updates=3000,
            critic_warmup=200,
            updates=400,
            behaviour_weight=100.0,
            behaviour_sharpness=8.0,
            early_starts=0.25,
            actor_units=(256, 128),
            critic_units=(256, 128),
            critic_passes=2,
            actor_learning_rate=1e-4,
            critic_learning_rate=1e-3,
            actor_average=0.995,
            precision="auto",
        ),
        episodes=30,
        film_seconds=4.0,
    ),
    # Runs all steps in seconds and learns nothing useful.
    "tiny": Recipe(
        model=world_model_size("tiny"),
        pretrain=PretrainConfig(
            updates=40, batch_size=32, horizon=4, learning_rate=1e-3, evaluate_every=20, checkpoint_every=10
        ),
        policy=PolicyConfig(
            behaviour_updates=5,
            behaviour_weight=1.0,
            updates=15,
            batch_size=8,
            horizon=4,
            actor_units=(32,),
            critic_units=(32,),
            critic_passes=1,
            checkpoint_every=5,
            log_every=5,
        ),
        episodes=1,
        film_seconds=0.4,
    ),
}


def recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises PWMError for an unknown name."""
    if name not in RECIPES:
        raise PWMError(f"--preset {name}: no such recipe; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
