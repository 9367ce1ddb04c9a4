"""Exports the GPU benchmark's models to ONNX, with inputs and PyTorch's outputs beside them. See gpu_models.py."""

import contextlib
import copy
import json
import os
import sys
import warnings

from gpu_models import MODELS, build, cast, folder, guarded, strict

# The oldest operator set in which both exporters write layer norms as one operator and activations as formulas.
OPSET = 17


def run(options, names, dtypes, batches):
    import torch

    warnings.filterwarnings("ignore")
    strict(torch)
    for name in names:
        wanted = [dtype for dtype in dtypes if not is_done(folder(options.work, name, dtype), batches, options)]
        if not wanted:
            print(f"export {name}: there already", flush=True)
            continue
        built = []
        path = folder(options.work, name, wanted[0])
        if not guarded(path, f"build {name}", lambda: built.append(build(torch, name, options.device))):
            continue
        for dtype in wanted:
            path = folder(options.work, name, dtype)
            guarded(path, f"export {name} {dtype}", lambda: export(torch, options, built[0], name, dtype, batches, path))
        del built
        if options.device == "cuda":
            torch.cuda.empty_cache()


def is_done(path, batches, options):
    try:
        case = json.loads((path / "case.json").read_text())
    except (OSError, ValueError):
        return False
    return set(batches) <= set(case["batches"]) and case["static"] == options.static


def export(torch, options, f32, name, dtype, batches, path):
    from safetensors.torch import save_file

    spec = MODELS[name]
    model = f32 if dtype == "f32" else folded(torch, f32, spec, options.device).half()
    # What rounding the weights alone changes is not the device's doing: exact values come from the rounded weights.
    exact = None if dtype == "f32" else copy.deepcopy(model).float()
    generator_seed = 1000
    outputs = []
    for batch in batches:
        torch.manual_seed(generator_seed + batch)
        inputs = cast(torch, spec.inputs(torch, batch), dtype)
        on_device = [value.to(options.device) for value in inputs.values()]
        with torch.no_grad():
            got = as_tuple(model(*on_device))
            outputs = [f"output{index}" for index in range(len(got))]
            tensors = {f"in/{key}": value for key, value in inputs.items()}
            tensors |= {f"out/{key}": value.cpu().contiguous() for key, value in zip(outputs, got)}
            if exact is not None:
                wide = [value.float() if value.is_floating_point() else value for value in on_device]
                tensors |= {f"exact/{key}": value.cpu().contiguous() for key, value in zip(outputs, as_tuple(exact(*wide)))}
        save_file(tensors, path / f"b{batch}.safetensors")
    del exact
    exporter = ""
    if options.static:
        for batch in batches:
            exporter = to_onnx(torch, options, model, spec, dtype, batch, False, outputs, path / f"model-b{batch}.onnx")
    else:
        # Traced with two rows, so that no size of one is taken for fixed.
        exporter = to_onnx(torch, options, model, spec, dtype, 2, True, outputs, path / "model.onnx")
    state = list(model.parameters()) + [value for value in model.buffers() if value.is_floating_point()]
    case = {
        "model": name,
        "dtype": dtype,
        "batches": batches,
        "static": options.static,
        "exporter": exporter,
        "inputs": list(spec.inputs(torch, 1)),
        "outputs": outputs,
        "torch_bytes": sum(value.numel() * value.element_size() for value in state),
    }
    (path / "case.json").write_text(json.dumps(case, indent=1))
    (path / "error.txt").unlink(missing_ok=True)


