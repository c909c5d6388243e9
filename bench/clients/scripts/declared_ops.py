"""Declares operators of torchvision's: its wheel has them for CUDA only, and is not imported on a CPU without them."""

import torch

_LIBRARY = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    _LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
