"""tritonclient, HTTP and gRPC, synchronous and asynchronous, against a running server."""

import asyncio
import queue
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as grpcaio
import tritonclient.http as httpclient
import tritonclient.http.aio as httpaio
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

from conftest import save, scale, wait_until

PROTOCOLS = ["http", "grpc"]
A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)


def module(protocol):
    return httpclient if protocol == "http" else grpcclient


@pytest.fixture(params=PROTOCOLS)
def client(request, server):
    address = getattr(server, request.param)
    client = module(request.param).InferenceServerClient(address)
    client.module = module(request.param)
    client.protocol = request.param
    wait_until(client.is_server_ready)
    yield client
    client.close()


def tensors(lib, values, **options):
    inputs = []
    for name, value in values.items():
        kind = {"int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64"}[str(value.dtype)]
        tensor = lib.InferInput(name, list(value.shape), kind)
        tensor.set_data_from_numpy(value, **options)
        inputs.append(tensor)
    return inputs


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("simple") and client.is_model_ready("simple", "1")
    assert not client.is_model_ready("simple", "9") and not client.is_model_ready("nothing")
    as_json = {} if client.protocol == "http" else {"as_json": True}
    assert client.get_server_metadata(**as_json)["name"]
    metadata = client.get_model_metadata("simple", **as_json)
    assert metadata["name"] == "simple" and metadata["versions"] == ["1"]
    assert {i["name"]: (i["datatype"], [int(d) for d in i["shape"]]) for i in metadata["inputs"]} == {
        "INPUT0": ("INT32", [-1, 16]), "INPUT1": ("INT32", [-1, 16])}
    config = client.get_model_config("simple", **as_json)
    config = config.get("config", config)
    assert config["name"] == "simple" and config["max_batch_size"] == 8
    assert config["input"][0]["data_type"] == "TYPE_INT32"


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_http_binary_and_json(server, binary, binary_out):
    client = httpclient.InferenceServerClient(server.http)
    inputs = tensors(httpclient, {"INPUT0": A, "INPUT1": B}, binary_data=binary)
    outputs = [httpclient.InferRequestedOutput(name, binary_data=binary_out) for name in ("OUTPUT0", "OUTPUT1")]
    result = client.infer("simple", inputs, outputs=outputs, request_id="17")
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), A + B)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), A - B)
    assert result.get_response()["id"] == "17" and result.get_response()["model_version"] == "1"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_http_compression(server, algorithm):
    client = httpclient.InferenceServerClient(server.http)
    inputs = tensors(httpclient, {"INPUT0": A, "INPUT1": B})
    result = client.infer(
        "simple", inputs, request_compression_algorithm=algorithm, response_compression_algorithm=algorithm)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), A + B)


def test_every_type_and_a_batch(client):
    for name, dtype in [("scale_fp32", np.float32), ("scale_fp64", np.float64), ("scale_int64", np.int64), ("scale_fp16", np.float16)]:
        x = np.arange(12).reshape(3, 4).astype(dtype)
        result = client.infer(name, tensors(client.module, {"x": x}))
        y = result.as_numpy("y")
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, x * 2)
    eight = np.repeat(A, 8, axis=0)
    result = client.infer("simple", tensors(client.module, {"INPUT0": eight, "INPUT1": eight}))
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), eight * 2)


def test_reshape_and_only_the_outputs_asked_for(client):
    x = np.linspace(-1, 1, 192, dtype=np.float32).reshape(3, 8, 8)
    result = client.infer("classifier", tensors(client.module, {"data": x}))
    assert result.as_numpy("prob").shape == (5,)
    np.testing.assert_allclose(result.as_numpy("prob").sum(), 1, rtol=1e-5)
    only = [client.module.InferRequestedOutput("OUTPUT1")]
    result = client.infer("simple", tensors(client.module, {"INPUT0": A, "INPUT1": B}), outputs=only)
    assert result.as_numpy("OUTPUT0") is None
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), A - B)


def test_versions(client):
    x = np.ones((1, 2), np.float32)
    for version, factor in [("1", 3), ("3", 5), ("", 5)]:
        result = client.infer("versions", tensors(client.module, {"x": x}), model_version=version)
        np.testing.assert_array_equal(result.as_numpy("y"), x * factor)


def test_a_model_file_of_another_name(client):
    x = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(client.infer("other_file", tensors(client.module, {"x": x})).as_numpy("y"), x * 7)


