"""The vendor's sampling defaults: post_config.json."""

import json
from collections.abc import Mapping
from math import inf
from pathlib import Path

from backends.base import PackageError


def read_sampling(path: Path) -> Mapping[str, float]:
    """temperature, top_k, top_p and repetition_penalty as the vendor's runner samples; empty without a file
    or with an empty one. Raises PackageError naming file and field.

    Source: AXERA-TECH/ax-llm, LLMPostprocess. It draws by top-p, else by top-k, else takes the likeliest
    token; a value counts only where its `enable_` is true. Its penalty looks back at `penalty_window` tokens,
    ours at all of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text) if text.strip() else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise PackageError(f"{path}: expected JSON: {error}") from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise PackageError(f"{path}: expected a JSON object, found {type(config).__name__}")

    def enabled(switch: str, name: str, otherwise: float) -> float:
        on, value = config.get(f"enable_{switch}", False), config.get(name, otherwise)
        if not isinstance(on, bool):
            raise PackageError(f"{path}: enable_{switch}: expected true or false, found {on!r}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
            raise PackageError(f"{path}: {name}: expected a number of 0 or more, found {value!r}")
        return value if on else otherwise

    top_p, top_k = enabled("top_p_sampling", "top_p", 0.0), int(enabled("top_k_sampling", "top_k", 0))
    temperature = enabled("temperature", "temperature", 1.0)
    return {
        "temperature": temperature if top_p or top_k else 0.0,
        "top_k": 0 if top_p else top_k,
        "top_p": top_p or 1.0,
        "repetition_penalty": enabled("repetition_penalty", "repetition_penalty", 1.0) or 1.0,
    }
