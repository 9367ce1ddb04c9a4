"""A runtime for MLServer that runs an ONNX file by ONNX Runtime on one thread: the independent server that
`cargo xtask bench load` drives beside ours. `model-settings.json` names it as its implementation, with the file as `uri`.
"""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        names = [output.name for output in self._session.get_outputs()]
        outputs = self._session.run(names, inputs)
        encoded = [NumpyCodec.encode_output(name, value) for name, value in zip(names, outputs)]
        return InferenceResponse(model_name=self.name, outputs=encoded)
