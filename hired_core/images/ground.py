"""What transparent images are laid over: white, or black where white would show nothing."""

from __future__ import annotations

from typing import Final

from PIL import Image

_NEAR_WHITE: Final = 224  # of 255: what is lighter is hardly told from white
_SEEN: Final = 1 / 200


def lay_over_ground(image: Image.Image) -> tuple[Image.Image, bool]:
    """RGB of an image with transparency, over white; or over black, which the flag says.

    Black where fewer than one in 200 of the pixels that are not quite transparent are darker than
    224 of 255 over white, and some pixel is transparent: a white logo. An opaque
    image has no ground.
    """
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB"), False
    over_white = _over(rgba, "white")
    num_visible = alpha.width * alpha.height - alpha.histogram()[0]
    num_dark = sum(over_white.convert("L").histogram()[:_NEAR_WHITE])
    if num_dark < num_visible * _SEEN:
        return _over(rgba, "black"), True
    return over_white, False


def _over(rgba: Image.Image, colour: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", rgba.size, colour), rgba).convert("RGB")
