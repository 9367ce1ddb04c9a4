//! Python environments for references and clients, made on first use below the target folder.

use crate::shell::{self, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A virtual environment with exactly these pinned requirements. Made again when they change.
pub fn environment(name: &str, requirements: &[&str]) -> Result<PathBuf> {
    let folder = shell::target_dir().join("python").join(name);
    let python = folder.join("bin").join("python");
    let stamp = folder.join("requirements.txt");
    let wanted = requirements.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    println!("making the Python environment `{name}` with {}", requirements.join(", "));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    run(shell::command("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(requirements);
    run(&mut install)?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}

/// The folder of ONNX's node tests, one folder per test, inside an environment that has the package shipping them.
pub fn onnx_node_tests() -> Result<PathBuf> {
    let python = environment("onnx", &["onnx==1.22.0"])?;
    let find = "import importlib.util as u, os; \
                print(os.path.join(os.path.dirname(u.find_spec('onnx').origin), 'backend/test/data/node'))";
    let folder = shell::output(Command::new(&python).args(["-c", find]))?;
    Ok(PathBuf::from(folder.trim()))
}
