//! Files of a simulation: the scenario, its cost model, and recorded traces.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use sublet_sim::CostFile;
use sublet_sim::scenario::Scenario;

/// A scenario with all that it names.
pub struct Loaded {
    pub path: PathBuf,
    pub scenario: Scenario,
    pub costs: CostFile,
    data: PathBuf,
}

impl Loaded {
    /// `cost`: another cost model than the scenario's. `data`: where traces lie that do not lie beside the scenario.
    pub fn read(path: &Path, cost: Option<&Path>, data: &Path) -> Result<Self> {
        let text = read(path)?;
        let scenario = Scenario::from_toml(&text).with_context(|| path.display().to_string())?;
        let beside = path.parent().unwrap_or(Path::new("")).join(&scenario.cost);
        let cost = cost.unwrap_or(&beside);
        let text = read(cost)?;
        let costs = match cost.extension().is_some_and(|extension| extension == "json") {
            true => CostFile::from_json(&text),
            false => CostFile::from_toml(&text),
        };
        let costs = costs.with_context(|| cost.display().to_string())?;
        Ok(Loaded { path: path.to_owned(), scenario, costs, data: data.to_owned() })
    }

    /// The bytes of a trace, beside the scenario or in the folder of traces.
    pub fn trace(&self, file: &str) -> Result<Vec<u8>, String> {
        let beside = self.path.parent().unwrap_or(Path::new("")).join(file);
        let kept = self.data.join(file);
        fs::read(&beside).or_else(|_| fs::read(&kept)).map_err(|why| {
            format!("neither in {} nor in {}: {why}", beside.display(), kept.display())
        })
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}
