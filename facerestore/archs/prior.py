"""The face prior: a plain StyleGAN2 generator whose features can be steered while it draws.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958, configuration F: mapping
network, weight demodulation, RGB by skip connections. Noise is stored with the parameters, so that a result
repeats. Attribute names are those of rosinality/stylegan2-pytorch, of which most published checkpoints are;
`facerestore.backends.priors` brings others to them. Images are RGB in [-1, 1]; shapes are written B C H W, D is
the length of a style.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facerestore.archs.stylegan2 import GeneratorConfig, Steer, SynthesisNetwork

# Any fixed number will do: it makes new networks alike.
NOISE_SEED = 0
# Styles that are averaged for the mean latent: what StyleGAN2's own projector takes (arXiv 1912.04958, appendix D).
MEAN_LATENT_SAMPLES = 10_000


class StyleGAN2Prior(SynthesisNetwork):
    """Draws faces from styles, with noise of its own."""

    w_avg: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.register_buffer("w_avg", torch.zeros(config.style_dim))
        self.noises = _stored_noise(self.noise_sides)

    def forward(self, z: Tensor) -> Tensor:
        """Return faces, B 3 S S.

        Args:
            z: B D, latent codes from a standard normal distribution; styles, where there is no mapping network.
        """
        return self.synthesise(self.expand_latents(self.style(z)))

    def synthesise(
        self, latents: Tensor, noise: Sequence[Tensor] | None = None, *, steer: Steer | None = None
    ) -> Tensor:
        """Return faces, B 3 S S, as `SynthesisNetwork.synthesise`; None takes `draw_noise`."""
        noise = self.draw_noise(latents.shape[0]) if noise is None else noise
        return super().synthesise(latents, noise, steer=steer)

    def draw_noise(self, batch: int) -> list[Tensor]:
        """Return each styled convolution's noise: the stored one, 1 1 r r; in training mode a new one, B 1 r r."""
        if not self.training:
            return self.stored_noise()
        return [torch.randn_like(noise.expand(batch, -1, -1, -1)) for noise in self.stored_noise()]

    def stored_noise(self) -> list[Tensor]:
        """Return the noise of each styled convolution that the weights hold, 1 1 r r."""
        return [self.noises.get_buffer(f"noise_{index}") for index in range(len(self.convs) + 1)]

    @torch.no_grad()
    def set_mean_latent(self) -> None:
        """Store as ``w_avg`` the mean style of many normal latent codes, drawn on the CPU from a fixed seed.

        Raises:
            ValueError: there is no mapping network to make styles with.
        """
        if not self.config.mapping_layers:
            raise ValueError(
                "a prior without mapping network cannot compute its mean style; load it with one"
            )
        source = torch.Generator("cpu").manual_seed(NOISE_SEED)
        size = (MEAN_LATENT_SAMPLES, self.config.style_dim)
        z = torch.randn(size, generator=source, device="cpu").to(self.w_avg)
        self.w_avg.copy_(self.style(z).mean(dim=0))


def _stored_noise(sizes: Sequence[int]) -> nn.Module:
    """Return a module that holds N(0, 1) buffers ``noise_0``, ``noise_1``, ..., 1 1 size size each."""
    source = torch.Generator("cpu").manual_seed(NOISE_SEED)
    holder = nn.Module()
    for index, size in enumerate(sizes):
        value = torch.empty(1, 1, size, size)
        if not value.is_meta:
            value.copy_(torch.randn(1, 1, size, size, generator=source, device="cpu"))
        holder.register_buffer(f"noise_{index}", value)
    return holder
