"""The models of the GPU benchmark: built with seeded random weights, exported to ONNX, run and timed in PyTorch.

    gpu_models.py list
    gpu_models.py export --work DIR [--models a,b] [--dtypes f32,f16] [--batches 1,8,32] [--jobs 6]
    gpu_models.py measure --work DIR [--models a,b] [--dtypes f32,f16] [--batches 1,8,32] [--best]

`export` writes, for each model and type, DIR/<model>-<dtype>/: model.onnx, case.json, and b<batch>.safetensors with
inputs (in/…), PyTorch's outputs (out/…) and the same computed in f32 from the same weights (exact/…). `measure` writes
torch.json beside them and DIR/machine.json. What fails is told in error.txt there, and the rest goes on.
"""

import argparse
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

SEED = 20
SEQUENCE, SEQUENCE_GPT = 384, 1024


class Vision:
    """A network from torchvision or timm on normalised images."""

    def __init__(self, name, size=224, **options):
        self.name, self.size, self.options = name, size, options

    def build(self):
        import torchvision

        return torchvision.models.get_model(self.name, weights=None, **self.options)

    def inputs(self, torch, batch):
        return {"image": torch.randn(batch, 3, self.size, self.size)}


class Timm(Vision):
    def build(self):
        import timm

        return timm.create_model(self.name, pretrained=False, **self.options)


class Detector(Vision):
    """SSD300 without what lies around the network: resizing before it, boxes and non-maximum suppression behind it."""

    def build(self):
        import torch
        import torchvision

        whole = torchvision.models.detection.ssd300_vgg16(weights=None, weights_backbone=None)

        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.backbone, self.head = whole.backbone, whole.head

            def forward(self, image):
                heads = self.head(list(self.backbone(image).values()))
                return heads["bbox_regression"], heads["cls_logits"]

        return Network()


class Text:
    """A transformer without a task's head, on whole sequences of random tokens."""

    def __init__(self, kind, length, **config):
        self.kind, self.length, self.config = kind, length, config

    def build(self):
        import torch
        import transformers

        config = getattr(transformers, f"{self.kind}Config")(**self.config)
        model = getattr(transformers, f"{self.kind}Model")(config)
        decoder, length = self.kind == "GPT2", self.length

        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model
                # Set while exporting, where making the mask cannot be traced.
                self.mask = None

            def forward(self, tokens):
                options = {"use_cache": False} if decoder else {}
                if self.mask is not None:
                    options["attention_mask"] = self.mask
                out = self.model(input_ids=tokens, **options)
                pooled = getattr(out, "pooler_output", None)
                return out.last_hidden_state if pooled is None else (out.last_hidden_state, pooled)

            def spell_out_mask(self):
                device = next(self.parameters()).device
                if decoder:
                    self.mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]

        return Network()

    def inputs(self, torch, batch):
        return {"tokens": torch.randint(3, 30000, (batch, self.length), dtype=torch.int64)}


ROBERTA = dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
LARGE = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)

MODELS = {
    "resnet50": Vision("resnet50"),
    "resnet101": Vision("resnet101"),
    "resnet152": Vision("resnet152"),
    "densenet161": Vision("densenet161"),
    "densenet169": Vision("densenet169"),
    "densenet201": Vision("densenet201"),
    "inception_v3": Vision("inception_v3", 299, aux_logits=False, init_weights=False),
    "efficientnet_v2_s": Vision("efficientnet_v2_s"),
    "efficientvit_b2": Timm("efficientvit_b2"),
    "vgg16": Vision("vgg16"),
    "googlenet": Vision("googlenet", aux_logits=False, init_weights=False),
    "mobilenet_v2": Vision("mobilenet_v2"),
    "mnasnet": Vision("mnasnet1_0"),
    "ssd300_vgg16": Detector("ssd300_vgg16", 300),
    "bert_base": Text("Bert", SEQUENCE),
    "bert_large": Text("Bert", SEQUENCE, **LARGE),
    "roberta_base": Text("Roberta", SEQUENCE, **ROBERTA),
    "roberta_large": Text("Roberta", SEQUENCE, **ROBERTA, **LARGE),
    "distilbert": Text("DistilBert", SEQUENCE),
    "gpt2": Text("GPT2", SEQUENCE_GPT),
    "gpt2_medium": Text("GPT2", SEQUENCE_GPT, n_embd=1024, n_layer=24, n_head=16),
    "distilgpt2": Text("GPT2", SEQUENCE_GPT, n_layer=6),
}


