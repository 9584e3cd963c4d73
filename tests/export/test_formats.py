"""What is in the files: names, types, operators, and the same results for batches of any size."""

import re
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch

from kohonen_tokenizer.export.formats import OPSET, read_torchscript


def onnx_graph(written, half):
    return onnx.load_model_from_string(getattr(written[0], half))


def signature(value):
    """Name, element type and dimensions, an open one by its name."""
    tensor = value.type.tensor_type
    return (
        value.name,
        onnx.TensorProto.DataType.Name(tensor.elem_type),
        [dim.dim_param or dim.dim_value for dim in tensor.shape.dim],
    )


@pytest.fixture(params=[0, 1, 2], ids=["onnx", "torchscript", "torch_export"])
def pair(request, written):
    return written[request.param]


@pytest.mark.parametrize("batch", [1, 3, 33])
def test_a_batch_of_any_size_gives_what_the_checkpoint_gives(pair, model, test_images, batch):
    pixels = test_images[:batch]
    tokens = pair.format.read(pair.encoder)(pixels)
    assert tokens.dtype == torch.int32
    assert torch.equal(tokens, model.encode(pixels)["tokens"].int())
    decoded = pair.format.read(pair.decoder)(tokens)
    assert decoded.dtype == torch.uint8
    assert decoded.shape == pixels.shape
    assert (decoded.int() - model.decode({"tokens": tokens}).int()).abs().max() <= 1


def test_onnx_has_the_documented_inputs_and_outputs(written):
    encoder, decoder = onnx_graph(written, "encoder").graph, onnx_graph(written, "decoder").graph
    pixels, tokens = ("pixels", "UINT8", ["batch", 16, 16, 3]), ("tokens", "INT32", ["batch", 4, 4])
    assert [signature(value) for value in encoder.input] == [pixels]
    assert [signature(value) for value in encoder.output] == [tokens]
    assert [signature(value) for value in decoder.input] == [tokens]
    assert [signature(value) for value in decoder.output] == [pixels]


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_onnx_is_whole_in_one_file_of_standard_operators(written, half):
    model = onnx_graph(written, half)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert not model.functions
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_onnx_computes_in_float32_throughout(written, half):
    graph = onnx_graph(written, half).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {value.type.tensor_type.elem_type for value in values}
    types |= {tensor.data_type for tensor in graph.initializer}
    kinds = {onnx.TensorProto.DataType.Name(type_) for type_ in types}
    assert "FLOAT" in kinds
    assert kinds <= {"FLOAT", "UINT8", "INT32", "INT64"}


def test_onnx_does_nothing_that_the_model_does_not(written):
    encoder = Counter(node.op_type for node in onnx_graph(written, "encoder").graph.node)
    # One product for the search, its constants folded; casts of the pixels and of the tokens; no sizes.
    assert encoder == {
        "Cast": 2, "Sub": 1, "Div": 1, "Transpose": 2, "Conv": 8, "Relu": 7, "Add": 2,
        "Reshape": 2, "Gemm": 1, "ArgMin": 1,
    }  # fmt: skip
    decoder = Counter(node.op_type for node in onnx_graph(written, "decoder").graph.node)
    assert decoder == {
        "Gather": 1, "Transpose": 2, "Conv": 5, "Relu": 6, "Add": 3, "ConvTranspose": 2,
        "Mul": 1, "Round": 1, "Clip": 1, "Cast": 1,
    }  # fmt: skip


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_torchscript_never_lets_a_convolution_fall_to_tf32(written, half):
    code = read_torchscript(getattr(written[1], half)).code
    calls = re.findall(r"torch\._convolution\((.*)\)", code)
    assert len(calls) == code.count("_convolution(") > 0
    # The last argument of aten::_convolution is allow_tf32.
    assert all(call.endswith(", False") for call in calls)


def test_no_file_says_where_the_sources_lay(pair):
    root = Path(__file__).parents[2]
    for content in (pair.encoder, pair.decoder):
        for trace in (str(root).encode(), b"site-packages", b"graphs.py"):
            assert trace not in content
