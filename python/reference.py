"""Runs models with ONNX Runtime: the independent reference for outputs and the peer for latency.

Reads one JSON request per line on standard input and answers each with one JSON line:
  {"model": path, "inputs": file.safetensors, "outputs": file.safetensors, "threads": n, "optimise": bool}
    runs the model on the tensors and writes every output; answers {"outputs": [names]}
  {"model": path, "inputs": file.safetensors, "threads": n, "seconds": s}
    times it; answers {"runs_ns": [...]}
A Hugging Face BERT folder given as the model is built into an ONNX graph first.
"""

import json
import os
import sys
import time

import numpy as np
import onnxruntime as ort
from safetensors.numpy import load_file, save_file


def bert_to_onnx(folder):
    """The encoder of a BERT folder as an ONNX model: last hidden state and the mean-pooled, normalised embedding."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    config = json.load(open(os.path.join(folder, "config.json")))
    weights = load_file(os.path.join(folder, "model.safetensors"))
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    size, epsilon = hidden // heads, config["layer_norm_eps"]
    nodes, constants = [], {}

    def constant(name, value):
        constants[name] = value
        return name

    def node(op, inputs, **attributes):
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def weight(name):
        return constant(name, weights[name])

    def linear(x, name):
        product = node("MatMul", [x, constant(name + ".t", np.ascontiguousarray(weights[name + ".weight"].T))])
        return node("Add", [product, weight(name + ".bias")])

    def norm(x, name):
        return node("LayerNormalization", [x, weight(name + ".weight"), weight(name + ".bias")], axis=-1, epsilon=epsilon)

    def split_heads(x, perm):
        shape = constant("heads", np.array([0, 0, heads, size], np.int64))
        return node("Transpose", [node("Reshape", [x, shape])], perm=perm)

    words = node("Gather", [weight("embeddings.word_embeddings.weight"), "input_ids"])
    types = node("Gather", [weight("embeddings.token_type_embeddings.weight"), "token_type_ids"])
    length = node("Gather", [node("Shape", ["input_ids"]), constant("one", np.array([1], np.int64))])
    positions = node("Slice", [weight("embeddings.position_embeddings.weight"), constant("zero", np.array([0], np.int64)), length])
    x = norm(node("Add", [node("Add", [words, types]), positions]), "embeddings.LayerNorm")
    mask = node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    wide = node("Unsqueeze", [mask, constant("axes12", np.array([1, 2], np.int64))])
    inverse = node("Sub", [constant("onef", np.float32(1)), wide])
    bias = node("Mul", [inverse, constant("lowest", np.finfo(np.float32).min)])
    for layer in range(config["num_hidden_layers"]):
        base = f"encoder.layer.{layer}."
        attention = base + "attention."
        query = split_heads(linear(x, attention + "self.query"), [0, 2, 1, 3])
        key = split_heads(linear(x, attention + "self.key"), [0, 2, 3, 1])
        value = split_heads(linear(x, attention + "self.value"), [0, 2, 1, 3])
        scores = node("Div", [node("MatMul", [query, key]), constant("root", np.float32(np.sqrt(size)))])
        shares = node("Softmax", [node("Add", [scores, bias])], axis=-1)
        mixed = node("Transpose", [node("MatMul", [shares, value])], perm=[0, 2, 1, 3])
        joined = node("Reshape", [mixed, constant("hidden", np.array([0, 0, hidden], np.int64))])
        x = norm(node("Add", [linear(joined, attention + "output.dense"), x]), attention + "output.LayerNorm")
        inner = linear(x, base + "intermediate.dense")
        erf = node("Erf", [node("Div", [inner, constant("root2", np.float32(np.sqrt(2)))])])
        gelu = node("Mul", [node("Mul", [inner, constant("half", np.float32(0.5))]), node("Add", [erf, constant("onef", np.float32(1))])])
        x = norm(node("Add", [linear(gelu, base + "output.dense"), x]), base + "output.LayerNorm")
    nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
    columns = node("Unsqueeze", [mask, constant("axis2", np.array([2], np.int64))])
    total = node("ReduceSum", [node("Mul", [x, columns]), constant("axis1", np.array([1], np.int64))], keepdims=0)
    count = node("Max", [node("ReduceSum", [columns, "axis1"], keepdims=0), constant("tiny", np.float32(1e-9))])
    mean = node("Div", [total, count])
    length = node("Max", [node("ReduceL2", [mean, constant("last", np.array([-1], np.int64))], keepdims=1), constant("tiny12", np.float32(1e-12))])
    nodes.append(helper.make_node("Div", [mean, length], ["sentence_embedding"]))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [
        helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", hidden]),
        helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", hidden]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "bert", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


SESSIONS = {}


def session(request):
    key = (request["model"], request.get("threads", 1), request.get("optimise", True))
    if key not in SESSIONS:
        options = ort.SessionOptions()
        options.intra_op_num_threads = request.get("threads", 1)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if request.get("optimise", True) else level.ORT_DISABLE_ALL
        path = request["model"]
        model = bert_to_onnx(path) if os.path.isdir(path) else path
        SESSIONS.clear()
        SESSIONS[key] = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return SESSIONS[key]


def answer(request):
    run = session(request)
    given = load_file(request["inputs"])
    feed = {value.name: given[value.name] for value in run.get_inputs() if value.name in given}
    if "outputs" in request:
        names = [value.name for value in run.get_outputs()]
        results = run.run(names, feed)
        save_file({name: np.array(value, order="C") for name, value in zip(names, results)}, request["outputs"])
        return {"outputs": names}
    runs, start = [], time.perf_counter()
    for _ in range(3):
        run.run(None, feed)
    while time.perf_counter() - start < request["seconds"] or len(runs) < 5:
        begin = time.perf_counter_ns()
        run.run(None, feed)
        runs.append(time.perf_counter_ns() - begin)
    return {"runs_ns": runs}


def main():
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # the caller decides what a failure means
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
