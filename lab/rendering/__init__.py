"""The rendered benchmark: pictures with known content and questions about them.

A picture is plain data made from a seed (`compose`), drawn with masks that say what each pixel
shows (`drawing`), and asked about (`tasks`). Training, validation and test share no seed, no font
and no kind of background (`splits`).
"""

from lab.rendering.benchmark import render
from lab.rendering.tasks import TASKS

__all__ = ["TASKS", "render"]
