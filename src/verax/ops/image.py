"""Functions of images, by Keras' names, on arrays, variables and symbolic tensors alike.

>>> from verax import layers, ops
>>> ops.image.resize(layers.Input((8, 8, 3)), (4, 6))
<SymbolicTensor 'resize', shape (None, 4, 6, 3), float32>
"""

from __future__ import annotations

from verax.ops import image_color, image_filters, image_sampling, image_sizes
from verax.ops.lifted import lift_function

__all__ = [
    "affine_transform",
    "crop_images",
    "elastic_transform",
    "extract_patches",
    "extract_patches_3d",
    "gaussian_blur",
    "hsv_to_rgb",
    "map_coordinates",
    "pad_images",
    "perspective_transform",
    "resize",
    "rgb_to_grayscale",
    "rgb_to_hsv",
    "scale_and_translate",
    "sobel_edges",
    "ssim",
]

affine_transform = lift_function(image_sampling.affine_transform, "affine_transform")
crop_images = lift_function(image_sizes.crop_images, "crop_images")
elastic_transform = lift_function(image_sampling.elastic_transform, "elastic_transform")
extract_patches = lift_function(image_sizes.extract_patches, "extract_patches")
extract_patches_3d = lift_function(image_sizes.extract_patches_3d, "extract_patches_3d")
gaussian_blur = lift_function(image_filters.gaussian_blur, "gaussian_blur")
hsv_to_rgb = lift_function(image_color.hsv_to_rgb, "hsv_to_rgb")
map_coordinates = lift_function(image_sampling.map_coordinates, "map_coordinates")
pad_images = lift_function(image_sizes.pad_images, "pad_images")
perspective_transform = lift_function(image_sampling.perspective_transform, "perspective_transform")
resize = lift_function(image_sizes.resize, "resize")
rgb_to_grayscale = lift_function(image_color.rgb_to_grayscale, "rgb_to_grayscale")
rgb_to_hsv = lift_function(image_color.rgb_to_hsv, "rgb_to_hsv")
scale_and_translate = lift_function(image_sizes.scale_and_translate, "scale_and_translate")
sobel_edges = lift_function(image_filters.sobel_edges, "sobel_edges")
ssim = lift_function(image_filters.ssim, "ssim")