def test_parameters(client):
    inputs = tensors(client.module, {"INPUT0": A, "INPUT1": B})
    result = client.infer("simple", inputs, priority=1, timeout=5_000_000, parameters={"slo_ms": 500})
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), A + B)


@pytest.mark.parametrize("values, words", [
    ({"INPUT0": A}, "INPUT1"),
    ({"INPUT0": A, "INPUT1": B, "INPUT2": B}, "INPUT2"),
    ({"INPUT0": A, "INPUT1": B.astype(np.int64)}, "INPUT1"),
    ({"INPUT0": A, "INPUT1": B[:, :8]}, "INPUT1"),
    ({"INPUT0": np.repeat(A, 9, 0), "INPUT1": np.repeat(B, 9, 0)}, "8"),
])
def test_bad_requests_say_what_is_wrong(client, values, words):
    with pytest.raises(InferenceServerException) as error:
        client.infer("simple", tensors(client.module, values))
    assert words in error.value.message()
    assert error.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")


def test_unknown_models_are_not_found(client):
    for model, version in [("nothing", ""), ("simple", "9")]:
        with pytest.raises(InferenceServerException) as error:
            client.infer(model, tensors(client.module, {"x": np.ones((1, 1), np.float32)}), model_version=version)
        assert error.value.status() in ("404", "StatusCode.NOT_FOUND")


def test_asynchronous_requests(client, server):
    inputs = tensors(client.module, {"INPUT0": A, "INPUT1": B})
    if client.protocol == "http":
        with httpclient.InferenceServerClient(server.http, concurrency=4) as pool:
            for request in [pool.async_infer("simple", inputs) for _ in range(20)]:
                np.testing.assert_array_equal(request.get_result().as_numpy("OUTPUT0"), A + B)
        return
    done = queue.Queue()
    for _ in range(20):
        client.async_infer("simple", inputs, callback=lambda result, error: done.put((result, error)))
    for _ in range(20):
        result, error = done.get(timeout=30)
        assert error is None
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), A + B)


def test_asyncio(server):
    async def both():
        for lib, address in [(httpaio, server.http), (grpcaio, server.grpc)]:
            base = httpclient if lib is httpaio else grpcclient
            async with lib.InferenceServerClient(address) as client:
                assert await client.is_server_ready()
                inputs = tensors(base, {"INPUT0": A, "INPUT1": B})
                results = await asyncio.gather(*(client.infer("simple", inputs) for _ in range(16)))
                for result in results:
                    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), A - B)

    asyncio.run(both())


def test_grpc_stream(server):
    answers = queue.Queue()
    with grpcclient.InferenceServerClient(server.grpc) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for index in range(5):
            inputs = tensors(grpcclient, {"INPUT0": A + index, "INPUT1": B})
            client.async_stream_infer("simple", inputs, request_id=str(index))
        client.async_stream_infer("nothing", inputs, request_id="bad")
        good, bad = {}, []
        for _ in range(6):
            result, error = answers.get(timeout=30)
            if error is None:
                good[result.get_response().id] = result.as_numpy("OUTPUT0")
            else:
                bad.append(error)
        client.stop_stream()
    assert len(bad) == 1
    for index in range(5):
        np.testing.assert_array_equal(good[str(index)], A + index + B)


def test_system_shared_memory(client):
    size = A.nbytes
    name = f"/sublet_test_{client.protocol}"
    region = shm.create_shared_memory_region("in_out", name, 4 * size)
    try:
        shm.set_shared_memory_region(region, [A, B])
        client.register_system_shared_memory("in_out", name, 4 * size)
        status = client.get_system_shared_memory_status(**({} if client.protocol == "http" else {"as_json": True}))
        assert "in_out" in str(status)
        inputs = []
        for index, label in enumerate(["INPUT0", "INPUT1"]):
            tensor = client.module.InferInput(label, [1, 16], "INT32")
            tensor.set_shared_memory("in_out", size, offset=index * size)
            inputs.append(tensor)
        outputs = []
        for index, label in enumerate(["OUTPUT0", "OUTPUT1"]):
            output = client.module.InferRequestedOutput(label)
            output.set_shared_memory("in_out", size, offset=(2 + index) * size)
            outputs.append(output)
        client.infer("simple", inputs, outputs=outputs)
        np.testing.assert_array_equal(shm.get_contents_as_numpy(region, np.int32, [1, 16], offset=2 * size), A + B)
        np.testing.assert_array_equal(shm.get_contents_as_numpy(region, np.int32, [1, 16], offset=3 * size), A - B)

        inputs[0].set_shared_memory("in_out", size, offset=4 * size - 1)
        with pytest.raises(InferenceServerException):
            client.infer("simple", inputs, outputs=outputs)
        client.unregister_system_shared_memory("in_out")
        with pytest.raises(InferenceServerException):
            client.infer("simple", inputs, outputs=outputs)
        for key in ["/", "///", "/../etc/passwd", "/nothing_of_that_name"]:
            with pytest.raises(InferenceServerException):
                client.register_system_shared_memory("bad", key, size)
    finally:
        shm.destroy_shared_memory_region(region)


