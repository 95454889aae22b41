"""The steps of flows as zuko's transforms, in float64, with given weights. Shapes: N examples, D latents, C context."""

import torch
from torch.distributions import AffineTransform
from zuko.distributions import DiagNormal, NormalizingFlow
from zuko.transforms import AutoregressiveTransform, ComposedTransform, CouplingTransform


def network(layers):
    """Layers (kernel [units, units], bias [units] or [N, units]) with tanh between them."""

    def applied(h):
        for i, (kernel, bias) in enumerate(layers, 1):
            h = h @ kernel + bias
            h = torch.tanh(h) if i < len(layers) else h
        return h

    return applied


def affine(shift, scale):
    return AffineTransform(shift, scale, event_dim=1)


def inverse_autoregressive(weights, context, size):
    """z = g eps + (1 - g) m (Kingma et al. 2016, arXiv 1606.04934, eq. 13 and 14), g = sigmoid(. + 2).

    The weights are, for each layer, kernel, bias, and kernel of the context; the output is [N, D, (gate, m)].
    """
    groups = (weights[i : i + 3] for i in range(0, len(weights), 3))
    parameters = network([(kernel, bias + context @ of_context) for kernel, bias, of_context in groups])

    def gated(eps):
        raw_gate, m = parameters(eps).unflatten(-1, (size, 2)).unbind(-1)
        gate = torch.sigmoid(raw_gate + 2)
        return affine((1 - gate) * m, gate)

    return AutoregressiveTransform(gated, passes=size)


def coupling(layers, of_context, context, size, reverse):
    """z_a = eps_a, z_b = exp(tanh(s)) eps_b + shift (Dinh et al. 2016, arXiv 1605.08803, eq. 4 and 5).

    The context's layer adds to the first of `layers`; a is the first half, or the second if `reverse`.
    """
    (kernel, bias), *others = layers
    parameters = network([(kernel, bias + context @ of_context[0] + of_context[1]), *others])

    def scaled(kept):
        raw_log_scale, shift = parameters(kept).chunk(2, dim=-1)
        return affine(shift, torch.exp(torch.tanh(raw_log_scale)))

    return CouplingTransform(scaled, (torch.arange(size) < size // 2) ^ reverse)


def composed(loc, scale, steps):
    """eps -> z, and log q of z: a diagonal normal, then the steps."""
    push = ComposedTransform(affine(loc, scale), *steps)
    return push, NormalizingFlow(push.inv, DiagNormal(torch.zeros_like(loc), torch.ones_like(loc))).log_prob


def log_det(push, eps):
    """log |det dz/deps| from the full Jacobian of each example: [N]."""
    # Examples do not mix, so that the Jacobian of the sum over them holds that of each: [D, N, D].
    jacobian = torch.autograd.functional.jacobian(lambda e: push(e).sum(dim=0), eps)
    return torch.linalg.slogdet(jacobian.transpose(0, 1))[1]
