"""From data to actions. These settings are tiny: python examples/fifteen_lines.py [RUN_FOLDER [UPDATES]]"""

import sys

import pwm

run, updates = (sys.argv[1:] + ["runs/fifteen-lines", "200"][len(sys.argv) - 1 :])[:2]
store = pwm.open_dataset(pwm.sample_dataset(), tasks=["cup-catch", "cartpole-swingup"])
model = pwm.pretrain(store, run, "tiny", pwm.PretrainConfig(updates=int(updates), batch_size=64, horizon=8))
policies = pwm.learn(model, store, run, config=pwm.PolicyConfig(updates=int(updates), batch_size=16, horizon=8))
results = pwm.evaluate(run, episodes=1, film_seconds=0)
print({task: result["policy_mean"] for task, result in results["tasks"].items()})

observation, _ = pwm.get_task(policies[0].task).make().reset(seed=0)
print(policies[0].act(observation))
