#!/usr/bin/env python3
"""Writes narrow AlexNets in the formats of other programs, with PyTorch's answers for one image.

    pip install torch numpy safetensors protobuf
    python tests/reference/make_weights.py --out tests/reference/weights

Weights and image are a hash of their places, which the Rust tests compute too, so that they can compare every bit.
Answers are computed in float64. `--full` writes files of the full width instead, to look at by hand.
"""

import argparse
import pathlib
import pickle

import numpy as np
import torch
import torch.nn.functional as F
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from safetensors.numpy import save_file

SIDE = 256
# torchvision's transforms and Caffe's mean colour, red first.
TORCHVISION_MEAN, TORCHVISION_DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CAFFE_MEAN = [123.0, 117.0, 104.0]
# Kernel, stride, padding, pooled, in two groups in Caffe.
CONVS = {
    "conv1": (11, 4, 0, True, False),
    "conv2": (5, 1, 2, True, True),
    "conv3": (3, 1, 1, False, False),
    "conv4": (3, 1, 1, False, True),
    "conv5": (3, 1, 1, True, True),
}
TORCHVISION_NAMES = [f"features.{index}" for index in (0, 3, 6, 8, 10)] + [f"classifier.{index}" for index in (1, 4, 6)]
NARROW = {
    "torchvision": {"canvas": 99, "filters": [8] * 5, "units": 40, "classes": 10},
    "caffe": {"canvas": 99, "filters": [16] * 5, "units": 48, "classes": 10},
}
FULL = {
    "torchvision": {"canvas": 224, "filters": [64, 192, 384, 256, 256], "units": 4096, "classes": 1000},
    "caffe": {"canvas": 227, "filters": [96, 256, 384, 384, 256], "units": 4096, "classes": 1000},
}


