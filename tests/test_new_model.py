"""A model of a known family needs an entry of vision_models.json, and not a line of code."""

import json
from pathlib import Path

import pytest
from openai import OpenAI
from PIL import Image

from backends.export import ExportOptions, export_package
from gateway.demo import CHECKPOINTS, PICTURES
from gateway.vision.registry import ENTRIES
from tests.packages import no_progress
from tests.served import served, user

# Graphs for pictures of a size that nobody else has, by the entry for another size of the same family.
SIZES = {
    "axgate-demo": ("axgate-demo-96", {"width": 128, "height": 112}, 8 * 7),
    "axgate-demo-internvl": ("axgate-demo-internvl-96", {"image_size": 128}, 8 * 8),
}


@pytest.mark.parametrize("name", SIZES)
def test_a_model_of_a_known_family_is_an_entry_and_nothing_else(tmp_path: Path, name: str) -> None:
    known, numbers, num_tokens = SIZES[name]
    entry = json.loads(ENTRIES.read_text())[known] | numbers
    models, package = tmp_path / "models.json", tmp_path / "mine"
    models.write_text(json.dumps({"mine": entry}))
    width, height = numbers.get("width", 128), numbers.get("height", 128)
    options = ExportOptions(255, 64, (64, 128), image_width=width, image_height=height)
    export_package(CHECKPOINTS[name], package, options, no_progress)
    words = ("--device", "emulator", "--model", str(package), "--vision-models", str(models))
    with served(*words) as gateway, OpenAI(base_url=gateway.base_url, api_key="none") as client:
        (model,) = client.models.list().data
        assert model.to_dict()["min_tokens_per_image"] == num_tokens
        with Image.open(PICTURES / "shapes.png") as picture:
            asked = user("What color is the background?", picture.convert("RGB"))
        answer = client.chat.completions.create(model="mine", messages=[asked], temperature=0, max_tokens=8)
    assert answer.choices[0].message.content == "blue"
    assert answer.usage
    assert answer.usage.prompt_tokens > num_tokens
