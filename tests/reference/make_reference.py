#!/usr/bin/env python3
"""Writes PyTorch's numbers for the operations and for whole training steps, which the Rust tests read.

    pip install torch numpy safetensors
    python tests/reference/make_reference.py --out tests/reference/data

Everything is computed in float64, so the tests measure the error of this project's float32 alone.
"""

import argparse
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

CANVAS = 99
BATCH_SIZE = 4
NUM_BATCHES = 2
NUM_CLASSES = 10
NUM_STEPS = 10
# A decay twenty times the paper's, so that it shows after ten steps.
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.002, 0.9, 0.01
SEED = 20121203
# alpha is large, so that the place of the normalisation shows in values near 1.
LRN = {"k": 2.0, "n": 5, "alpha": 0.02, "beta": 0.75}
# Kernels, side, stride, pad, followed by LRN, followed by pooling; grouped where there are two towers.
CONVS = [
    ("conv1", 11, 4, 0, True, True, False),
    ("conv2", 5, 1, 2, True, True, True),
    ("conv3", 3, 1, 1, False, False, False),
    ("conv4", 3, 1, 1, False, False, True),
    ("conv5", 3, 1, 1, False, True, True),
]
# Biases learn twice as fast and do not decay; 16 channels and 48 units are what the recipes have at width 0.01.
CAFFE = {"towers": 2, "units": 48, "dropout": 0.5, "scaling": "training", "k": 1.0, "bias_rate": 2.0, "bias_decay": 0.0}
# The same of recipes/torchvision.toml and recipes/zfnet.toml.
TORCHVISION = [("conv1", 11, 4, 2, False, True, False), *CONVS[1:]]
ZFNET = [("conv1", 7, 2, 1, True, True, False), ("conv2", 5, 2, 1, True, True, False), *CONVS[2:]]
UNITS = 80
# No unit may come nearer to ReLU's kink, and no window's two highest values nearer to one another, than this part of
# the tensor's mean: ten times float32's error. Nearer ones may fall to different sides in float32, in PyTorch too,
# and then the numbers jump.
MARGIN = 2e-6
CASES = {
    "one-tower": {},
    "two-tower": {"towers": 2},
    "lrn-after-pool": {"place": "after-pool"},
    "lrn-before-relu": {"place": "before-relu"},
    "lrn-off": {"place": "off"},
    "dropout-evaluation": {"dropout": 0.5, "scaling": "evaluation"},
    "dropout-training": {"dropout": 0.25, "scaling": "training"},
    # torchvision's dropout stands before fc6 and fc7; both have half the units, so that the files are small.
    "torchvision": {
        "convs": TORCHVISION, "place": "off", "units": 40, "dropout": 0.5, "scaling": "training", "side": "inputs"
    },
    "zfnet": {"convs": ZFNET, "place": "after-pool", "units": 40},
    "caffe": CAFFE,
    "caffenet": CAFFE | {"place": "after-pool"},
    "code2012": CAFFE | {"place": "before-relu", "scaling": "evaluation", "k": 2.0},
}


def exact(value):
    """The recipe's numbers pass through float32."""
    return float(np.float32(value))


def philox(seed, purpose, position):
    """Philox 4x32-10 (Salmon and others, 2011): four random words."""
    a, b, c = position
    counter, key = [a, b, c, purpose], [seed & 0xFFFFFFFF, seed >> 32]
    for number in range(10):
        if number > 0:
            key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
        left, right = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [
            (right >> 32) ^ counter[1] ^ key[0],
            right & 0xFFFFFFFF,
            (left >> 32) ^ counter[3] ^ key[1],
            left & 0xFFFFFFFF,
        ]
    return counter


