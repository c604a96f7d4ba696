"""Makes a small folder of JPEGs for read_shard.py: train/ and val/, a folder a class, of many sizes.

    python tests/reference/make_images.py DATA

Smooth gradients with discs and some noise, so that resamplers are compared on edges and on slopes. Needs numpy and
Pillow.
"""

import pathlib
import sys

import numpy
from PIL import Image

SIZES = [(500, 375), (375, 500), (256, 256), (300, 257), (640, 480), (200, 150)]


def image(random, width, height):
    y, x = numpy.mgrid[:height, :width] / max(width, height)
    slopes = random.uniform(-1, 1, (3, 2)) * 120
    pixels = 128 + slopes[:, 0, None, None] * (x - 0.4) + slopes[:, 1, None, None] * (y - 0.4)
    for _ in range(4):
        centre, radius = random.uniform(0, 0.8, 2), random.uniform(0.05, 0.3)
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
        pixels = numpy.where(inside, random.uniform(0, 255, (3, 1, 1)), pixels)
    pixels = pixels + random.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8).transpose(1, 2, 0))


def main(data):
    random = numpy.random.default_rng(1)
    for split, num in [("train", 12), ("val", 6)]:
        for name in ["discs", "more-discs"]:
            folder = data / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(num):
                # Whole chroma: how halved chroma is enlarged again is each decoder's own.
                image(random, *SIZES[index % len(SIZES)]).save(folder / f"{index}.jpg", quality=95, subsampling=0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
