"""Times the GPU benchmark's models in PyTorch, on the GPU that Sublet runs on in the same benchmark. See gpu_models.py.

All times are medians by CUDA events, in milliseconds: `load` copies every parameter from pinned memory to tensors that
are there already, `eager` and `graph` run with the weights resident, without and with a CUDA graph, `cold` loads and
then runs.
"""

import json
import platform
import statistics
import time
from pathlib import Path

from gpu_models import MODELS, SEED, cast, folder, guarded, strict

REPEATS, REPEATS_FEW = 30, 10
# A model that takes long is repeated less often, and its record says how often.
SECONDS_MAX = 2.0


def run(options, names, dtypes, batches):
    import torch

    strict(torch)
    machine(torch, Path(options.work))
    for name in names:
        for dtype in dtypes:
            path = folder(options.work, name, dtype)
            if not (path / "case.json").exists():
                continue
            guarded(path, f"measure {name} {dtype}", lambda: measure(torch, options, name, dtype, batches, path))
            torch.cuda.empty_cache()


def machine(torch, work):
    """What it was measured on, and the link: 256 MiB from pinned memory."""
    device = torch.cuda.get_device_properties(0)
    host = torch.empty(256 << 20, dtype=torch.uint8).pin_memory()
    there = torch.empty_like(host, device="cuda")
    spent, _ = timed(torch, lambda: there.copy_(host, non_blocking=True))
    (work / "machine.json").write_text(json.dumps({
        "gpu": device.name,
        "gpu_memory_bytes": device.total_memory,
        "multiprocessors": device.multi_processor_count,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "host": platform.platform(),
        "link_gbps": host.numel() / spent / 1e6,
        "tf32": "off",
    }, indent=1))


def timed(torch, task, before=None):
    """Median milliseconds of a task, and how often it was run."""
    for _ in range(3):
        if before:
            before()
        task()
    torch.cuda.synchronize()
    spans, began = [], time.time()
    while len(spans) < REPEATS_FEW or (len(spans) < REPEATS and time.time() - began < SECONDS_MAX):
        if before:
            before()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        task()
        end.record()
        end.synchronize()
        spans.append(start.elapsed_time(end))
    return statistics.median(spans), len(spans)


def measure(torch, options, name, dtype, batches, path):
    spec = MODELS[name]
    torch.manual_seed(SEED)
    model = spec.build().cuda().eval()
    model = model.half() if dtype == "f16" else model
    state = list(model.parameters()) + [value for value in model.buffers() if value.is_floating_point()]
    resident = [value.detach() for value in state]
    host = [value.cpu().pin_memory() for value in resident]

    def load():
        for there, here in zip(resident, host):
            there.copy_(here, non_blocking=True)

    with torch.no_grad():
        load_ms, _ = timed(torch, load)
        figures = {"load_ms": load_ms, "bytes": sum(value.numel() * value.element_size() for value in host), "batches": {}}
        for batch in batches:
            torch.manual_seed(1000 + batch)
            inputs = [value.cuda() for value in cast(torch, spec.inputs(torch, batch), dtype).values()]
            figures["batches"][str(batch)] = one_batch(torch, options, model, inputs, load)
    (path / "torch.json").write_text(json.dumps(figures, indent=1))


def one_batch(torch, options, model, inputs, load):
    torch.backends.cudnn.benchmark = False
    eager_ms, repeats = timed(torch, lambda: model(*inputs))

    def cold():
        load()
        model(*inputs)

    cold_ms, _ = timed(torch, cold)
    figures = {"eager_ms": eager_ms, "cold_ms": cold_ms, "repeats": repeats}
    figures["graph_ms"] = with_graph(torch, model, inputs)
    if options.best and inputs[0].dim() == 4:
        torch.backends.cudnn.benchmark = True
        last = torch.channels_last
        figures["best_ms"] = with_graph(torch, model.to(memory_format=last), [value.to(memory_format=last) for value in inputs])
        model.to(memory_format=torch.contiguous_format)
        torch.backends.cudnn.benchmark = False
    return figures


def with_graph(torch, model, inputs):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            model(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = model(*inputs)
    spent, _ = timed(torch, graph.replay)
    del outputs, graph
    return spent
