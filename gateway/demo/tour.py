"""What the demo does: a few questions about two pictures to each model, over HTTP, and how to ask more."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from gateway.demo import MODEL_NAME, PICTURES
from gateway.remote import Remote, image_part, user_message
from gateway.terminal import tell

SHAPES, WORD = PICTURES / "shapes.png", PICTURES / "word.png"


@dataclass(frozen=True, slots=True)
class Question:
    """`answer` is what the pictures show, in the words the models were taught. `hard` ones are for the first
    model alone, which was trained longest; the others describe and read less well (their MODEL_CARD.md)."""

    text: str
    pictures: tuple[Path, ...]
    answer: str
    hard: bool = False


QUESTIONS = (
    Question(
        "What is in this image?",
        (SHAPES,),
        "a small pink square at the top left, a large white triangle at the top right, "
        "a small gray circle at the middle left, on a blue background.",
        hard=True,
    ),
    Question("What does the text say?", (WORD,), "COFFEE", hard=True),
    Question("What is at the top left?", (SHAPES,), "a pink square"),
    Question("Do both images have the same background color?", (SHAPES, WORD), "no"),
)


def tour(base_url: str, console: Console) -> bool:
    """Ask every model, and print the answers as they come with what they took, a wrong one with the right one
    below; whether all were right. Raises RemoteError when one fails."""
    with Remote(base_url) as remote:
        names = [model["id"] for model in remote.models()]
        return all([_visit(remote, name, console) for name in names])


def _visit(remote: Remote, model: str, console: Console) -> bool:
    console.print(f"\n[bold]{model}[/]")
    all_right = True
    for question in QUESTIONS:
        if question.hard and model != MODEL_NAME:
            continue
        names = ", ".join(path.name for path in question.pictures)
        console.print(f"\n[bold]{question.text}[/] [dim]{names}[/]")
        asked = user_message(question.text, [image_part(path) for path in question.pictures])
        answer = tell(console, remote.ask(model, [asked], temperature=0)).strip()
        if answer != question.answer:
            all_right = False
            console.print(f"✗ right would be: {question.answer}", style="red", highlight=False)
    return all_right


def invitation(base_url: str) -> str:
    """Two ways to ask on, to be pasted into a shell."""
    return f"""\
With curl:

curl -N {base_url}/chat/completions -H 'Content-Type: application/json' --data-binary @- <<END
{{"model": "{MODEL_NAME}", "stream": true, "messages": [{{"role": "user", "content": [
  {{"type": "image_url", "image_url": {{
    "url": "data:image/png;base64,$(base64 < '{SHAPES}' | tr -d '\\n')"}}}},
  {{"type": "text", "text": "What is in this image?"}}]}}]}}
END

With the openai package:

python3 - <<'END'
import base64, openai
client = openai.OpenAI(base_url="{base_url}", api_key="none")
picture = base64.b64encode(open("{SHAPES}", "rb").read()).decode()
stream = client.chat.completions.create(model="{MODEL_NAME}", stream=True, messages=[
    {{"role": "user", "content": [
        {{"type": "image_url", "image_url": {{"url": "data:image/png;base64," + picture}}}},
        {{"type": "text", "text": "What is in this image?"}}]}}])
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
END
"""
