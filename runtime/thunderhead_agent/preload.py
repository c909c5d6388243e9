"""Imported once, by the fork server only: what every worker needs and no worker may have touched yet.

An allow-list. Never the user's code, nothing that has run a backward pass (its children hang) or initialised CUDA (its
children cannot use it). Importing this module ties the fork server's life to the agent's, which multiprocessing does
not: workers hold the server's "alive" pipe too, so it would outlive a killed agent for as long as they run.
"""

from __future__ import annotations

import importlib.util
import os

import numpy
import safetensors.torch
import torch
import torch._dynamo  # the first optimizer of a process imports it: as dear as torch, so once per pod
import torch.distributed

import thunderhead.callbacks
import thunderhead.loggers
import thunderhead.store.job_checkpoints
import thunderhead.trainer.trainer
import thunderhead_agent.train
import thunderhead_agent.worker
from thunderhead_agent.linux import AGENT_PID, die_with_parent

__all__ = ["numpy", "safetensors", "thunderhead", "thunderhead_agent", "torch"]

if importlib.util.find_spec("boto3") is not None:
    import thunderhead.store.s3

# The agent may have died during these imports, too early for the kernel's help: then this process must not serve.
die_with_parent(int(os.environ[AGENT_PID]))
