"""Diffusion: chunks from noise that a network learns to recognise and take away.

Paper's word -> variable: data x_0 -> ``chunk``, epsilon -> ``noise`` and what ``denoise`` returns, step t -> number of
one of :data:`LEVELS` training levels, alpha-bar_t -> ``kept``, DDIM steps -> ``inference_steps``.  The network is shown
the number as ``level`` = number / LEVELS: almost clean at 0, here, and almost noise at 1.

Sources: Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020 (training); Nichol and Dhariwal, Improved
Denoising Diffusion Probabilistic Models, ICML 2021 (squared-cosine schedule, and fewer levels at sampling); Song et
al., Denoising Diffusion Implicit Models, ICLR 2021 (sampling); Chi et al., Diffusion Policy, RSS 2023.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.policies.chunks.process import Denoise
from workbench.policies.chunks.steering import NormalisedSteering, reward_gradient

LEVELS = 100
"""Noise levels in training."""
HIGHEST = 94
"""Levels that sampling goes through.  Above them less than a tenth of the chunk shows through the noise: whether noise
alone or a noisy chunk stands there makes no difference, while the clean chunk that is read from a prediction, divided
by that, would be all error.  (Lin et al., WACV 2024, on where sampling has to begin.)"""


class Diffusion:
    """Denoising diffusion with noise prediction; sampled deterministically, clean chunks clipped to -1..1."""

    most_steps: float = HIGHEST

    def loss(self, denoise: Denoise, chunk: torch.Tensor, noise: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Mean squared error (n, K) of the noise; Ho et al., equation 14."""
        number = (level * LEVELS).long().clamp(max=LEVELS - 1)
        kept = training_schedule().to(level.device)[number][..., None, None]
        noisy = kept.sqrt() * chunk + (1 - kept).sqrt() * noise
        return (denoise(noisy, number / LEVELS) - noise).square().mean(dim=(-2, -1))

    def sample(
        self, denoise: Denoise, noise: torch.Tensor, steps: int, steering: NormalisedSteering | None = None
    ) -> torch.Tensor:
        """Chunks (n, K, H, A) from noise of that shape; DDIM (Song et al., equation 12) with sigma = 0.

        A start takes as many steps on its shorter way, but no more than there are levels on it.
        """
        steering = steering or NormalisedSteering()
        highest = round(steering.start_level * HIGHEST)
        chunk = noise
        if steering.start is not None and highest < HIGHEST:
            if highest == 0:
                return steering.start.expand_as(noise)
            kept = training_schedule()[highest - 1]
            chunk = kept.sqrt() * steering.start + (1 - kept).sqrt() * noise
        numbers = spaced(highest, min(steps, highest))
        schedule = sampling_schedule(numbers)
        for step in reversed(range(len(numbers))):
            epsilon = self.epsilon(denoise, chunk, numbers[step], steering)
            # With the noise that the clipped clean chunk leaves (Nichol et al., GLIDE, ICML 2022): a reward that
            # presses beyond the bound would change the noise alone otherwise, and drive the chunk to the other bound.
            chunk = schedule.step(epsilon, step, chunk, use_clipped_model_output=True).prev_sample
        return chunk

    def epsilon(self, denoise: Denoise, noisy: torch.Tensor, number: int, steering: NormalisedSteering) -> torch.Tensor:
        """Noise (n, K, H, A) in chunks at a training level, less what leads to what is rewarded.

        epsilon - sqrt(1 - alpha-bar) * gradient; Dhariwal and Nichol, Diffusion Models Beat GANs, NeurIPS 2021,
        algorithm 2.
        """
        if steering.reward is None:
            return self.predict(denoise, noisy, number)[0]
        epsilon, gradient = reward_gradient(lambda x: self.predict(denoise, x, number), noisy, steering)
        kept = training_schedule()[number]
        if not steering.through_network:
            gradient = kept.sqrt() * gradient  # by which the clean chunk of standard normal data follows the noisy one
        return epsilon - (1 - kept).sqrt() * gradient

    def predict(self, denoise: Denoise, noisy: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise in chunks at a training level, and the clean chunk without it."""
        kept = training_schedule()[number]
        epsilon = denoise(noisy, noisy.new_full((1, 1), number / LEVELS))
        return epsilon, (noisy - (1 - kept).sqrt() * epsilon) / kept.sqrt()


@functools.cache
def training_schedule() -> torch.Tensor:
    """What is kept of a chunk's variance (LEVELS,) at each training level."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    kept: torch.Tensor = DDPMScheduler(LEVELS, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    return kept


def spaced(highest: int, steps: int) -> tuple[int, ...]:
    """So many training levels, evenly among the first ``highest`` ones, the last of them included."""
    return tuple(highest * (step + 1) // steps - 1 for step in range(steps))


@functools.cache
def sampling_schedule(numbers: tuple[int, ...]) -> Any:
    """DDIM scheduler that knows some training levels only, as its own 0, 1, ... (Nichol and Dhariwal, section 4).

    Its own spacing of many levels into few steps takes ``100 // steps`` at a time, which skips or repeats some wherever
    that division has a remainder.  It is never changed afterwards, so calls and threads may share it.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    kept = training_schedule()[list(numbers)].double()
    before = torch.cat([kept.new_ones(1), kept[:-1]])
    schedule = DDIMScheduler(len(numbers), trained_betas=(1 - kept / before).tolist(), clip_sample=True)
    schedule.set_timesteps(len(numbers))
    return schedule


class DiffusionPolicy(ChunkPolicy):
    """Chunks by diffusion; parameters as of :class:`workbench.policies.chunks.chunk_policy.ChunkPolicy`."""

    process = Diffusion()
