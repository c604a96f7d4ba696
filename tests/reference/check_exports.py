#!/usr/bin/env python3
"""Computes what `export` wrote with ONNX Runtime, PyTorch and OpenCV (which reads Caffe's files), and compares.

    pip install onnxruntime torch numpy safetensors protobuf "opencv-python-headless<5"
    python tests/reference/check_exports.py FOLDER

FOLDER has probabilities.json, name of the network to its probabilities for the image of make_weights.py, and the
networks as NAME.onnx, NAME.safetensors and NAME.caffemodel. Without OpenCV, Caffe's files are not checked, and it says
so.
"""

import argparse
import base64
import importlib.util
import json
import pathlib
import sys
import tomllib

import numpy as np
from make_weights import CONVS, SIDE, TORCHVISION_NAMES, caffe_messages, image

# A probability in float32 of eight layers, each added in another order.
TOLERANCE = 1e-5


def input_of(metadata):
    """(1, 3, canvas, canvas), as the metadata's `input` describes it."""
    mean = np.frombuffer(base64.b64decode(metadata["mean"]), np.uint8).reshape(3, SIDE, SIDE).astype(np.float32)
    mean = mean + np.array(json.loads(metadata["mean_fraction"]), np.float32)[:, None, None]
    return framed((image() - mean) * np.float32(metadata["scale"]), int(metadata["crop"]), int(metadata["canvas"]))


def framed(values, crop, canvas):
    first = (SIDE - crop) // 2
    x = np.zeros((1, 3, canvas, canvas), np.float32)
    x[0, :, :crop, :crop] = values[:, first:first + crop, first:first + crop]
    return x


def with_onnxruntime(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    x = input_of(metadata)
    logits, probabilities = session.run(["logits", "probabilities"], {"input": x})
    # The batch is of any size.
    twice = session.run(["logits"], {"input": np.concatenate([x, x])})[0]
    assert np.allclose(twice, logits, atol=1e-4) and len(json.loads(metadata["classes"])) == logits.shape[1]
    return probabilities[0], metadata


def torch_module(recipe, tensors):
    """The network of a recipe under torchvision's names; without LRN it is torchvision.models.alexnet."""
    import torch
    from torch import nn

    lrn, towers = recipe["model"]["lrn"], recipe["model"]["towers"]
    own = recipe["model"].get("layer", {})
    layers = []
    for theirs, (name, (kernel, stride, pad, pooled, grouped)) in zip(TORCHVISION_NAMES, CONVS.items()):
        weight = tensors[f"{theirs}.weight"]
        stride, pad = own.get(name, {}).get("stride", stride), own.get(name, {}).get("padding", pad)
        conv = nn.Conv2d(3, 1, 1)
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(tensors[f"{theirs}.bias"])
        conv.stride, conv.padding, conv.groups = (stride,) * 2, (pad,) * 2, towers if grouped else 1
        # PyTorch divides alpha by n.
        norm = nn.LocalResponseNorm(lrn["n"], alpha=lrn["alpha"] * lrn["n"], beta=lrn["beta"], k=lrn["k"])
        norms = [norm] if name in ("conv1", "conv2") else []
        pools = [nn.MaxPool2d(3, 2)] if pooled else []
        tail = {
            "before-pool": [nn.ReLU(), *norms, *pools],
            "after-pool": [nn.ReLU(), *pools, *norms],
            "before-relu": [*norms, *pools, nn.ReLU()],
            "off": [nn.ReLU(), *pools],
        }[lrn["place"]]
        layers += [conv, *tail]
    layers.append(nn.Flatten())
    for index, theirs in enumerate(TORCHVISION_NAMES[5:]):
        dense = nn.Linear(1, 1)
        dense.weight, dense.bias = (nn.Parameter(tensors[f"{theirs}.{part}"]) for part in ("weight", "bias"))
        layers += [dense, nn.ReLU()] if index < 2 else [dense]
    return nn.Sequential(*layers).eval(), torch


def with_torch(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    module, torch = torch_module(tomllib.loads(metadata["recipe"]), tensors)
    with torch.no_grad():
        return module(torch.from_numpy(input_of(metadata))).softmax(1)[0].numpy(), metadata


def with_opencv(path, metadata):
    import cv2

    blob = caffe_messages()["BlobProto"]()
    blob.ParseFromString(path.with_suffix(".mean.binaryproto").read_bytes())
    mean = np.array(blob.data, np.float32).reshape(3, SIDE, SIDE)
    # Blue first; what the network multiplies by is a layer of its own.
    x = framed(image()[::-1] - mean, int(metadata["crop"]), int(metadata["canvas"]))
    net = cv2.dnn.readNetFromCaffe(str(path.with_suffix(".prototxt")), str(path))
    net.setInput(x)
    classes = path.with_suffix(".classes.txt").read_text().splitlines()
    assert classes == json.loads(metadata["classes"])
    return net.forward("prob").ravel()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    has_opencv = importlib.util.find_spec("cv2") is not None
    if not has_opencv:
        print("not checked: Caffe's files, since OpenCV is missing")
    wrong = 0
    for name, expected in json.loads((folder / "probabilities.json").read_text()).items():
        found = {}
        found["onnxruntime"], metadata = with_onnxruntime(folder / f"{name}.onnx")
        found["torch"], _ = with_torch(folder / f"{name}.safetensors")
        caffe = folder / f"{name}.caffemodel"
        lrn = tomllib.loads(metadata["recipe"])["model"]["lrn"]
        if lrn["place"] != "off" and lrn["k"] != 1:
            print(f"{name}: opencv: not checked: it takes LRN's k for 1, here it is {lrn['k']}")
        elif has_opencv and caffe.exists():
            found["opencv"] = with_opencv(caffe, metadata)
        for program, probabilities in found.items():
            difference = float(np.abs(probabilities - np.array(expected)).max())
            print(f"{name}: {program}: {difference:.1e} of {TOLERANCE:.0e}")
            wrong += difference > TOLERANCE
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
