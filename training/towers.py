"""The vision towers of the InternVL and SmolVLM twins."""

# mypy: disallow-subclassing-any=False
# torch is not there wherever types are checked, so its classes are unknown to the checker.

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import Config
from training.vision import PatchEmbed, VisionBlock, merge_order

# Patches come in merge order, so that both families' pixel shuffle (the four patches of a block side by side,
# row by row) is nothing but a view.


class InternTower(nn.Module):
    """InternViT and its projector (transformers' internvl/modeling_internvl.py)."""

    positions: Tensor

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.joined = c.vision_hidden * c.merge**2
        self.patch_embed = PatchEmbed(c)
        self.class_embed = nn.Parameter(torch.zeros(1, 1, c.vision_hidden))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + c.grid**2, c.vision_hidden))
        self.blocks = nn.ModuleList(
            VisionBlock(c, approximate="none", scaled=True) for _ in range(c.vision_depth)
        )
        self.norm = nn.LayerNorm(self.joined, eps=1e-5)
        self.linear_fc1 = nn.Linear(self.joined, c.hidden)
        self.linear_fc2 = nn.Linear(c.hidden, c.hidden)
        rows, columns = merge_order(c.grid, c.merge)
        # the class token comes first, and its position too
        self.register_buffer(
            "positions", torch.cat([torch.zeros(1).long(), 1 + rows * c.grid + columns]), persistent=False
        )

    def forward(self, patches: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(pictures, 144, 192) → tokens (pictures, 36, text width); nothing goes to deeper layers."""
        m = patches.shape[0]
        embedded = self.patch_embed(patches)
        x = torch.cat([self.class_embed.to(embedded.dtype).expand(m, -1, -1), embedded], 1)
        x = x + self.pos_embed[:, self.positions]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x[:, 1:].reshape(m, -1, self.joined))
        return self.linear_fc2(F.gelu(self.linear_fc1(x))), []


class SmolTower(nn.Module):
    """SigLIP's tower and SmolVLM's connector (transformers' smolvlm/modeling_smolvlm.py)."""

    positions: Tensor

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.joined = c.vision_hidden * c.merge**2
        self.patch_embed = PatchEmbed(c)
        self.pos_embed = nn.Embedding(c.grid**2, c.vision_hidden)
        self.blocks = nn.ModuleList(VisionBlock(c) for _ in range(c.vision_depth))
        self.norm = nn.LayerNorm(c.vision_hidden, eps=1e-6)
        self.connector = nn.Linear(self.joined, c.hidden, bias=False)
        rows, columns = merge_order(c.grid, c.merge)
        self.register_buffer("positions", rows * c.grid + columns, persistent=False)

    def forward(self, patches: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(pictures, 144, 192) → tokens (pictures, 36, text width); nothing goes to deeper layers."""
        x = self.patch_embed(patches) + self.pos_embed(self.positions)
        for block in self.blocks:
            x = block(x)
        return self.connector(self.norm(x).reshape(x.shape[0], -1, self.joined)), []
