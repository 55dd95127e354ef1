"""What a package says of itself, without a file's or folder's name being believed."""

from pathlib import Path

import pytest

from backends.axcl.package import open_package
from backends.base import PackageError
from backends.emulator import Emulator
from tests.axcl.published import PUBLISHED, REFUSED, write
from tests.packages import free_bytes, opened, vision_package


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_package_is_described_as_it_was_built(name: str, tmp_path: Path) -> None:
    model = PUBLISHED[name]
    package = open_package(write(tmp_path / "model", model))
    assert package.prefix == model.prefix
    with opened(Emulator()) as backend:
        found = backend.describe(package)
        info, layout = found.info, found.layout
        assert (info.num_layers, info.hidden_size, info.kv_dim, info.vocab_size, info.index_rows) == (
            model.num_layers,
            model.hidden,
            model.kv_dim,
            model.vocab,
            model.index_rows,
        )
        assert tuple(group.history for group in layout.decode) == model.decode
        assert tuple(group.history for group in layout.prefill) == model.histories
        assert (info.context_length, info.prefill_chunk) == (model.decode[-1], model.chunk)
        assert {group.index_rows for group in layout.decode} == {1}
        if not model.vision:
            assert found.vision is None
            return
        assert found.vision is not None
        seen = (*found.vision.inputs, *found.vision.outputs)
        assert [(each.name, each.dtype, each.shape) for each in seen] == [model.pixels, *model.features]


@pytest.mark.parametrize("name", REFUSED)
def test_a_published_package_that_cannot_be_driven_is_refused_by_its_shapes(
    name: str, tmp_path: Path
) -> None:
    model, why = REFUSED[name]
    package = open_package(write(tmp_path / "model", model))
    with opened(Emulator()) as backend:
        before = free_bytes(backend)
        with pytest.raises(PackageError) as caught:
            backend.describe(package)
        assert str(caught.value).startswith(f"{package.layers[0].name} {why}")
        assert free_bytes(backend) == before


def test_a_description_is_what_the_decoder_says_of_itself() -> None:
    with opened(Emulator()) as backend:
        before = free_bytes(backend)
        described = backend.describe(vision_package())
        assert described.info == backend.decoder(vision_package()).info
    with opened(Emulator()) as backend:
        assert free_bytes(backend) == before