def kept_units(probability, step, layer, units):
    """(BATCH_SIZE, units): 1 where the unit's word is at least p * 2^32."""
    dropout_purpose = 3
    quads = range(BATCH_SIZE * units // 4)
    bits = [word for quad in quads for word in philox(SEED, dropout_purpose, [quad, step, layer])]
    kept = [1.0 if word >= probability * 2**32 else 0.0 for word in bits]
    return torch.tensor(kept, dtype=torch.float64).reshape(BATCH_SIZE, units)


def lrn(x, k, n, alpha, beta):
    """PyTorch divides alpha by n; the paper does not."""
    return F.local_response_norm(x, n, alpha=exact(alpha) * n, beta=exact(beta), k=exact(k))


class TooClose(Exception):
    """A value within MARGIN of a kink."""


def relu(x):
    if x.abs().min() < MARGIN * x.abs().mean():
        raise TooClose
    return F.relu(x)


def pool(x):
    highest = F.unfold(x.flatten(0, 1)[:, None], 3, stride=2).topk(2, dim=1).values
    gap = (highest[:, 0] - highest[:, 1])[highest[:, 0] > 0]
    if gap.min() < MARGIN * x.abs().mean():
        raise TooClose
    return F.max_pool2d(x, 3, 2)


def initial_weights(case, seed):
    towers, units = case.get("towers", 1), case.get("units", UNITS)
    channels = 8 * towers
    generator = torch.Generator().manual_seed(seed)
    shapes, incoming, side = {}, 3, CANVAS
    for name, kernel, stride, pad, _, pool, grouped in case.get("convs", CONVS):
        groups = towers if grouped else 1
        shapes[name] = (channels, incoming // groups, kernel, kernel)
        side = (side + 2 * pad - kernel) // stride + 1
        side = (side - 3) // 2 + 1 if pool else side
        incoming = channels
    shapes["fc6"] = (units, channels * side * side)
    shapes["fc7"] = (units, units)
    shapes["fc8"] = (NUM_CLASSES, units)
    weights = {}
    for name, shape in shapes.items():
        deviation = (2.0 / np.prod(shape[1:])) ** 0.5
        weight = torch.randn(shape, generator=generator, dtype=torch.float64) * deviation
        bias = torch.randn(shape[0], generator=generator, dtype=torch.float64) * 0.1
        # Rounded to float32, in which the tests read them.
        weights[name + ".weight"] = weight.float().double()
        weights[name + ".bias"] = bias.float().double()
    return weights


def conv_block(x, weights, conv, case):
    name, _, stride, pad, with_lrn, with_pool, grouped = conv
    groups = case.get("towers", 1) if grouped else 1
    x = F.conv2d(x, weights[name + ".weight"], weights[name + ".bias"], stride=stride, padding=pad, groups=groups)
    steps = {
        "relu": relu,
        "lrn": lambda x: lrn(x, **LRN | {"k": case.get("k", LRN["k"])}) if with_lrn else x,
        "pool": lambda x: pool(x) if with_pool else x,
    }
    orders = {
        "before-pool": ["relu", "lrn", "pool"],
        "after-pool": ["relu", "pool", "lrn"],
        "before-relu": ["lrn", "pool", "relu"],
        "off": ["relu", "pool"],
    }
    for step in orders[case.get("place", "before-pool")]:
        x = steps[step](x)
    return x


def forward(weights, images, case, step=None):
    """The logits; `step` is None in evaluation."""
    x = images
    for conv in case.get("convs", CONVS):
        x = conv_block(x, weights, conv, case)
    x = x.flatten(1)
    probability = case.get("dropout", 0.0)

    def dropout(x, layer):
        if step is not None and probability > 0:
            x = x * kept_units(probability, step, layer, x.shape[1])
            x = x / (1 - probability) if case["scaling"] == "training" else x
        elif probability > 0 and case["scaling"] == "evaluation":
            x = x * (1 - probability)
        return x

    on_inputs = case.get("side", "outputs") == "inputs"
    for name, layer in [("fc6", 5), ("fc7", 6)]:
        x = dropout(x, layer) if on_inputs else x
        x = relu(F.linear(x, weights[name + ".weight"], weights[name + ".bias"]))
        x = x if on_inputs else dropout(x, layer)
    return F.linear(x, weights["fc8.weight"], weights["fc8.bias"])


def bias_rule(case, name):
    """The factors of learning rate and weight decay of a tensor."""
    is_bias = name.endswith(".bias")
    return (case.get("bias_rate", 1.0), case.get("bias_decay", 1.0)) if is_bias else (1.0, 1.0)


def first_clear_steps(case, batches, labels):
    """Whole steps from the first seed's weights that keep clear of the kinks."""
    seed = 1
    while True:
        try:
            return seed, whole_steps(case, batches, labels, seed)
        except TooClose:
            seed += 1


def whole_steps(case, batches, labels, seed):
    initial = initial_weights(case, seed)
    weights = {name: tensor.clone().requires_grad_() for name, tensor in initial.items()}
    rates = {name: exact(LEARNING_RATE) * bias_rule(case, name)[0] for name in weights}
    groups = [
        {"params": [tensor], "lr": rates[name], "weight_decay": exact(WEIGHT_DECAY) * bias_rule(case, name)[1]}
        for name, tensor in weights.items()
    ]
    optimizer = torch.optim.SGD(groups, momentum=exact(MOMENTUM))
    numbers = {"initial." + name: tensor for name, tensor in initial.items()}
    with torch.no_grad():
        logits = forward(weights, batches[0], case)
        numbers["probabilities"] = logits.softmax(1)
        ranks = (logits > logits.gather(1, labels[0][:, None])).sum(1)
        numbers["evaluation"] = torch.stack(
            [F.cross_entropy(logits, labels[0], reduction="sum"), (ranks < 1).sum(), (ranks < 5).sum()]
        )
    losses = []
    for step in range(NUM_STEPS):
        batch = step % NUM_BATCHES
        loss = F.cross_entropy(forward(weights, batches[batch], case, step), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            numbers |= {"gradient." + name: tensor.grad.clone() for name, tensor in weights.items()}
        optimizer.step()
        losses.append(loss.detach() * BATCH_SIZE)
    for name, tensor in weights.items():
        numbers["final." + name] = tensor.detach()
        # The paper's velocity is PyTorch's buffer times -lr, while lr stays the same.
        numbers["velocity." + name] = -rates[name] * optimizer.state[tensor]["momentum_buffer"]
    numbers["losses"] = torch.stack(losses)
    return {name: tensor.float().contiguous() for name, tensor in numbers.items()}


def operation(numbers, name, function, *inputs):
    """Records inputs, output, a made-up gradient of the output, and the gradients of the inputs."""
    inputs = [tensor.requires_grad_() for tensor in inputs]
    output = function(*inputs)
    gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    gradient = gradient if output.dim() > 0 else torch.ones_like(gradient)
    output.backward(gradient)
    for index, tensor in enumerate(inputs):
        numbers[f"{name}.input{index}"] = tensor.detach()
        numbers[f"{name}.input{index}.gradient"] = tensor.grad
    numbers[f"{name}.output"], numbers[f"{name}.output.gradient"] = output.detach(), gradient


def operations():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    numbers = {}
    for name, side, kernel, stride, pad, groups in [
        ("conv", 7, 3, 1, 1, 1),
        ("conv-groups", 7, 5, 1, 2, 2),
        ("conv-stride", 19, 11, 4, 0, 1),
    ]:
        function = lambda x, w: F.conv2d(x, w, stride=stride, padding=pad, groups=groups)
        operation(numbers, name, function, draw(2, 4, side, side), draw(6, 4 // groups, kernel, kernel))
    operation(numbers, "relu", F.relu, draw(40))
    operation(numbers, "lrn", lambda x: lrn(x, **LRN), 4 * draw(2, 9, 5, 5))
    operation(numbers, "lrn-paper", lambda x: lrn(x, 2.0, 5, 1e-4, 0.75), 60 * draw(2, 9, 5, 5))
    operation(numbers, "lrn-half", lambda x: lrn(x, 1.0, 3, 0.25, 0.5), draw(2, 9, 5, 5))
    operation(numbers, "pool", lambda x: F.max_pool2d(x, 3, 2), draw(2, 3, 8, 8))
    # Few whole numbers, so that most windows have several maxima.
    operation(numbers, "pool-ties", lambda x: F.max_pool2d(x, 3, 2), draw(2, 3, 9, 9).round())
    operation(numbers, "dense", F.linear, draw(3, 10), draw(7, 10))
    labels = torch.tensor([1, 5, 0])
    operation(numbers, "loss", lambda x: F.cross_entropy(x, labels), 3 * draw(3, 6))
    return {name: tensor.contiguous() for name, tensor in numbers.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "data")
    parser.add_argument("--only", choices=CASES, nargs="*", default=CASES, help="write these cases alone")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    shape = (NUM_BATCHES, BATCH_SIZE, 3, CANVAS, CANVAS)
    # Whole numbers of one byte; the networks see them divided by 64, which is exact.
    images = (50 * torch.randn(shape, generator=generator)).round().clamp(-128, 127).to(torch.int8)
    labels = torch.randint(NUM_CLASSES, (NUM_BATCHES, BATCH_SIZE), generator=generator)
    about = {"torch": torch.__version__.split("+")[0], "script": "tests/reference/make_reference.py"}
    if arguments.only is CASES:
        save_file({"images": images, "labels": labels}, out / "batches.safetensors", about)
        save_file(operations(), out / "operations.safetensors", about)
    for name in arguments.only:
        case = CASES[name]
        seed, numbers = first_clear_steps(case, images.double() / 64, labels)
        save_file(numbers, out / f"{name}.safetensors", about)
        print(f"{out / name}.safetensors, weights of seed {seed}")


if __name__ == "__main__":
    main()
