#!/usr/bin/env python3
"""Input alone, in images a second: this project, FFCV, DALI and PyTorch's DataLoader, in turns on the same images.

    benches/peers/install VENV
    VENV/bin/python benches/peers/input.py --shards OUT [--work DIR] [--rounds 5] [--seconds 5]

The shards' images are exported once to the format that each peer reads fastest without decoding: raw 256 x 256 pixels,
in a .beton for FFCV, in .npy files for DALI, in one array for PyTorch. All of it should fit in the page cache (four
times 192 KiB an image), so that the loaders are compared and not the disk. Each makes batches of 128 in 16-bit floats
on 2 threads or processes: a random 224 x 224 crop, mirrored half of the time, minus the mean.

They do not all do the same work. This project subtracts the mean image, adds the paper's colour jitter, writes planes
on a canvas of 227 x 227 and verifies each sample's checksum once. PyTorch subtracts the mean of each channel and adds
the jitter; FFCV and DALI subtract the mean of each channel only. FFCV writes interleaved pixels; planes would need
another pass.

Each measurement is its own process: the first epoch is warm-up, then whole batches are taken for the given seconds.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import numpy as np

from turns import in_turns, ratio, spread

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIDE, CROP = 256, 224
BATCH_SIZE, WORKERS = 128, 2
MEAN = [120.0, 115.0, 105.0]
HEADER = np.dtype([
    ("magic", "S8"), ("version", "<u4"), ("channels", "<u4"), ("height", "<u4"), ("width", "<u4"),
    ("num_samples", "<u8"), ("mean_offset", "<u8"), ("samples_offset", "<u8"), ("labels_offset", "<u8")])


def shard_pixels(shards):
    """(N, 3, 256, 256) of each training shard in turn, and labels (N), read as docs/shard-format.md says."""
    for path in sorted(shards.glob("train-*.shard")):
        data = np.memmap(path, np.uint8, "r")
        header = data[: HEADER.itemsize].view(HEADER)[0]
        assert header["magic"] == b"AlexShrd" and header["version"] == 1, path
        num, shape = int(header["num_samples"]), (3, SIDE, SIDE)
        mean = data[int(header["mean_offset"]) :][: 3 * SIDE * SIDE].reshape(shape)
        stored = data[int(header["samples_offset"]) :][: num * 3 * SIDE * SIDE].reshape(num, *shape)
        labels = data[int(header["labels_offset"]) :][: num * 4].view("<u4")
        for start in range(0, num, 256):
            yield stored[start : start + 256] + mean, labels[start : start + 256]  # uint8 addition is modulo 256


def export(shards, work):
    """Writes planes.npy, images.beton and npy/*.npy, unless an earlier run did."""
    if (work / "exported").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    (work / "npy").mkdir(exist_ok=True)
    images = np.concatenate([images for images, _ in shard_pixels(shards)])
    labels = np.concatenate([labels for _, labels in shard_pixels(shards)]).astype(np.int64)
    np.save(work / "planes.npy", images)
    np.save(work / "labels.npy", labels)
    for index, image in enumerate(images):
        np.save(work / "npy" / f"{index:07}.npy", np.ascontiguousarray(image.transpose(1, 2, 0)))

    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    class Pixels:
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            return np.ascontiguousarray(images[index].transpose(1, 2, 0)), int(labels[index])

    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    DatasetWriter(str(work / "images.beton"), fields, num_workers=1).from_indexed_dataset(Pixels())
    (work / "exported").write_text(f"{len(images)}\n")


def ffcv_batches(work):
    from ffcv.fields.decoders import IntDecoder
    from ffcv.fields.rgb_image import ResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor

    class RandomCropDecoder(ResizedCropRGBImageDecoder):
        """Crop and output are of one size, so what FFCV does to resize is a copy."""

        def __init__(self):
            super().__init__((CROP, CROP))
            self.scale, self.ratio = (1.0, 1.0), (1.0, 1.0)

        @property
        def get_crop_generator(self):
            def crop(height, width, _scale, _ratio):
                y, x = np.random.randint(0, height - CROP + 1), np.random.randint(0, width - CROP + 1)
                return y, x, CROP, CROP

            return crop

    pixels = NormalizeImage(np.array(MEAN), np.ones(3), np.float16)
    loader = Loader(
        str(work / "images.beton"), batch_size=BATCH_SIZE, num_workers=WORKERS, order=OrderOption.RANDOM,
        os_cache=True, drop_last=True,
        pipelines={
            "image": [RandomCropDecoder(), RandomHorizontalFlip(), pixels, ToTensor()],
            "label": [IntDecoder(), ToTensor()],
        },
    )
    while True:
        for images, _ in loader:
            assert images.shape[1:] == (CROP, CROP, 3) and images.element_size() == 2
            yield


def dali_batches(work):
    from nvidia.dali import fn, pipeline_def, types

    files = sorted(str(path) for path in (work / "npy").glob("*.npy"))

    @pipeline_def(batch_size=BATCH_SIZE, num_threads=WORKERS, device_id=None, seed=1)
    def pipeline():
        images = fn.readers.numpy(files=files, random_shuffle=True, initial_fill=1024, name="reader")
        return fn.crop_mirror_normalize(
            fn.reshape(images, layout="HWC"), crop=(CROP, CROP), crop_pos_x=fn.random.uniform(range=(0.0, 1.0)),
            crop_pos_y=fn.random.uniform(range=(0.0, 1.0)), mirror=fn.random.coin_flip(), mean=MEAN, std=[1.0] * 3,
            dtype=types.FLOAT16, output_layout="CHW",
        )

    running = pipeline()
    running.build()
    while True:
        (images,) = running.run()
        assert images.as_tensor().shape() == [BATCH_SIZE, 3, CROP, CROP]
        yield


def torch_batches(work):
    import torch

    vectors = torch.tensor([[0.577, 0.577, 0.577], [0.707, -0.707, 0.0], [0.408, 0.408, -0.816]])
    deviations, mean = torch.tensor([60.0, 30.0, 20.0]), torch.tensor(MEAN)[:, None, None]

    class Pixels(torch.utils.data.Dataset):
        def __init__(self):
            self.images, self.labels = np.load(work / "planes.npy", mmap_mode="r"), np.load(work / "labels.npy")

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            y, x = torch.randint(0, SIDE - CROP + 1, (2,)).tolist()
            image = torch.from_numpy(self.images[index, :, y : y + CROP, x : x + CROP].copy())
            if torch.rand(()) < 0.5:
                image = image.flip(2)
            lighting = (vectors * (deviations * 0.1 * torch.randn(3))[:, None]).sum(0)[:, None, None]
            return (image.float() - mean + lighting).half(), self.labels[index]

    loader = torch.utils.data.DataLoader(
        Pixels(), BATCH_SIZE, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True
    )
    while True:
        for images, _ in loader:
            assert images.shape[1:] == (3, CROP, CROP) and images.dtype == torch.float16
            yield


PEERS = {"ffcv": ffcv_batches, "dali": dali_batches, "torch": torch_batches}


def cpu_seconds():
    """That this process and its children have used."""
    import psutil

    this = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in [this, *this.children(recursive=True)])


def measure_peer(name, work, seconds):
    batches = PEERS[name](work)
    for _ in range(int((work / "exported").read_text()) // BATCH_SIZE):
        next(batches)
    cpu, begun, num = cpu_seconds(), time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        next(batches)
        num += BATCH_SIZE
    elapsed = time.perf_counter() - begun
    return {"images_per_second": num / elapsed, "images_per_cpu_second": num / (cpu_seconds() - cpu)}


def measure(name, options):
    """In a process of its own."""
    if name == "alexnet":
        command = [options.bench, "--shards", options.shards, "--only", "input", "--dtype", "f16", "--json"]
        command += ["--workers", WORKERS, "--batch-size", BATCH_SIZE, "--rounds", 1, "--seconds", options.seconds]
    else:
        command = [sys.executable, __file__, "--shards", options.shards, "--work", options.work]
        command += ["--seconds", options.seconds, "--measure", name]
    run = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(run.stdout.strip().splitlines()[-1])
    return found.get("input", found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=pathlib.Path, required=True, help="a folder that pack-shards wrote")
    parser.add_argument("--work", type=pathlib.Path, help="where the exports go [default: OUT-peers beside OUT]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--bench", default=str(ROOT / "tools" / "bench"), help="this project's bench")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--measure", choices=list(PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work = options.work or options.shards.with_name(options.shards.name + "-peers")
    if options.measure:
        print(json.dumps(measure_peer(options.measure, options.work, options.seconds)))
        return
    export(options.shards, options.work)
    names = ["alexnet", *options.peers]
    found = in_turns(names, options.rounds, lambda name: measure(name, options), lambda one: one["images_per_second"])
    rates = {name: [one["images_per_second"] for one in found[name]] for name in names}
    cpu = {name: [one["images_per_cpu_second"] for one in found[name]] for name in names}
    print(f"batches of {BATCH_SIZE}, f16, {WORKERS} threads, {options.rounds} rounds of {options.seconds:g} s: "
          "median (lowest to highest); ratios round by round")
    print("| | images/s | alexnet is faster by | images per CPU second | alexnet is faster by, CPU |")
    print("|---|---|---|---|---|")
    for name in names:
        ratios = [ratio(one["alexnet"], one[name]) for one in [rates, cpu]]
        print(f"| {name} | {spread(rates[name])} | {ratios[0]} | {spread(cpu[name])} | {ratios[1]} |")


if __name__ == "__main__":
    main()
