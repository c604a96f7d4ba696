"""Lets PyTorch follow a training run from its first checkpoint, and compares the weights.

    tools/train --shards out --run run --steps 10 --width 0.25 \
        --set augment.position=centre --set augment.mirror=false --set augment.lighting=0 \
        --set model.dropout=0 --set train.order=sequential
    python tests/reference/follow_training.py --shards out --run run --step 10

Reads the shards as docs/shard-format.md describes them, step-00000000, and the recipe in its metadata; trains as the
recipe says; and holds every weight and velocity against the run's own checkpoint of that step. Needs torch, numpy and
safetensors.
"""

import argparse
import json
import pathlib
import sys
import tomllib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open

SAMPLE_BYTES = 3 * 256 * 256
HEADER_BYTES = 4096
LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
WEIGHTS = [f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")]

# PyTorch trains twice, in f64 and in f32. A tensor of ours may be this many times as far from the f64 run as PyTorch's
# own f32 run is: both sum the same numbers in f32, each in its own order, and now and then a rounding decides which
# value of a pooling window is the largest, or whether a unit is above zero.
ROUNDINGS = 5.0
# ... and differences below this share of what a tensor has moved are rounding in any case.
FLOOR = 1e-5


def read_samples(out, split):
    """(num_samples, 3, 256, 256) f32 residuals and (num_samples) labels of a split, in order."""
    info = json.loads((out / "dataset.json").read_text())
    values, labels = [], []
    for shard in info[split]["shards"]:
        raw = np.fromfile(out / shard["file"], np.uint8)
        count = shard["num_samples"]
        mean = raw[HEADER_BYTES:][:SAMPLE_BYTES].reshape(3, 256, 256)
        first = HEADER_BYTES + SAMPLE_BYTES
        samples = raw[first:][: count * SAMPLE_BYTES].reshape(count, 3, 256, 256)
        values.append((samples + mean).astype(np.float32) - mean)
        labels.append(raw[first + count * SAMPLE_BYTES :][: 4 * count].view("<u4"))
    return np.concatenate(values), np.concatenate(labels).astype(np.int64)


def read_checkpoint(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def inputs(samples, augment):
    """The centre crop in the top left corner of a canvas of zeros, times the scale."""
    crop, canvas = augment["crop"], augment["canvas"]
    start = (256 - crop) // 2
    batch = np.zeros((len(samples), 3, canvas, canvas), np.float32)
    batch[:, :, :crop, :crop] = samples[:, :, start : start + crop, start : start + crop]
    return torch.from_numpy(batch * np.float32(augment["scale"]))


def lrn(x, settings):
    # PyTorch divides alpha by n; the paper does not.
    n = settings["n"]
    return F.local_response_norm(x, n, settings["alpha"] * n, settings["beta"], settings["k"])


def tail(x, with_lrn, with_pool, settings):
    normalise = (lambda y: lrn(y, settings)) if with_lrn else (lambda y: y)
    pool = (lambda y: F.max_pool2d(y, 3, 2)) if with_pool else (lambda y: y)
    match settings["place"]:
        case "before-pool":
            return pool(normalise(F.relu(x)))
        case "after-pool":
            return normalise(pool(F.relu(x)))
        case "before-relu":
            return F.relu(pool(normalise(x)))
        case "off":
            return pool(F.relu(x))


def forward(x, w, model):
    towers = model["towers"]
    own = model.get("layer", {})
    for name, stride, pad, groups, with_lrn, with_pool in [
        ("conv1", 4, 0, 1, True, True),
        ("conv2", 1, 2, towers, True, True),
        ("conv3", 1, 1, 1, False, False),
        ("conv4", 1, 1, towers, False, False),
        ("conv5", 1, 1, towers, False, True),
    ]:
        stride, pad = own.get(name, {}).get("stride", stride), own.get(name, {}).get("padding", pad)
        x = F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, pad, groups=groups)
        x = tail(x, with_lrn, with_pool, model["lrn"])
    x = x.flatten(1)
    for name in ["fc6", "fc7"]:
        x = F.relu(F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"]))
    return F.linear(x, w["fc8.weight"], w["fc8.bias"])


def train(first, samples, labels, recipe, steps, dtype):
    """Weights and velocities (named velocity.NAME) after `steps` steps from the checkpoint `first`."""
    settings, biases = recipe["train"], recipe["model"]["biases"]
    weights = {name: tensor.to(dtype, copy=True) for name, tensor in first.items() if name in WEIGHTS}
    names = list(weights)
    for weight in weights.values():
        weight.requires_grad_(True)
    velocities = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    size, per_epoch = settings["batch_size"], len(samples) // settings["batch_size"]
    for step in range(steps):
        begin = step % per_epoch * size
        x = inputs(samples[begin : begin + size], recipe["augment"]).to(dtype)
        y = torch.from_numpy(labels[begin : begin + size])
        smoothing = settings["label_smoothing"]
        loss = F.cross_entropy(forward(x, weights, recipe["model"]), y, label_smoothing=smoothing)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        rate, decay, momentum = settings["learning_rate"], settings["weight_decay"], settings["momentum"]
        with torch.no_grad():
            for name, gradient in zip(names, gradients):
                velocity, own_rate, own_decay = velocities[name], rate, decay
                if name.endswith(".bias"):
                    own_rate = rate * biases["learning_rate"]
                    own_decay = decay if biases["decay"] else 0.0
                velocity.mul_(momentum).sub_(weights[name], alpha=own_decay * own_rate).sub_(gradient, alpha=own_rate)
                weights[name].add_(velocity)
        print(f"{dtype}, step {step + 1}: loss {loss.item():.6f}")
    weights = {name: weight.detach() for name, weight in weights.items()}
    return weights | {f"velocity.{name}": velocity for name, velocity in velocities.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=pathlib.Path, required=True)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--step", type=int, required=True)
    arguments = parser.parse_args()
    folder = arguments.run / "checkpoints"
    first, metadata = read_checkpoint(folder / "step-00000000.safetensors")
    last, _ = read_checkpoint(folder / f"step-{arguments.step:08}.safetensors")
    recipe = tomllib.loads(metadata["recipe"])
    augment, model, settings = recipe["augment"], recipe["model"], recipe["train"]
    plain = augment["position"] == "centre" and not augment["mirror"] and augment["lighting"] == 0
    if not plain or model["dropout"] != 0 or settings["order"] != "sequential":
        sys.exit("the run draws at random: train it with the --set options above")
    if model.get("layers") or settings["schedule"] not in ("plateau", "steps") or settings["warmup_epochs"] > 0:
        sys.exit("follows AlexNet's own layers at a rate that does not change within an epoch")
    samples, labels = read_samples(arguments.shards, "train")
    if arguments.step > len(samples) // settings["batch_size"]:
        sys.exit("follow at most one epoch: the schedule may change the learning rate after it")
    exact = train(first, samples, labels, recipe, arguments.step, torch.float64)
    rounded = train(first, samples, labels, recipe, arguments.step, torch.float32)
    failed = False
    print(f"{'tensor':22} {'moved':>9}  ours off by  PyTorch's f32 off by (shares of what it moved)")
    for name, wanted in exact.items():
        moved = (wanted - first[name]).abs().max().item()
        ours, theirs = ((tensor[name] - wanted).abs().max().item() / moved for tensor in (last, rounded))
        wrong = ours > ROUNDINGS * theirs + FLOOR
        failed |= wrong
        print(f"{name:22} {moved:9.2e}  {ours:11.1e}  {theirs:11.1e}  {'TOO FAR' if wrong else ''}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
