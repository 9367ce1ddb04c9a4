"""KServe's own client, REST and gRPC, against a running server."""

import asyncio

import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)


def request(binary):
    inputs = []
    for name, value in [("INPUT0", A), ("INPUT1", B)]:
        tensor = InferInput(name, list(value.shape), "INT32")
        tensor.set_data_from_numpy(value, binary_data=binary)
        inputs.append(tensor)
    return InferRequest(model_name="simple", infer_inputs=inputs, request_id="9")


@pytest.mark.parametrize("binary", [True, False])
def test_rest(server, binary):
    async def drive():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        base = f"http://{server.http}"
        assert await client.is_server_live(base) and await client.is_server_ready(base)
        assert await client.is_model_ready(base, "simple")
        return await client.infer(base, request(binary), model_name="simple")

    response = asyncio.run(drive())
    outputs = {output.name: output.as_numpy() for output in response.outputs}
    np.testing.assert_array_equal(outputs["OUTPUT0"], A + B)
    np.testing.assert_array_equal(outputs["OUTPUT1"], A - B)
    assert response.id == "9"


@pytest.mark.parametrize("binary", [True, False])
def test_grpc(server, binary):
    async def drive():
        client = InferenceGRPCClient(server.grpc)
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("simple")
        response = await client.infer(request(binary))
        await client.close()
        return response

    response = asyncio.run(drive())
    outputs = {output.name: output.as_numpy() for output in response.outputs}
    np.testing.assert_array_equal(outputs["OUTPUT0"], A + B)
    np.testing.assert_array_equal(outputs["OUTPUT1"], A - B)
