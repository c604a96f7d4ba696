"""Reads shards as docs/shard-format.md says, and holds them against Pillow's reading of the same images.

    pack-shards DATA --out OUT --threads 1
    python tests/reference/read_shard.py DATA OUT

DATA: train/ and val/ with a folder per class. Needs numpy and Pillow. Exits 1 if a sample is further from Pillow's
than the tolerances below, or if the mean of the training residuals is not within 0.5 of zero at every pixel.
"""

import json
import pathlib
import sys

import numpy
from PIL import Image, ImageOps

HEADER = numpy.dtype([
    ("magic", "S8"), ("version", "<u4"), ("channels", "<u4"), ("height", "<u4"), ("width", "<u4"),
    ("num_samples", "<u8"), ("mean_offset", "<u8"), ("samples_offset", "<u8"), ("labels_offset", "<u8"),
    ("checksums_offset", "<u8"), ("file_bytes", "<u8"), ("dataset_id", "<u8"), ("num_classes", "<u4"),
    ("split", "<u4"), ("shard_index", "<u4"), ("mean_checksum", "<u4"), ("labels_checksum", "<u4"),
    ("checksums_checksum", "<u4"), ("header_checksum", "<u4"), ("reserved", "<u4")])

# Two JPEG decoders may differ by a few levels, and two resizers round twice; where chroma is enlarged by other rules
# single pixels at hard edges differ more.
MEAN_TOLERANCE = 1.0
MAX_TOLERANCE = 24


def read_shard(path):
    """(num_samples, 3, 256, 256) pixels, their labels, and the mean image."""
    data = numpy.memmap(path, numpy.uint8, "r")
    header = data[:HEADER.itemsize].view(HEADER)[0]
    assert header["magic"] == b"AlexShrd" and header["version"] == 1, path
    num, shape = int(header["num_samples"]), (3, 256, 256)
    mean = data[int(header["mean_offset"]):][:196608].reshape(shape)
    stored = data[int(header["samples_offset"]):][:num * 196608].reshape(num, *shape)
    labels = data[int(header["labels_offset"]):][:num * 4].view("<u4")
    return stored + mean, labels, mean  # uint8 addition is modulo 256


def pillow_sample(path):
    """(3, 256, 256): upright, the centre square, resized; the same filter (a = -0.5) as pack-shards uses."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = image.resize((256, 256), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return numpy.asarray(square).transpose(2, 0, 1)


def main(data, out):
    info = json.loads((out / "dataset.json").read_text())
    worst_mean = worst_max = 0.0
    means = []
    num_compared = 0
    for split in ["train", "val"]:
        shards = [read_shard(out / shard["file"]) for shard in info[split]["shards"]]
        for label, folder in enumerate(sorted((data / split).iterdir())):
            packed = numpy.concatenate([pixels[labels == label] for pixels, labels, _ in shards]).astype(numpy.int16)
            thumbnails = packed[:, :, ::8, ::8].reshape(len(packed), -1)
            for path in sorted(folder.iterdir()):
                expected = pillow_sample(path).astype(numpy.int16)
                # Samples are shuffled: the nearest by a coarse grid is the one.
                nearest = numpy.abs(thumbnails - expected[:, ::8, ::8].reshape(-1)).mean(1).argmin()
                difference = numpy.abs(packed[nearest] - expected)
                means.append(difference.mean())
                worst_mean, worst_max = max(worst_mean, difference.mean()), max(worst_max, difference.max())
                num_compared += 1
        if split == "train":
            total = sum((pixels.astype(numpy.int64) - mean).sum(0) for pixels, _, mean in shards)
            residual = numpy.abs(total / info[split]["num_samples"]).max()
            colour = sum(pixels.sum((0, 2, 3), dtype=numpy.int64) for pixels, _, _ in shards)
            colour = colour / (info[split]["num_samples"] * 65536)
            assert numpy.allclose(colour, info["statistics"]["channel_mean"], atol=1e-9), "channel_mean"
            flat = numpy.concatenate([p.transpose(1, 0, 2, 3).reshape(3, -1) for p, _, _ in shards], 1)
            values = numpy.linalg.eigvalsh(numpy.cov(flat.astype(numpy.float64), bias=True))[::-1]
            assert numpy.allclose(values ** 0.5, info["statistics"]["pca_deviation"], rtol=1e-9), "pca_deviation"
    print(f"{num_compared} images against Pillow: mean difference {numpy.mean(means):.3f}, of the worst image "
          f"{worst_mean:.3f}, largest difference of a value {worst_max:.0f}")
    print(f"mean of the training residuals: {residual:.4f} at the worst pixel; channel means and PCA agree with numpy")
    if worst_mean > MEAN_TOLERANCE or worst_max > MAX_TOLERANCE or residual > 0.5:
        sys.exit(f"tolerances: mean {MEAN_TOLERANCE}, largest {MAX_TOLERANCE}, residual 0.5")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