def strict(torch):
    """No TF32: f32 is f32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def build(torch, name, device):
    """The model in f32 with seeded weights, its norms calibrated so that activations stay of ordinary size.

    Random networks of rectifiers behind centred norms are chaotic: resnet50 in f16 is off by 2e-2 in any framework. With
    the norms' outputs shifted by one deviation rounding is amplified about as little as in trained networks (5e-4).
    """
    spec = MODELS[name]
    torch.manual_seed(SEED)
    model = spec.build().to(device)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            torch.nn.init.ones_(norm.bias)
            norm.reset_running_stats()
            norm.momentum = None  # the average over the batches seen
        model.train()
        with torch.no_grad():
            for _ in range(2):
                model(*(value.to(device) for value in spec.inputs(torch, 8).values()))
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
    return model.eval()


def cast(torch, values, dtype):
    """Inputs in the model's type."""
    half = dtype == "f16"
    return {name: value.half() if half and value.is_floating_point() else value for name, value in values.items()}


def folder(work, name, dtype):
    path = Path(work) / f"{name}-{dtype}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def guarded(path, what, task):
    """Runs a task; a failure is written down and does not end the others."""
    started = time.time()
    error = path / "error.txt"
    try:
        task()
        print(f"{what}: {time.time() - started:.1f} s", flush=True)
        return True
    except Exception:  # noqa: BLE001: any failure of one model must leave the others alone
        error.write_text(f"{what}\n{traceback.format_exc()}")
        print(f"{what}: FAILED: {traceback.format_exc().strip().splitlines()[-1]}", flush=True)
        return False


def parallel_export(options, names):
    """Exports in processes of their own, the largest models first and spread evenly."""
    weight = {"gpt2_medium": 14, "bert_large": 13, "roberta_large": 14, "vgg16": 6, "gpt2": 5, "bert_base": 4}
    jobs = max(1, min(options.jobs, len(names)))
    shares = [[] for _ in range(jobs)]
    for name in sorted(names, key=lambda name: -weight.get(name, 2)):
        min(shares, key=lambda share: sum(weight.get(other, 2) for other in share)).append(name)
    running = []
    for share in shares:
        command = [sys.executable, __file__, "export", "--jobs", "1", "--work", options.work]
        command += ["--models", ",".join(share), "--dtypes", options.dtypes, "--batches", options.batches]
        command += ["--static"] if options.static else []
        running.append(subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "2"}))
    return max(process.wait() for process in running)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["list", "export", "measure"])
    parser.add_argument("--work", default="/tmp/sublet-gpu")
    parser.add_argument("--models", default="all")
    parser.add_argument("--dtypes", default="f32,f16")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--static", action="store_true", help="one ONNX file per batch size")
    parser.add_argument("--best", action="store_true", help="also time channels_last with cudnn.benchmark")
    options = parser.parse_args()
    names = list(MODELS) if options.models == "all" else options.models.split(",")
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        sys.exit(f"no such model: {', '.join(unknown)}; there are {', '.join(MODELS)}")
    if options.task == "list":
        print("\n".join(names))
        return
    Path(options.work).mkdir(parents=True, exist_ok=True)
    batches = [int(batch) for batch in options.batches.split(",")]
    dtypes = options.dtypes.split(",")
    if options.task == "export":
        if options.jobs > 1 and len(names) > 1:
            sys.exit(parallel_export(options, names))
        import gpu_export

        gpu_export.run(options, names, dtypes, batches)
    else:
        import gpu_measure

        gpu_measure.run(options, names, dtypes, batches)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    # The other files import this one by name: it must not be loaded twice.
    sys.modules["gpu_models"] = sys.modules["__main__"]
    main()
