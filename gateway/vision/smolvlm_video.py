"""What SmolVLM2 sees of a video, and what it is told: how many frames, how long, and when each was taken.

Sources: transformers 5.23, smolvlm/processing_smolvlm.py, whose number words are those of num2words, and
smolvlm/video_processing_smolvlm.py.
"""

from datetime import timedelta

import numpy as np

from gateway.vision.video import Video

MOST_FRAMES = 99
"""As far as `number_words` goes."""

SKIPPED_S = 1
"""Left out at both ends of a long video."""

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def describe(video: Video, picture: str) -> str:
    """The text that takes the place of a video's marker; `picture` stands for each frame in it."""
    count, duration = number_words(len(video.frames)), timedelta(seconds=int(video.duration_s))
    text = f"You are provided the following series of {count} frames from a {duration} [H:MM:SS] video.\n"
    for frame in video.frames:
        minutes, seconds = divmod(int(frame.time_s), 60)
        text += f"\nFrame from {minutes:02d}:{seconds:02d}:{picture}"
    return f"{text}\n\n"


def taken(num_frames: int, rate: float, fps: float, number: int | None, most: int) -> list[int]:
    """Which of the frames of a video, `rate` of them a second, are seen: `number`, or `fps` of each second,
    and never more than `most`, evenly. (The reference's `sample_frames`, which takes `fps` alone.)"""
    duration_s = num_frames / rate
    wanted = round(fps * duration_s) if number is None else number
    first, last = 0, num_frames - 1
    if duration_s - 2 * SKIPPED_S > most * fps:
        first = int(SKIPPED_S * rate)
        last = min(int(num_frames - SKIPPED_S * rate), last)
    places = np.linspace(first, last, max(1, min(wanted, most)), dtype=int)
    return [int(place) for place in np.unique(places)]


def number_words(number: int) -> str:
    """0 to 99 in English."""
    if number < len(_SMALL):
        return _SMALL[number]
    tens, rest = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_SMALL[rest]}" if rest else "")
