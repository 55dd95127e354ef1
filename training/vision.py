"""The vision tower of the Qwen3-VL twin, pictures → tokens of the text model; the blocks of all towers."""

# mypy: disallow-subclassing-any=False
# torch is not there wherever types are checked, so its classes are unknown to the checker.

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import Config


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions; cos and sin repeat over the two halves of the last axis."""
    first, second = x.chunk(2, -1)
    return (x * cos + torch.cat((-second, first), -1) * sin).to(x.dtype)


class VisionAttention(nn.Module):
    """Full attention within one picture."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.qkv = nn.Linear(c.vision_hidden, 3 * c.vision_hidden)
        self.proj = nn.Linear(c.vision_hidden, c.vision_hidden)
        self.heads = c.vision_heads

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None) -> Tensor:
        """(pictures, patches, width) → the same; `rope` is cos and sin of rotary positions."""
        m, n, width = x.shape
        q, k, v = self.qkv(x).view(m, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if rope is not None:
            q, k = rotate(q, *rope).to(v.dtype), rotate(k, *rope).to(v.dtype)
        weights = ((q @ k.transpose(2, 3)) * (width // self.heads) ** -0.5).softmax(-1).to(v.dtype)
        return self.proj((weights @ v).transpose(1, 2).reshape(m, n, width))


class VisionMLP(nn.Module):
    """Two layers around a GELU; `approximate` is which, as torch names it."""

    def __init__(self, c: Config, approximate: str) -> None:
        super().__init__()
        self.approximate = approximate
        self.linear_fc1 = nn.Linear(c.vision_hidden, c.vision_intermediate)
        self.linear_fc2 = nn.Linear(c.vision_intermediate, c.vision_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) → the same."""
        return self.linear_fc2(F.gelu(self.linear_fc1(x), approximate=self.approximate))


class VisionBlock(nn.Module):
    """Pre-norm attention and MLP; `scaled` weighs each channel of what they add (LayerScale)."""

    def __init__(self, c: Config, approximate: str = "tanh", scaled: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(c.vision_hidden, eps=1e-6)
        self.norm2 = nn.LayerNorm(c.vision_hidden, eps=1e-6)
        self.attn = VisionAttention(c)
        self.mlp = VisionMLP(c, approximate)
        self.scaled = scaled
        if scaled:
            self.lambda_1 = nn.Parameter(torch.ones(c.vision_hidden))
            self.lambda_2 = nn.Parameter(torch.ones(c.vision_hidden))

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(pictures, patches, width) → the same."""
        attended = self.attn(self.norm1(x), rope)
        x = x + (self.lambda_1 * attended if self.scaled else attended)
        changed = self.mlp(self.norm2(x))
        return x + (self.lambda_2 * changed if self.scaled else changed)


class Merger(nn.Module):
    """Four neighbouring patches → one token for the text model; `late` normalises after joining them."""

    def __init__(self, c: Config, late: bool) -> None:
        super().__init__()
        self.joined = c.vision_hidden * c.merge**2
        self.late = late
        self.norm = nn.LayerNorm(self.joined if late else c.vision_hidden, eps=1e-6)
        self.linear_fc1 = nn.Linear(self.joined, self.joined)
        self.linear_fc2 = nn.Linear(self.joined, c.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(pictures, patches, vision width) → (pictures, patches / 4, text width)."""
        m = x.shape[0]
        x = self.norm(x.view(m, -1, self.joined) if self.late else x).view(m, -1, self.joined)
        return self.linear_fc2(F.gelu(self.linear_fc1(x)))


class PatchEmbed(nn.Module):
    """The convolution over patches, as a product with the flattened patch of one picture, not two frames."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.proj = nn.Linear(3 * c.patch**2, c.vision_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(pictures, patches, 192) → (pictures, patches, width)."""
        return self.proj(x)


def merge_order(grid: int, merge: int) -> tuple[Tensor, Tensor]:
    """Row and column of every patch in the order the tower sees them: block by block of merge x merge."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")

    def ordered(values: Tensor) -> Tensor:
        blocks = values.reshape(grid // merge, merge, grid // merge, merge)
        return blocks.transpose(1, 2).flatten()

    return ordered(rows), ordered(columns)


class Visual(nn.Module):
    """The vision tower."""

    positions: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.deepstack = c.deepstack
        self.patch_embed = PatchEmbed(c)
        self.pos_embed = nn.Embedding(c.grid**2, c.vision_hidden)
        self.blocks = nn.ModuleList(VisionBlock(c) for _ in range(c.vision_depth))
        self.merger = Merger(c, late=False)
        self.deepstack_merger_list = nn.ModuleList(Merger(c, late=True) for _ in c.deepstack)
        rows, columns = merge_order(c.grid, c.merge)
        half = c.vision_hidden // c.vision_heads // 2
        frequencies = 1 / (10000 ** (torch.arange(0, half, 2).float() / half))
        angles = torch.cat([rows[:, None] * frequencies, columns[:, None] * frequencies], -1)
        angles = torch.cat([angles, angles], -1)
        self.register_buffer("positions", rows * c.grid + columns, persistent=False)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, patches: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(pictures, 144, 192) → tokens (pictures, 36, text width) and one like it per deepstack layer."""
        x = self.patch_embed(patches) + self.pos_embed(self.positions)
        deep: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x, (self.cos, self.sin))
            if index in self.deepstack:
                deep.append(self.deepstack_merger_list[self.deepstack.index(index)](x))
        return self.merger(x), deep


def patches(pixels: Tensor, patch: int = 8, merge: int = 2) -> Tensor:
    """Pictures (M, S, S, 3) uint8 → (M, S² / patch², 3 * patch²) float32 in 0..1, in merge order."""
    m, side, _, _ = pixels.shape
    blocks = side // patch // merge
    x = pixels.reshape(m, blocks, merge, patch, blocks, merge, patch, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    return x.reshape(m, (side // patch) ** 2, 3 * patch**2).float() / 255
