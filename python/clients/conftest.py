"""A real server over a repository written as for Triton, for the client tests."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ADD_SUB_CONFIG = """
name: "simple"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [
  { name: "INPUT0" data_type: TYPE_INT32 dims: [ 16 ] },
  { name: "INPUT1" data_type: TYPE_INT32 dims: [ 16 ] }
]
output [
  { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 16 ] },
  { name: "OUTPUT1" data_type: TYPE_INT32 dims: [ 16 ] }
]
instance_group [ { kind: KIND_CPU count: 1 } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
"""

CLASSIFIER_CONFIG = """
backend: "onnxruntime"
max_batch_size: 0
input { name: "data" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 8, 8 ] reshape { shape: [ 1, 3, 8, 8 ] } }
output [
  {
    name: "prob"  # a comment
    data_type: TYPE_FP32
    dims: [ 5 ]
    reshape { shape: [ 1, 5 ] }
  }
]
parameters { key: "origin" value: { string_value: "test" } }
version_policy: { latest { num_versions: 1 } }
"""


def save(model, folder, version="1", name="model.onnx"):
    (folder / version).mkdir(parents=True, exist_ok=True)
    onnx.checker.check_model(model)
    onnx.save(model, folder / version / name)


def make(nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, [numpy_helper.from_array(v, n) for n, v in weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tensor(name, kind, dims):
    return helper.make_tensor_value_info(name, kind, dims)


def add_sub(kind=TensorProto.INT32):
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    names = ["INPUT0", "INPUT1"], ["OUTPUT0", "OUTPUT1"]
    return make(nodes, *([tensor(n, kind, ["batch", 16]) for n in group] for group in names))


def classifier():
    draw = np.random.default_rng(7)
    weights = [
        ("w", draw.standard_normal((6, 3, 3, 3)).astype(np.float32)),
        ("b", draw.standard_normal(6).astype(np.float32)),
        ("v", draw.standard_normal((6, 5)).astype(np.float32)),
    ]
    nodes = [
        helper.make_node("Conv", ["data", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["m"]),
        helper.make_node("Softmax", ["m"], ["prob"], axis=1),
    ]
    return make(nodes, [tensor("data", TensorProto.FLOAT, [1, 3, 8, 8])], [tensor("prob", TensorProto.FLOAT, [1, 5])], weights)


def scale(factor, kind=TensorProto.FLOAT):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    weights = [("factor", np.array(factor, dtype))]
    return make(nodes, [tensor("x", kind, ["n", "m"])], [tensor("y", kind, ["n", "m"])], weights)


def write_repository(root):
    save(add_sub(), root / "simple")
    (root / "simple" / "config.pbtxt").write_text(ADD_SUB_CONFIG)
    save(classifier(), root / "classifier")
    (root / "classifier" / "config.pbtxt").write_text(CLASSIFIER_CONFIG)
    for name, kind in [("scale_fp32", "FLOAT"), ("scale_fp16", "FLOAT16"), ("scale_fp64", "DOUBLE"), ("scale_int64", "INT64")]:
        save(scale(2, getattr(TensorProto, kind)), root / name)
    save(scale(3), root / "versions", "1")
    save(scale(5), root / "versions", "3")
    (root / "versions" / "config.pbtxt").write_text('version_policy: { all {} }\nplatform: "onnxruntime_onnx"\n')
    save(scale(7), root / "other_file", name="weights.onnx")
    (root / "other_file" / "config.pbtxt").write_text('platform: "onnxruntime_onnx"\ndefault_model_filename: "weights.onnx"\n')


class Server:
    """A `sublet serve` process on ports of its own choosing."""

    def __init__(self, repository, *options):
        self.repository = pathlib.Path(repository)
        command = [
            os.environ["SUBLET"], "serve", "--model-repository", str(repository),
            "--store", str(repository) + "-store", "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0",
            "--device", "cpu,count=2,memory=8MiB", *options,
        ]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.http = self.grpc = self.metrics = None
        for line in self.process.stdout:
            match = re.match(r"(http|grpc|metrics) (?:listening )?on \S*?(127\.0\.0\.1|\[::\]|0\.0\.0\.0):(\d+)", line.strip())
            if match:
                setattr(self, match[1], f"127.0.0.1:{match[3]}")
            if self.http and self.grpc and self.metrics:
                break
        assert self.http and self.grpc and self.metrics, self.errors()

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.http}/v2/health/ready", timeout=10) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False

    def errors(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(timeout=30)
        assert code == 0, f"exit status {code}\n{self.errors()}"


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("repository")
    write_repository(repository)
    server = Server(repository, "--model-control-mode", "explicit", "--load-model", "*", "--allow-shared-memory")
    # It listens before its models are loaded.
    wait_until(server.is_ready)
    yield server
    server.stop()
