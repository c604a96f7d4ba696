#!/usr/bin/env python3
"""Draws docs/images/run.jpg, the README's picture: packed samples, docs/images/trace.svg, and predictions.

Usage: docs/images/draw_run.py SHARDS CHECKPOINT OUT.jpg (needs numpy and Pillow; `predict` is built by tools/predict)
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy
from PIL import Image, ImageDraw, ImageFont

IMAGES = pathlib.Path(__file__).resolve().parent
PREDICT = IMAGES.parent.parent / "tools/predict"
SCALE = 1.75  # for screens of high density; all other sizes are those at which the README shows the picture
WIDTH, HEIGHT, LEFT = 880, 486, 12
THUMBNAIL, GAP, NUM_COLUMNS = 79, 7, 10
INK, PALE, RIGHT, WRONG = "#1f2328", "#656d76", "#2c7a3f", "#b3261e"


def samples(path, count):
    """The first pictures of a shard and their labels, as docs/shard-format.md describes them."""
    data = numpy.memmap(path, numpy.uint8, "r")
    total = int(data[24:32].view("<u8")[0])
    mean = data[4096:200704].reshape(3, 256, 256)
    pixels = data[200704:][: 196608 * count].reshape(count, 3, 256, 256) + mean
    labels = data[200704 + 196608 * total :].view("<u4")
    return [Image.fromarray(image) for image in pixels.transpose(0, 2, 3, 1)], labels


def predict(checkpoint, pictures):
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{index}.png" for index in range(len(pictures))]
        for picture, path in zip(pictures, paths):
            picture.save(path)
        command = [PREDICT, "--json", "--top", "3", "--checkpoint", checkpoint, *paths]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main(shards, checkpoint, out):
    image = Image.new("RGB", (round(WIDTH * SCALE), round(HEIGHT * SCALE)), "white")
    draw = ImageDraw.Draw(image)

    def box(x, y, width, height, colour):
        draw.rectangle([x * SCALE, y * SCALE, (x + width) * SCALE - 1, (y + height) * SCALE - 1], fill=colour)

    def text(x, y, words, size=11, colour=INK, anchor="la"):
        draw.text((x * SCALE, y * SCALE), words, colour, ImageFont.load_default(size * SCALE), anchor=anchor)

    def heading(y, command, words):
        text(LEFT, y, command, 14)
        text(LEFT + 108, y + 2, words, 12, PALE)

    def row(y, pictures):
        for column, picture in enumerate(pictures):
            x = round((LEFT + column * (THUMBNAIL + GAP)) * SCALE)
            thumbnail = picture.resize((round(THUMBNAIL * SCALE),) * 2, Image.Resampling.LANCZOS)
            image.paste(thumbnail, (x, round(y * SCALE)))

    dataset = json.load(open(f"{shards}/dataset.json"))
    names = [entry["name"] for entry in dataset["classes"]]
    num_train = dataset["train"]["num_samples"]
    heading(10, "pack-shards", f"{num_train} photographs in {len(names)} classes, as samples of 256 x 256")
    row(34, samples(f"{shards}/train-00000.shard", NUM_COLUMNS)[0])

    heading(132, "train", "the next batches are filled and uploaded while the device computes a step")
    drawing = (IMAGES / "trace.svg").read_text()
    shrink = (WIDTH - 2 * LEFT) / 950
    for x, y, width, height, colour in re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="(#\w+)"', drawing
    ):
        x, y, width, height = (float(value) * shrink for value in (x, y, width, height))
        box(x, 138 + y, max(width - 0.5, 0.6), height, colour)
    for x, y, rest, words in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"([^>]*)>([^<]*)</text>', drawing):
        if "anchor" in rest:
            anchor, colour = ("ms", "white") if "white" in rest else ("rs", INK)
            text(float(x) * shrink, 138 + float(y) * shrink, words, 10, colour, anchor)

    top = 326
    pictures, labels = samples(f"{shards}/val-00000.shard", NUM_COLUMNS)
    heading(top, "predict", "the first images of the validation split")
    row(top + 24, pictures)
    for column, (prediction, label) in enumerate(zip(predict(checkpoint, pictures), labels)):
        for place, likely in enumerate(prediction["classes"]):
            x, y = LEFT + column * (THUMBNAIL + GAP), top + 110 + 14 * place
            true = likely["class"] == names[label]
            box(x, y, max(1, THUMBNAIL * likely["probability"]), 12, "#cfe8d5" if true else "#e7e9ec")
            text(x + 2, y + 6, likely["class"], 9, RIGHT if true else PALE, "lm")
            text(x + THUMBNAIL, y + 6, f"{100 * likely['probability']:.0f}%", 9, PALE, "rm")
    image.save(out, quality=80, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