def test_repository_control(client, server):
    index = client.get_model_repository_index(**({} if client.protocol == "http" else {"as_json": True}))
    models = index if client.protocol == "http" else index["models"]
    assert {"simple", "classifier", "versions"} <= {model["name"] for model in models}
    x = np.ones((1, 2), np.float32)
    client.unload_model("scale_fp32")
    assert not client.is_model_ready("scale_fp32")
    with pytest.raises(InferenceServerException):
        client.infer("scale_fp32", tensors(client.module, {"x": x}))
    client.load_model("scale_fp32")
    np.testing.assert_array_equal(client.infer("scale_fp32", tensors(client.module, {"x": x})).as_numpy("y"), x * 2)

    name = f"late_{client.protocol}"
    with pytest.raises(InferenceServerException):
        client.load_model(name)
    save(scale(11), server.repository / name)
    client.load_model(name)
    np.testing.assert_array_equal(client.infer(name, tensors(client.module, {"x": x})).as_numpy("y"), x * 11)

    save(scale(13), server.repository / name)
    client.load_model(name)
    np.testing.assert_array_equal(client.infer(name, tensors(client.module, {"x": x})).as_numpy("y"), x * 13)

    (server.repository / name / "1" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(InferenceServerException):
        client.load_model(name)
    np.testing.assert_array_equal(client.infer(name, tensors(client.module, {"x": x})).as_numpy("y"), x * 13)

    client.load_model(name, config='{"backend": "onnxruntime", "max_batch_size": 0}',
                      files={"file:1/model.onnx": scale(17).SerializeToString()})
    np.testing.assert_array_equal(client.infer(name, tensors(client.module, {"x": x})).as_numpy("y"), x * 17)
    client.unload_model(name)


def test_statistics_trace_and_log(client):
    as_json = {} if client.protocol == "http" else {"as_json": True}
    before = client.get_inference_statistics("simple", **as_json)["model_stats"][0]
    client.infer("simple", tensors(client.module, {"INPUT0": A, "INPUT1": B}))
    after = client.get_inference_statistics("simple", "1", **as_json)["model_stats"][0]
    count = lambda stats: int(stats["inference_stats"]["success"].get("count", 0))
    assert count(after) == count(before) + 1 and int(after["execution_count"]) >= 1
    assert len(client.get_inference_statistics(**as_json)["model_stats"]) >= 6
    assert "trace_level" in str(client.get_trace_settings(**as_json))
    settings = client.update_log_settings({"log_verbose_level": 1}, **as_json)
    assert "log_verbose_level" in str(settings)
    client.update_log_settings({"log_verbose_level": 0}, **as_json)


def test_metrics(server):
    text = urllib.request.urlopen(f"http://{server.metrics}/metrics").read().decode()
    for name in ["nv_inference_request_success", "nv_inference_count", "nv_inference_exec_count",
                 "nv_inference_pending_request_count", "nv_inference_queue_duration_us", "sublet_swap_ins_total",
                 "sublet_resident_bytes", "sublet_starts_total"]:
        assert name in text, name


def test_grpc_health_and_reflection(server):
    health = grpc.insecure_channel(server.grpc).unary_unary("/grpc.health.v1.Health/Check")
    assert health(b"")[:2] == b"\x08\x01", "SERVING"
    reflect = grpc.insecure_channel(server.grpc).stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    reply = next(reflect(iter([b"\x3a\x01*"])))
    assert b"inference.GRPCInferenceService" in reply and b"grpc.health.v1.Health" in reply


def test_http_paths_that_lead_nowhere(server):
    for path in ["/v2/models/%2e%2e/infer", "/v2/models/a%2fb", "/v2/models/nothing", "/v2/models/a%00b", "/nowhere"]:
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://{server.http}{path}")
        assert 400 <= error.value.code < 500
