#!/usr/bin/env python3
"""Packing, in images a second: this project, FFCV's writer, and torchvision with Pillow, in turns on the same images.

    benches/peers/install VENV
    cargo bench --bench pack -- --data DATA --rounds 0     # makes 4,000 JPEGs of 500 x 375 pixels, a folder per class
    VENV/bin/python benches/peers/pack.py --data DATA --out OUT [--rounds 5]

Each decodes every JPEG, crops and resizes it to 256 x 256 pixels and writes them raw, on 2 threads or processes. OUT
lies on the disk that is measured, and the images should fit in the page cache. A measurement is its own process and
ends when everything is on the disk: pack-shards waits for that itself; the peers' file is synced after them, and their
time without that is shown too. Imports are not counted, starting the workers is.

They do not all do the same work. pack-shards writes every sample twice, since it subtracts the mean of all of them, and
writes checksums, sums and the state that a killed packer resumes from; the peers write once. It resizes by Catmull-Rom,
as torchvision's script does (Pillow's BICUBIC); FFCV by OpenCV's INTER_AREA, which is cheaper. FFCV does not crop, so
it gets the centre square, decoded by Pillow as in its own examples.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import random
import resource
import subprocess
import sys
import time

from turns import in_turns, ratio, spread

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIDE, WORKERS = 256, 2


def images(data):
    """(path, label) of each image, shuffled as datasets are packed."""
    classes = sorted(path for path in data.iterdir() if path.is_dir())
    found = [(path, label) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]
    random.Random(0).shuffle(found)
    return found


def write_ffcv(found, path):
    import numpy as np
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter
    from PIL import Image

    class Squares:
        def __len__(self):
            return len(found)

        def __getitem__(self, index):
            file, label = found[index]
            image = np.asarray(Image.open(file).convert("RGB"))
            side = min(image.shape[:2])
            top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            return image[top : top + side, left : left + side], label

    fields = {"image": RGBImageField(write_mode="raw", max_resolution=SIDE), "label": IntField()}
    return lambda: DatasetWriter(str(path), fields, num_workers=WORKERS).from_indexed_dataset(Squares())


def write_torchvision(found, path):
    import numpy as np
    from PIL import Image
    from torchvision.transforms import v2

    transform = v2.Compose([v2.Resize(SIDE, v2.InterpolationMode.BICUBIC), v2.CenterCrop(SIDE)])

    def write_some(worker):
        with open(path, "r+b") as file:
            for index in range(worker, len(found), WORKERS):
                pixels = np.asarray(transform(Image.open(found[index][0]).convert("RGB")))
                os.pwrite(file.fileno(), pixels.tobytes(), index * pixels.nbytes)

    def write():
        path.touch()
        processes = [multiprocessing.Process(target=write_some, args=(worker,)) for worker in range(WORKERS)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0

    return write


PEERS = {"ffcv": write_ffcv, "torchvision": write_torchvision}


def cpu_seconds():
    return sum(sum(resource.getrusage(who)[:2]) for who in [resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN])


def measure_peer(name, options):
    found, path = images(options.data), options.out / "peer"
    write = PEERS[name](found, path)
    cpu, begun = cpu_seconds(), time.perf_counter()
    write()
    written = time.perf_counter() - begun
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begun
    for worker in multiprocessing.active_children():  # FFCV leaves its own, and what nobody waited for is not counted
        worker.join()
    cpu = cpu_seconds() - cpu
    assert path.stat().st_size >= len(found) * 3 * SIDE * SIDE, "every image at its size"
    path.unlink()
    return {"seconds": seconds, "written_seconds": written, "cpu_seconds": cpu}


def measure(name, options):
    """In a process of its own, once the disk has nothing else to do."""
    os.sync()
    if name == "alexnet":
        command = [options.pack_shards, options.data, "--out", options.out / "shards", "--threads", WORKERS]
        command += ["--val-fraction", 0, "--force"]
        cpu, begun = cpu_seconds(), time.perf_counter()
        subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - begun
        return {"seconds": seconds, "written_seconds": seconds, "cpu_seconds": cpu_seconds() - cpu}
    command = [sys.executable, __file__, "--data", options.data, "--out", options.out, "--measure", name]
    run = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(run.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="a folder a class")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a folder for what is written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pack-shards", default=str(ROOT / "tools" / "pack-shards"), help="this project's pack-shards")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--measure", choices=list(PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure_peer(options.measure, options)))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    num_images = len(images(options.data))
    names = ["alexnet", *options.peers]
    rate = lambda one: num_images / one["seconds"]
    found = in_turns(names, options.rounds, lambda name: measure(name, options), rate)
    rates = {name: {key: [num_images / one[key] for one in found[name]] for key in found[name][0]} for name in names}
    print(f"{num_images} images, {WORKERS} threads, {options.rounds} rounds: median (lowest to highest)")
    print("Ratios are taken round by round.")
    faster = "alexnet is faster by"
    print(f"| | images/s | without its fsync | {faster} | images per CPU second | {faster}, CPU |")
    print("|---|---|---|---|---|---|")
    for name in names:
        ratios = [ratio(rates["alexnet"][key], rates[name][key]) for key in ["seconds", "cpu_seconds"]]
        wall, written, cpu = (spread(rates[name][key]) for key in ["seconds", "written_seconds", "cpu_seconds"])
        print(f"| {name} | {wall} | {written} | {ratios[0]} | {cpu} | {ratios[1]} |")


if __name__ == "__main__":
    main()
