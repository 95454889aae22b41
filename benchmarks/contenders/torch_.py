"""PyTorch: eager, compiled, under autocast."""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional as f

from contenders import check_gpu

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def make(task, compiled=False, bfloat16=False):
    check_gpu(task, torch.cuda.is_available())
    device = "cuda" if task.gpu else "cpu"
    torch.set_float32_matmul_precision("high")  # TF32 where a GPU has it, as TensorFlow and JAX do unasked
    vae = Vae(task.model).to(device)
    forward = torch.compile(vae) if compiled else vae
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
    images = torch.from_numpy(task.images).to(device).float() / 255
    if task.static:
        images = binarized(images)

    def epoch():
        total = torch.zeros([], device=device)
        for index in torch.randperm(len(images), device=device).split(task.batch_size):
            x = images[index] if task.static else binarized(images[index])
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                loss = -forward(x).mean()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(index)
        return len(images), total.item() / len(images)

    return epoch


def binarized(grey):
    return (torch.rand_like(grey) < grey).float()  # quicker than torch.bernoulli on a CPU


class Vae(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.num_samples = model.num_samples
        self.encoder, self.decoder = networks(model)

    def forward(self, x):
        """The evidence lower bound, or for several samples the importance-weighted one: [B]. Sums are in float32."""
        mean, log_var = self.encoder(x).float().chunk(2, dim=-1)
        noise = torch.randn(self.num_samples, *mean.shape, device=x.device)
        z = mean + torch.exp(0.5 * log_var) * noise
        logits = self.decoder(z.flatten(0, 1)).float().unflatten(0, z.shape[:2])
        log_px_z = -f.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        if self.num_samples == 1:
            kl = -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum(-1)
            return log_px_z[0] - kl
        log_ratio = 0.5 * (noise.pow(2) + log_var - z.pow(2)).sum(-1)
        return torch.logsumexp(log_px_z + log_ratio, 0) - math.log(self.num_samples)


def networks(model):
    """Encoder [B, 784] -> [B, 2 D] and decoder [B, D] -> [B, 784]."""
    activation = ACTIVATIONS[model.activation]

    def body(layer, sizes, *args):
        return [part for a, b in itertools.pairwise(sizes) for part in (layer(a, b, *args), activation())]

    latent, hidden, filters = model.latent_size, model.hidden, model.filters
    if filters:
        down = body(nn.Conv2d, [1, *filters], 3, 2, 1)
        up = body(nn.ConvTranspose2d, [filters[-1], *filters[::-1]], 3, 2, 1, 1)
        coarse = (filters[-1], 7, 7)
        features = math.prod(coarse)
        encoder = [nn.Unflatten(1, (1, 28, 28)), *down, nn.Flatten(), nn.Linear(features, 2 * latent)]
        decoder = body(nn.Linear, [latent, features])
        decoder += [nn.Unflatten(1, coarse), *up, nn.Conv2d(filters[0], 1, 1), nn.Flatten()]
    else:
        encoder = [*body(nn.Linear, [784, *hidden]), nn.Linear(hidden[-1], 2 * latent)]
        decoder = [*body(nn.Linear, [latent, *hidden[::-1]]), nn.Linear(hidden[0], 784)]
    return nn.Sequential(*encoder), nn.Sequential(*decoder)
