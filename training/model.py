"""Lean twins of transformers' Qwen3-VL, InternVL and SmolVLM, for 96 by 96 pictures.

Same mathematics, but only what training needs: whole rows, no cache, one picture size, every picture of a
batch in one tensor. Families differ in their vision tower and in `Config`.
"""

# mypy: disallow-subclassing-any=False
# torch is not there wherever types are checked, so its classes are unknown to the checker.

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import Config
from training.vision import rotate


class RMSNorm(nn.Module):
    """Root-mean-square normalisation in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) → the same."""
        y = x.float()
        return (self.weight * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps))).to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention, with normalised queries and keys where the family has it."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = c.heads, c.kv_heads, c.head_dim
        self.q_proj = nn.Linear(c.hidden, c.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(c.heads * c.head_dim, c.hidden, bias=False)
        self.q_norm = RMSNorm(c.head_dim, c.eps) if c.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(c.head_dim, c.eps) if c.qk_norm else nn.Identity()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """(rows, tokens, width) → the same; mask (rows, 1, tokens, tokens) is added to the scores."""
        b, n, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(b, n, self.heads, self.head_dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(b, n, self.kv_heads, self.head_dim)).transpose(1, 2)
        v = self.v_proj(x).view(b, n, self.kv_heads, self.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        # the query heads of a group are stacked along the tokens, so that keys and values are never repeated
        shared = self.heads // self.kv_heads
        scores = q.reshape(b, self.kv_heads, shared * n, self.head_dim) @ k.transpose(2, 3)
        weights = (scores.view(b, self.heads, n, n) * self.head_dim**-0.5 + mask).softmax(-1).to(v.dtype)
        mixed = weights.view(b, self.kv_heads, shared * n, n) @ v
        return self.o_proj(mixed.view(b, self.heads, n, self.head_dim).transpose(1, 2).reshape(b, n, -1))


class MLP(nn.Module):
    """The gated MLP of the text model."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden, c.intermediate, bias=False)
        self.up_proj = nn.Linear(c.hidden, c.intermediate, bias=False)
        self.down_proj = nn.Linear(c.intermediate, c.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) → the same."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.self_attn = Attention(c)
        self.mlp = MLP(c)
        self.input_layernorm = RMSNorm(c.hidden, c.eps)
        self.post_attention_layernorm = RMSNorm(c.hidden, c.eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """(rows, tokens, width) → the same."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class LanguageModel(nn.Module):
    """The parts of the text model; `DemoModel` runs them."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = RMSNorm(c.hidden, c.eps)


class DemoModel(nn.Module):
    """A twin; `visual` takes patches (M, 144, 192) to picture tokens and what deepstack adds to layers."""

    frequencies: Tensor
    axis: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, c: Config, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.language_model = LanguageModel(c)
        self.register_buffer(
            "frequencies",
            1 / (c.rope_theta ** (torch.arange(0, c.head_dim, 2).float() / c.head_dim)),
            persistent=False,
        )
        axis = torch.zeros(c.head_dim // 2, dtype=torch.long)
        for which in (1, 2):
            axis[which : c.mrope_section[which] * 3 : 3] = which
        self.register_buffer("axis", axis, persistent=False)
        area = c.patch**2
        self.register_buffer("mean", torch.tensor(c.image_mean).repeat_interleave(area), persistent=False)
        self.register_buffer("std", torch.tensor(c.image_std).repeat_interleave(area), persistent=False)
        self._start()

    def _start(self) -> None:
        """Random weights; the layers that write into the residual stream start small."""
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2:
                small = name.endswith(
                    ("o_proj.weight", "down_proj.weight", "attn.proj.weight", "mlp.linear_fc2.weight")
                )
                std = (
                    0.02
                    if name.endswith(("embed_tokens.weight", "pos_embed.weight"))
                    else parameter.shape[1] ** -0.5 * (0.07 if small else 0.7)
                )
                nn.init.normal_(parameter, 0, std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def hidden(
        self, ids: Tensor, patches: Tensor, pictures: Tensor, positions: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Final hidden states (B, T, width) and picture tokens (M, 36, width).

        ids, pictures (B, T): `pictures` is 1 + index into the M * 36 picture tokens, 0 for text; patches
        (M, 144, 192) in 0..1; positions (3, B, T); mask (B, 1, T, T), added to attention scores.
        """
        cos, sin = self._rope(positions)
        seen, deep = self.look(patches)
        is_picture = (pictures > 0)[..., None]

        def spread(tokens: Tensor) -> Tensor:
            return F.pad(tokens.reshape(-1, tokens.shape[-1]), (0, 0, 1, 0))[pictures]

        x = self.language_model.embed_tokens(ids)
        x = torch.where(is_picture, spread(seen).to(x.dtype), x)
        for index, layer in enumerate(self.language_model.layers):
            x = layer(x, cos, sin, mask)
            if index < len(deep):
                x = x + spread(deep[index]).to(x.dtype)
        return self.language_model.norm(x), seen

    def look(self, patches: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Patches (M, 144, 192) in 0..1 → tokens (M, 36, width), and as many for each deepstack layer."""
        seen: tuple[Tensor, list[Tensor]] = self.visual((patches - self.mean) / self.std)
        return seen

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) → (..., vocab); the embedding is the head."""
        return F.linear(hidden, self.language_model.embed_tokens.weight)

    def _rope(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin (B, 1, T, head_dim), each frequency turned by its own one of the three positions."""
        angles = positions[..., None].float() * self.frequencies
        mixed = torch.where(self.axis == 0, angles[0], torch.where(self.axis == 1, angles[1], angles[2]))
        mixed = torch.cat([mixed, mixed], -1)[:, None]
        return mixed.cos(), mixed.sin()
