//! Scenario and cost files on disk.

use crate::Files;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use sublet_sim::CostFile;
use sublet_sim::scenario::Scenario;

/// Where scenarios and recorded traces lie.
pub struct Library {
    scenarios: PathBuf,
    data: PathBuf,
}

impl From<Files> for Library {
    fn from(files: Files) -> Self {
        Library { scenarios: files.scenarios, data: files.data }
    }
}

impl Library {
    /// Names of all scenarios, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let folder = fs::read_dir(&self.scenarios)
            .with_context(|| format!("scenarios in {}", self.scenarios.display()))?;
        let mut names = Vec::new();
        for entry in folder {
            let path = entry?.path();
            if let (true, Some(stem)) =
                (path.extension().is_some_and(|extension| extension == "toml"), path.file_stem())
            {
                names.push(stem.to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    pub fn scenario(&self, name: &str) -> Result<(Scenario, CostFile)> {
        let path = self.scenarios.join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let scenario = Scenario::from_toml(&text).with_context(|| path.display().to_string())?;
        let costs = self.costs(&scenario.cost)?;
        Ok((scenario, costs))
    }

    /// A cost model by its file's name below the folder of scenarios.
    pub fn costs(&self, file: &str) -> Result<CostFile> {
        let path = self.scenarios.join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        CostFile::from_toml(&text).with_context(|| path.display().to_string())
    }

    /// The bytes of a trace.
    pub fn trace(&self, file: &str) -> Result<Vec<u8>, String> {
        let path = self.data.join(file);
        fs::read(&path).map_err(|why| format!("{}: {why}", path.display()))
    }
}
