//! What continuous integration runs, and its single steps.

use crate::shell::{cargo, command, output, run as execute, step};
use crate::{bench, python, shell, tidy};
use anyhow::Result;

/// All steps, cheapest first.
pub fn run() -> Result<()> {
    step("formatting", || execute(&mut cargo(&["fmt", "--all", "--check"])))?;
    step("tidy", tidy::run)?;
    step("lints", || {
        execute(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "--deny",
            "warnings",
        ]))
    })?;
    step("tests", tests)?;
    step("documentation", || {
        execute(
            cargo(&["doc", "--workspace", "--no-deps", "--quiet"])
                .env("RUSTDOCFLAGS", "--deny warnings"),
        )
    })?;
    step("scheduler under faults", || bench::simtest(500, 0, None, false))?;
    step("fuzz smoke", || fuzz(5_000, 1))?;
    step("conformance", || conformance(false, None))?;
    step("reference", reference)?;
    step("clients", clients)?;
    step("soak", || bench::soak(4_000, 1, false))
}

fn tests() -> Result<()> {
    let nextest = output(&mut cargo(&["nextest", "--version"])).is_ok();
    if nextest {
        execute(&mut cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]))?;
        execute(&mut cargo(&["test", "--workspace", "--doc", "--quiet"]))
    } else {
        execute(&mut cargo(&["test", "--workspace", "--quiet"]))
    }
}

/// ONNX's node tests on the CPU device.
pub fn conformance(bless: bool, filter: Option<&str>) -> Result<()> {
    let data = python::onnx_node_tests()?;
    let mut conformance =
        cargo(&["run", "--quiet", "--package", "sublet-conformance", "--", "onnx-node", "--data"]);
    conformance.arg(data);
    if bless {
        conformance.arg("--bless");
    }
    if let Some(filter) = filter {
        conformance.args(["--filter", filter]);
    }
    execute(&mut conformance)
}

/// The real models against ONNX Runtime.
pub fn reference() -> Result<()> {
    let python = python::environment("reference", bench::REFERENCE)?;
    let mut reference = cargo(&[
        "run",
        "--quiet",
        "--package",
        "sublet-conformance",
        "--",
        "reference",
        "--python",
    ]);
    execute(reference.arg(python).arg("--script").arg(shell::root().join("python/reference.py")))
}

/// Real clients against a real server. Two environments: the clients want different versions of protobuf.
pub fn clients() -> Result<()> {
    execute(&mut cargo(&["build", "--quiet", "--package", "sublet"]))?;
    let sublet = shell::target_dir().join("debug/sublet");
    for (name, requirements) in [
        ("triton-client", &["tritonclient[all]==2.73.0", "pytest==9.0.1", "onnx==1.22.0"][..]),
        ("kserve-client", &["kserve==0.21.0", "pytest==9.0.1", "onnx==1.22.0"][..]),
    ] {
        let python = python::environment(name, requirements)?;
        let tests = shell::root()
            .join("python/clients")
            .join(format!("test_{}.py", name.replace("-client", "")));
        execute(command(python).args(["-m", "pytest", "-q"]).arg(tests).env("SUBLET", &sublet))?;
    }
    Ok(())
}

/// Seeded smoke run of the fuzz targets, on the stable toolchain.
pub fn fuzz(runs: u64, seed: u64) -> Result<()> {
    let (runs, seed) = (runs.to_string(), seed.to_string());
    execute(&mut cargo(&[
        "run",
        "--quiet",
        "--package",
        "sublet-fuzz",
        "--",
        "--runs",
        &runs,
        "--seed",
        &seed,
    ]))
}