def folded(torch, model, spec, device):
    """A copy in which each batch norm is part of the convolution before it.

    Exporters fold norms too, but after the weights were rounded to half precision, and round what comes out again: what
    they write is another model, off by 1.5e-2 in the case of efficientvit_b2.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    model = copy.deepcopy(model)
    inputs = [value.to(device) for value in spec.inputs(torch, 2).values()]
    made, pairs, calls = {}, [], {}

    def after_convolution(module, given, output):
        made[id(output)] = (module, output)  # the output is kept, so that its id is nobody else's
        calls[module] = calls.get(module, 0) + 1

    def before_norm(module, given):
        calls[module] = calls.get(module, 0) + 1
        if id(given[0]) in made:
            pairs.append((made[id(given[0])][0], module))

    modules = list(model.modules())
    hooks = [module.register_forward_hook(after_convolution) for module in modules if type(module) is torch.nn.Conv2d]
    hooks += [module.register_forward_pre_hook(before_norm) for module in modules if type(module) is torch.nn.BatchNorm2d]
    with torch.no_grad():
        before = as_tuple(model(*inputs))
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in model.named_modules()}
    for convolution, norm in pairs:
        if calls[convolution] != 1 or calls[norm] != 1:
            continue
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        parent, _, name = names[norm].rpartition(".")
        setattr(model.get_submodule(parent), name, torch.nn.Identity())
    with torch.no_grad():
        for value, wanted in zip(as_tuple(model(*inputs)), before):
            difference = float((value - wanted).norm() / wanted.norm())
            if not difference < 1e-4:
                raise RuntimeError(f"folding the norms changes the outputs by {difference}")
    return model


def as_tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def to_onnx(torch, options, model, spec, dtype, batch, dynamic, outputs, path):
    """Tries the exporters in turn, the plainest graph first; returns which one did it."""
    values = cast(torch, spec.inputs(torch, batch), dtype)
    inputs = tuple(value.to(options.device) for value in values.values())
    ways = [("torchscript", False), ("torchscript, mask spelled out", True), ("dynamo", False), ("dynamo, mask spelled out", True)]
    failures = []
    for way, mask in ways:
        if mask and not hasattr(model, "spell_out_mask"):
            continue
        if mask:
            model.spell_out_mask()
        try:
            with quiet():
                with_exporter(torch, model, inputs, list(values), outputs, dynamic, way.startswith("dynamo"), path)
            check_types(path, dtype, outputs)
            return way
        except Exception as error:  # noqa: BLE001: the next way may do
            failures.append(f"{way}: {type(error).__name__}: {str(error)[:500]}")
        finally:
            if hasattr(model, "mask"):
                model.mask = None
    raise RuntimeError("no exporter did it:\n" + "\n".join(failures))


def check_types(path, dtype, outputs):
    """An exporter may compute a model of half precision in f32: that is another model."""
    import onnx

    wanted = {"f32": onnx.TensorProto.FLOAT, "f16": onnx.TensorProto.FLOAT16}[dtype]
    graph = onnx.load(str(path)).graph
    found = [value.type.tensor_type.elem_type for value in graph.output]
    if any(kind != wanted for kind in found):
        names = [onnx.TensorProto.DataType.Name(kind) for kind in found]
        raise RuntimeError(f"outputs of type {names} instead of {dtype}")


@contextlib.contextmanager
def quiet():
    """An exporter that fails prints its whole graph, from C++ too; what went wrong is in the exception."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copied in zip((1, 2), kept):
            os.dup2(copied, number)
            os.close(copied)
        os.close(nowhere)


def with_exporter(torch, model, inputs, names, outputs, dynamic, dynamo, path):
    if dynamo:
        shapes = ({0: torch.export.Dim("batch")},) * len(inputs) if dynamic else None
        program = torch.onnx.export(
            model, inputs, dynamo=True, opset_version=OPSET, input_names=names,
            output_names=outputs, dynamic_shapes=shapes, verbose=False,
        )
        program.save(str(path), external_data=False)
        return
    axes = {key: {0: "batch"} for key in [*names, *outputs]} if dynamic else None
    older = {"dynamo": False} if has_dynamo(torch) else {}
    torch.onnx.export(
        model, inputs, str(path), opset_version=OPSET, input_names=names, output_names=outputs,
        dynamic_axes=axes, do_constant_folding=True, **older,
    )


def has_dynamo(torch):
    import inspect

    return "dynamo" in inspect.signature(torch.onnx.export).parameters
