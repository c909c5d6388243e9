"""rl4co, after its quick start: short tours."""

import lightning.pytorch as pl
from rl4co.envs import TSPEnv
from rl4co.envs.routing import TSPGenerator
from rl4co.models import REINFORCE, AttentionModelPolicy
from rl4co.utils.trainer import RL4COTrainer

pl.seed_everything(1)
env = TSPEnv(TSPGenerator(num_loc=6))
policy = AttentionModelPolicy(env_name=env.name, embed_dim=16, num_encoder_layers=1, num_heads=2)
model = REINFORCE(
    env, policy, baseline="rollout", batch_size=16, train_data_size=64, val_data_size=32, test_data_size=32
)
trainer = RL4COTrainer(max_epochs=1, accelerator="cpu", devices=1, logger=None, enable_progress_bar=False)
trainer.fit(model)
for name, value in sorted(trainer.callback_metrics.items()):
    print("RESULT", name, value.item())
found = trainer.test(model)
print("RESULT", "test", sorted(found[0].items()))
