"""Imported once, by the fork server only: what every worker needs and no worker may have touched yet.

An allow-list. Never the user's code, nothing that has run a backward pass (its children hang) or initialised CUDA (its
children cannot use it). Importing this module ties the fork server's life to the agent's, which multiprocessing does
not: workers hold the server's "alive" pipe too, so it would outlive a killed agent for as long as they run.
"""

from __future__ import annotations

import numpy  # noqa: F401 - warms the fork server
import safetensors.torch  # noqa: F401 - warms the fork server
import torch
import torch.distributed  # noqa: F401 - warms the fork server

import thunderhead
import thunderhead.store
import thunderhead_agent.worker  # noqa: F401 - warms the fork server
from thunderhead_agent.linux import die_with_parent

__all__ = ["thunderhead"]

die_with_parent()
