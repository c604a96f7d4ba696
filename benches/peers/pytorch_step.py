#!/usr/bin/env python3
"""The same network in PyTorch on the CPU: training steps and evaluation passes, in images a second.

    pip install torch numpy
    python benches/peers/pytorch_step.py [--width 0.25] [--lrn slices] [--layout channels-last]

The defaults are PyTorch as people write it: nn.LocalResponseNorm, contiguous tensors, torch.optim.SGD.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


class SlicedResponseNorm(nn.Module):
    """The paper's normalisation as a sum of slices, faster than PyTorch's own pooling over a fifth axis."""

    def forward(self, x):
        channels = x.shape[1]
        squares = F.pad(x * x, (0, 0, 0, 0, 2, 2))
        sums = sum(squares[:, i : i + channels] for i in range(5))
        scale = (2.0 + 1e-4 * sums).sqrt()
        return x / (scale * scale.sqrt())


def network(width, lrn):
    def scaled(channels):
        return max(1, int(channels * width / 8 + 0.5)) * 8

    def normalisation():
        return SlicedResponseNorm() if lrn == "slices" else nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    layers, channels = [], 3
    for kernels, kernel, stride, pad, with_lrn, with_pool in [
        (96, 11, 4, 0, True, True),
        (256, 5, 1, 2, True, True),
        (384, 3, 1, 1, False, False),
        (384, 3, 1, 1, False, False),
        (256, 3, 1, 1, False, True),
    ]:
        layers += [nn.Conv2d(channels, scaled(kernels), kernel, stride, pad), nn.ReLU(inplace=True)]
        layers += [normalisation()] if with_lrn else []
        layers += [nn.MaxPool2d(3, 2)] if with_pool else []
        channels = scaled(kernels)
    units = scaled(4096)
    layers += [nn.Flatten(), nn.Linear(channels * 36, units), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    layers += [nn.Linear(units, units), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(units, 1000)]
    return nn.Sequential(*layers)


def report(name, repetitions, batch_size, run):
    run()
    rates = []
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        rates.append(batch_size / (time.perf_counter() - start))
    spread = f"{min(rates):.1f} to {max(rates):.1f}"
    print(f"{name}: median {statistics.median(rates):.1f} images/s, n = {repetitions}, {spread}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--lrn", choices=["module", "slices"], default="module")
    parser.add_argument("--layout", choices=["contiguous", "channels-last"], default="contiguous")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = network(options.width, options.lrn)
    images = 60 * torch.randn(options.batch_size, 3, 227, 227)
    labels = torch.arange(options.batch_size) * 37 % 1000
    if options.layout == "channels-last":
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)

    def train():
        model.train()
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    def evaluate():
        model.eval()
        with torch.inference_mode():
            model(images).softmax(1)

    print(
        f"\nwidth {options.width:g}, batch {options.batch_size}, PyTorch {torch.__version__},"
        f" {torch.get_num_threads()} threads, lrn {options.lrn}, {options.layout}"
    )
    report("training step", options.repetitions, options.batch_size, train)
    report("evaluation", options.repetitions, options.batch_size, evaluate)


if __name__ == "__main__":
    main()
