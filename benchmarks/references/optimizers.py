"""Where torch's optimizers take a parameter from 0, with a rate of 1 and in float64."""

from unittest import mock

import numpy as np
import torch


def adam(gradients, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """With epsilon where Keras has it: added before the correction of the bias."""
    parameter = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = torch.optim.Adam([parameter], lr=1.0, betas=(beta_1, beta_2))
    for step, parameter.grad in enumerate(gradients, 1):
        optimizer.param_groups[0]["eps"] = epsilon / np.sqrt(1 - beta_2**step)
        optimizer.step()
    return parameter.detach().numpy()


def muon(gradients, *, in_bfloat16):
    """torch orthogonalizes in bfloat16; or its cast is left out, and it does so in float64."""
    parameter = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    options = {"weight_decay": 0, "ns_steps": 4, "adjust_lr_fn": "match_rms_adamw"}
    optimizer = torch.optim.Muon([parameter], lr=1.0, **options)
    cast = torch.Tensor.bfloat16 if in_bfloat16 else torch.Tensor.clone
    with mock.patch.object(torch.Tensor, "bfloat16", cast):
        for parameter.grad in gradients:
            optimizer.step()
    return parameter.detach().numpy()
