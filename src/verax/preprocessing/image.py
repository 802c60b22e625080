"""Images as files and arrays, by Keras' module name."""

from __future__ import annotations

from verax.utils.images import array_to_img, img_to_array, load_img, save_img
from verax.utils.resampling import smart_resize

__all__ = ["array_to_img", "img_to_array", "load_img", "save_img", "smart_resize"]