def hashed(count, salt):
    """(count): 24 bits of a hash of each place."""
    x = np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(salt * 40503)
    x &= np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(15)
    x = (x * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    return (x ^ (x >> np.uint64(13))) >> np.uint64(8)


def image():
    """(3, 256, 256) pixels."""
    return (hashed(3 * SIDE * SIDE, 99) >> np.uint64(16)).astype(np.uint8).reshape(3, SIDE, SIDE)


def weights(kind, sizes):
    """Every layer's weight and bias in this project's layouts. Bounds are powers of 2, so that f32 holds the values."""
    tensors, incoming, side = {}, 3, sizes["canvas"]
    shapes = []
    for (name, (kernel, stride, pad, pooled, grouped)), filters in zip(CONVS.items(), sizes["filters"]):
        pad = 2 if (kind, name) == ("torchvision", "conv1") else pad
        groups = 2 if grouped and kind == "caffe" else 1
        shapes.append((name, (filters, incoming // groups, kernel, kernel)))
        side = (side + 2 * pad - kernel) // stride + 1
        side = (side - 3) // 2 + 1 if pooled else side
        incoming = filters
    incoming *= side * side
    for name, units in (("fc6", sizes["units"]), ("fc7", sizes["units"]), ("fc8", sizes["classes"])):
        shapes.append((name, (units, incoming)))
        incoming = units
    for salt, (name, shape) in enumerate(shapes):
        # Logits of a few units, of inputs that deviate by 1 (torchvision) or by 74.
        bound = 2.0 ** np.round(np.log2(np.sqrt(6 / np.prod(shape[1:]))))
        bound *= {"torchvision": 1, "caffe": 1 / 32}[kind] if name == "fc8" else 1
        values = hashed(int(np.prod(shape)), 2 * salt).astype(np.float64) / 2**23 - 1
        biases = hashed(shape[0], 2 * salt + 1).astype(np.float64) / 2**23 - 1
        tensors[f"{name}.weight"] = (values * bound).astype(np.float32).reshape(shape)
        tensors[f"{name}.bias"] = (biases * 0.125).astype(np.float32)
    return tensors


def logits(kind, tensors, canvas, place):
    """PyTorch's logits in float64; `place` is that of the normalisation, as recipes name it."""
    first = (SIDE - canvas) // 2
    x = torch.tensor(image()[:, first:first + canvas, first:first + canvas].astype(np.float64))
    if kind == "torchvision":
        mean, deviation = torch.tensor([TORCHVISION_MEAN, TORCHVISION_DEVIATION], dtype=torch.float64)
        x = (x / 255 - mean[:, None, None]) / deviation[:, None, None]
    else:
        x = x - torch.tensor(CAFFE_MEAN, dtype=torch.float64)[:, None, None]
    x = x[None]
    w = {name: torch.tensor(values.astype(np.float64)) for name, values in tensors.items()}
    for name, (kernel, stride, pad, pooled, grouped) in CONVS.items():
        pad = 2 if (kind, name) == ("torchvision", "conv1") else pad
        groups = 2 if grouped and kind == "caffe" else 1
        x = F.relu(F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, pad, groups=groups))
        normalised = name in ("conv1", "conv2")
        if normalised and place == "before-pool":
            x = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1)
        x = F.max_pool2d(x, 3, 2) if pooled else x
        if normalised and place == "after-pool":
            x = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1)
    x = x.flatten(1)
    for name in ("fc6", "fc7", "fc8"):
        x = F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
        x = F.relu(x) if name != "fc8" else x
    return x[0].numpy()


def state_dict(tensors):
    """torchvision's names, as a module's state_dict() has them."""
    state = torch.nn.Module().state_dict()
    for theirs, ours in zip(TORCHVISION_NAMES, [*CONVS, "fc6", "fc7", "fc8"]):
        for part in ("weight", "bias"):
            state[f"{theirs}.{part}"] = torch.tensor(tensors[f"{ours}.{part}"])
    return state


def write_torchvision(folder, tensors):
    state = state_dict(tensors)
    torch.save(state, folder / "torchvision.pth")
    torch.save(state, folder / "torchvision-legacy.pth", _use_new_zipfile_serialization=False)
    save_file({name: tensor.numpy() for name, tensor in state.items()}, folder / "torchvision.safetensors")
    # A training script's: channels last, wrapped, of a DataParallel, and in half precision.
    half = {f"module.{name}": tensor.half() for name, tensor in state.items()}
    for name, tensor in half.items():
        if tensor.dim() == 4:
            half[name] = tensor.to(memory_format=torch.channels_last)
    torch.save({"epoch": 3, "best": 0.5, "state_dict": half}, folder / "torchvision-trained.pth")


class Python2Pickler(pickle._Pickler):
    """Writes texts and bytes as Python 2 did, whose str was both: bvlc_alexnet.npy is such a file."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_python2_str(self, text):
        data = text.encode("latin1") if isinstance(text, str) else text
        short = len(data) < 256
        self.write((b"U" + bytes([len(data)]) if short else b"T" + len(data).to_bytes(4, "little")) + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_python2_str


def write_npy(folder, tensors):
    """As kratzert's finetune_alexnet_with_tensorflow takes it: HWIO, blue first, fc6's inputs in (H, W, C)."""
    layers = {}
    for name in [*CONVS, "fc6", "fc7", "fc8"]:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        if name == "conv1":
            weight = weight[:, ::-1]
        if name == "fc6":
            channels = tensors["conv5.bias"].size
            side = int((weight.shape[1] // channels) ** 0.5)
            weight = weight.reshape(-1, channels, side, side).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        order = (2, 3, 1, 0) if weight.ndim == 4 else (1, 0)
        # fc8 stays in Fortran's order, as a transposed array is pickled.
        weight = weight.transpose(order)
        layers[name] = [weight if name == "fc8" else np.ascontiguousarray(weight), bias]
    np.save(folder / "caffe.npy", layers, allow_pickle=True)
    array = np.empty((), dtype=object)
    array[()] = layers
    with open(folder / "bvlc_alexnet.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        Python2Pickler(file, protocol=2).dump(array)


# The fields of caffe.proto that a network needs: number, name, type, and whether it is repeated.
CAFFE_PROTO = {
    "BlobShape": [(1, "dim", "int64", True)],
    "BlobProto": [
        (1, "num", "int64", False), (2, "channels", "int64", False), (3, "height", "int64", False),
        (4, "width", "int64", False), (5, "data", "float", True), (7, "shape", "BlobShape", False),
    ],
    "ConvolutionParameter": [
        (1, "num_output", "uint32", False), (3, "pad", "uint32", True), (4, "kernel_size", "uint32", True),
        (5, "group", "uint32", False), (6, "stride", "uint32", True),
    ],
    "LRNParameter": [(1, "local_size", "uint32", False), (2, "alpha", "float", False), (3, "beta", "float", False)],
    "PoolingParameter": [
        (1, "pool", "int32", False), (2, "kernel_size", "uint32", False), (3, "stride", "uint32", False),
    ],
    "InnerProductParameter": [(1, "num_output", "uint32", False)],
    "V1LayerParameter": [
        (2, "bottom", "string", True), (3, "top", "string", True), (4, "name", "string", False),
        (5, "type", "int32", False), (6, "blobs", "BlobProto", True),
        (10, "convolution_param", "ConvolutionParameter", False),
        (17, "inner_product_param", "InnerProductParameter", False), (18, "lrn_param", "LRNParameter", False),
        (19, "pooling_param", "PoolingParameter", False),
    ],
    "LayerParameter": [
        (1, "name", "string", False), (2, "type", "string", False), (3, "bottom", "string", True),
        (4, "top", "string", True), (7, "blobs", "BlobProto", True),
        (106, "convolution_param", "ConvolutionParameter", False),
        (117, "inner_product_param", "InnerProductParameter", False), (118, "lrn_param", "LRNParameter", False),
        (121, "pooling_param", "PoolingParameter", False),
    ],
    "NetParameter": [
        (1, "name", "string", False), (2, "layers", "V1LayerParameter", True), (100, "layer", "LayerParameter", True),
    ],
}
V1_TYPES = {"Convolution": 4, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18, "Dropout": 6, "Softmax": 20}


def caffe_messages():
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message_name, fields in CAFFE_PROTO.items():
        message = file.message_type.add(name=message_name)
        for number, name, kind, repeated in fields:
            label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            field = message.field.add(name=name, number=number, label=label)
            if kind in CAFFE_PROTO:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = getattr(field_type, f"TYPE_{kind.upper()}")
                field.options.packed = repeated and kind in ("float", "int64") and message_name.startswith("Blob")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}")) for name in CAFFE_PROTO}


def write_caffemodel(path, tensors, name, place, version):
    """`version` 1 has V1LayerParameter and four numbers for a shape, as the model zoo's files of 2014."""
    messages = caffe_messages()
    net = messages["NetParameter"](name=name)
    last = "data"

    def add(layer_name, kind, in_place=False):
        nonlocal last
        layer = (net.layers if version == 1 else net.layer).add(name=layer_name)
        layer.type = V1_TYPES[kind] if version == 1 else kind
        layer.bottom.append(last)
        last = last if in_place else layer_name
        layer.top.append(last)
        return layer

    def add_blobs(layer, weight, bias):
        for values in (weight, bias):
            blob = layer.blobs.add()
            blob.data.extend(np.ascontiguousarray(values).ravel().tolist())
            if version == 1:
                blob.num, blob.channels, blob.height, blob.width = [1] * (4 - values.ndim) + list(values.shape)
            else:
                blob.shape.dim.extend(values.shape)

    def normalise(number):
        layer = add(f"norm{number}", "LRN")
        layer.lrn_param.local_size, layer.lrn_param.alpha, layer.lrn_param.beta = 5, 1e-4, 0.75

    for number, (conv, (kernel, stride, pad, pooled, grouped)) in enumerate(CONVS.items(), 1):
        weight, bias = tensors[f"{conv}.weight"], tensors[f"{conv}.bias"]
        layer = add(conv, "Convolution")
        add_blobs(layer, weight[:, ::-1] if conv == "conv1" else weight, bias)
        param = layer.convolution_param
        param.num_output, param.group = len(weight), 2 if grouped else 1
        param.kernel_size.append(kernel)
        param.stride.append(stride)
        param.pad.append(pad)
        add(f"relu{number}", "ReLU", in_place=True)
        if number < 3 and place == "before-pool":
            normalise(number)
        if pooled:
            layer = add(f"pool{number}", "Pooling")
            layer.pooling_param.pool, layer.pooling_param.kernel_size, layer.pooling_param.stride = 0, 3, 2
        if number < 3 and place == "after-pool":
            normalise(number)
    for number in (6, 7, 8):
        weight, bias = tensors[f"fc{number}.weight"], tensors[f"fc{number}.bias"]
        layer = add(f"fc{number}", "InnerProduct")
        layer.inner_product_param.num_output = len(weight)
        add_blobs(layer, weight, bias)
        if number < 8:
            add(f"relu{number}", "ReLU", in_place=True)
            add(f"drop{number}", "Dropout", in_place=True)
    add("prob", "Softmax")
    path.write_bytes(net.SerializeToString())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    folder, all_sizes = arguments.out, FULL if arguments.full else NARROW
    folder.mkdir(parents=True, exist_ok=True)
    answers = {}
    for kind, places in (("torchvision", ["off"]), ("caffe", ["before-pool", "after-pool"])):
        tensors = weights(kind, all_sizes[kind])
        for place in places:
            answers[f"{kind}.{place}"] = logits(kind, tensors, all_sizes[kind]["canvas"], place)
        if kind == "torchvision":
            write_torchvision(folder, tensors)
        else:
            write_npy(folder, tensors)
            write_caffemodel(folder / "caffe.caffemodel", tensors, "AlexNet", "before-pool", 1)
            write_caffemodel(folder / "caffenet.caffemodel", tensors, "CaffeNet", "after-pool", 2)
    save_file(answers, folder / "answers.safetensors")
    for name, values in answers.items():
        print(name, np.round(values[:10], 3))


if __name__ == "__main__":
    main()
