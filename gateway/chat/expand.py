"""One marker per picture -> the placeholders that its features fill."""

from collections.abc import Sequence

import numpy as np

from gateway.engine.prompt import Prompt, PromptImage
from gateway.vision.encoder import Pixels, Span, VisionEncoder


def expand(
    token_ids: Sequence[int], marker_id: int, pictures: Sequence[Pixels], encoder: VisionEncoder
) -> Prompt:
    """The k-th marker in `token_ids` becomes as many placeholders (the same id) as the k-th picture has
    tokens; there are as many markers as pictures."""
    ids: list[int] = []
    images: list[PromptImage] = []
    waiting = iter(pictures)
    for token_id in token_ids:
        if token_id == marker_id:
            pixels = next(waiting)
            images.append(PromptImage(Span(len(ids), pixels.grid), pixels))
            ids.extend([marker_id] * pixels.num_tokens)
        else:
            ids.append(token_id)
    positions = encoder.positions(len(ids), [image.span for image in images])
    return Prompt(np.array(ids, dtype=np.int64), positions, tuple(images))
