//! The architecture's invariants, checked over `cargo metadata` and over the sources.
//!
//! Each rule is a function from the workspace to a list of violations, so that each can be shown to fail.

use crate::shell;
use anyhow::{Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which workspace crates each crate may name: the table of `ARCHITECTURE.md`. A new edge is a decision, written
/// down here and there.
const EDGES: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("graph", &["units"]),
    ("import", &["graph"]),
    ("pool", &["units"]),
    ("plan", &["units", "graph", "pool"]),
    ("sched", &["units", "pool"]),
    ("device", &["units", "graph", "plan"]),
    ("device-cpu", &["units", "graph", "plan", "device"]),
    ("device-cuda", &["units", "graph", "plan", "device"]),
    ("devices", &["units", "device", "device-cpu", "device-cuda"]),
    ("engine", &["units", "graph", "import", "plan", "pool", "sched", "device"]),
    ("server", &["units", "graph", "engine"]),
    ("workload", &["units"]),
    ("report", &["units"]),
    ("packing", &["units"]),
    ("sim", &["units", "sched", "workload", "report"]),
    ("bench-sim", &["units", "sched", "workload", "report", "sim"]),
    ("bench-packing", &["units", "packing"]),
    ("catalog", &[]),
    ("conformance", &["units", "graph", "import", "plan", "device", "device-cpu", "catalog"]),
    ("fuzz", &["import", "engine", "server", "catalog"]),
    (
        "bench",
        &[
            "units",
            "graph",
            "engine",
            "server",
            "device",
            "device-cpu",
            "sched",
            "workload",
            "report",
            "sim",
            "catalog",
            "conformance",
        ],
    ),
    (
        "bench-gpu",
        &[
            "units",
            "graph",
            "import",
            "plan",
            "device",
            "device-cpu",
            "devices",
            "engine",
            "server",
            "conformance",
        ],
    ),
    (
        "sublet",
        &[
            "units",
            "graph",
            "import",
            "packing",
            "plan",
            "pool",
            "sched",
            "device",
            "device-cpu",
            "devices",
            "engine",
            "server",
            "workload",
            "report",
            "catalog",
            "sim",
        ],
    ),
    ("xtask", &[]),
];

/// What is a program, or belongs to one.
const BINARIES: &[&str] =
    &["sublet", "xtask", "bench", "bench-gpu", "bench-packing", "bench-sim", "conformance", "fuzz"];

/// Crates from outside that only some crates may name.
const OWNED: &[(&str, &[&str])] = &[
    ("cudarc", &["device-cuda"]),
    ("axum", &["server", "bench"]),
    ("tonic", &["server", "bench", "sublet"]),
    ("hyper", &["server"]),
    ("rten-gemm", &["device-cpu"]),
    ("clap", BINARIES),
    ("anyhow", BINARIES),
];

/// Crates below `engine`: they are told the time and given bytes.
const PURE: &[&str] = &[
    "units",
    "graph",
    "import",
    "pool",
    "plan",
    "sched",
    "device",
    "device-cpu",
    "device-cuda",
    "workload",
    "report",
    "packing",
    "sim",
];

/// Crates that may have unsafe code.
const UNSAFE: &[&str] = &["device-cuda", "broker"];

/// What a crate below `engine` must not write, and why.
const IMPURE: &[(&str, &str)] = &[
    ("Instant::now", "reads a clock: time is passed in"),
    ("SystemTime", "reads a clock: time is passed in"),
    ("std::fs", "opens files: bytes are passed in"),
    ("File::open", "opens files: bytes are passed in"),
    ("std::env::var", "reads the environment: settings are passed in"),
    ("thread::sleep", "sleeps: time is passed in"),
];

const LINES_MAX: usize = 800;

/// Checks every rule and fails when one is broken.
pub fn run() -> Result<()> {
    let metadata = MetadataCommand::new().manifest_path(shell::root().join("Cargo.toml")).exec()?;
    let sources = sources(&shell::root());
    let rules: [(&str, Vec<String>); 7] = [
        ("crates know only whom they may", edges(&metadata)),
        ("one crate per outside interface", owned(&metadata)),
        ("dependencies come from the registry, through the workspace table", registry(&metadata)),
        ("nothing below engine reads a clock, a file or the environment", pure(&sources)),
        ("unsafe code only where it is allowed", unsafe_code(&sources)),
        ("files say what they are for, and are one idea", files(&sources)),
        ("documents exist and are true", documents(&shell::root())),
    ];
    let mut broken = 0;
    for (rule, violations) in &rules {
        println!("{} {rule}", if violations.is_empty() { "ok  " } else { "FAIL" });
        for violation in violations {
            println!("       {violation}");
        }
        broken += violations.len();
    }
    println!(
        "tidy: {} rules, {} crates, {} files, {broken} violations",
        rules.len(),
        EDGES.len(),
        sources.len()
    );
    if broken > 0 {
        bail!("{broken} violations");
    }
    Ok(())
}

/// The folder's name of a workspace package: `sublet-sched` → `sched`.
fn short(name: &str) -> &str {
    name.strip_prefix("sublet-").unwrap_or(name)
}

fn edges(metadata: &Metadata) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let members: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        let from = short(&package.name);
        let Some(may) = allowed.get(from) else {
            violations.push(format!("{from} is not in the table of edges"));
            continue;
        };
        let normal =
            package.dependencies.iter().filter(|edge| edge.kind != DependencyKind::Development);
        for edge in normal.filter(|edge| members.contains(&edge.name)) {
            if !may.contains(&short(&edge.name)) {
                violations.push(format!("{from} depends on {}", short(&edge.name)));
            }
        }
    }
    violations
}

fn owned(metadata: &Metadata) -> Vec<String> {
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        for edge in
            package.dependencies.iter().filter(|edge| edge.kind != DependencyKind::Development)
        {
            let owner = OWNED.iter().find(|(name, _)| *name == edge.name);
            if let Some((name, owners)) =
                owner.filter(|(_, owners)| !owners.contains(&short(&package.name)))
            {
                violations.push(format!(
                    "{} names {name}, which is for {}",
                    package.name,
                    owners.join(", ")
                ));
            }
        }
    }
    violations
}

fn registry(metadata: &Metadata) -> Vec<String> {
    let mut violations = Vec::new();
    for package in &metadata.packages {
        if package.source.as_ref().is_some_and(|source| !source.repr.starts_with("registry+")) {
            violations.push(format!(
                "{} {} does not come from the registry",
                package.name, package.version
            ));
        }
    }
    for package in metadata.workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap_or_default();
        // Lints cannot be inherited and lifted: who may have unsafe code spells them out.
        if !manifest.contains("[lints]\nworkspace = true")
            && !UNSAFE.contains(&short(&package.name))
        {
            violations.push(format!("{} does not take the workspace's lints", package.name));
        }
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
                violations
                    .push(format!("{}: `{line}` is not from the workspace table", package.name));
            }
        }
    }
    violations
}

/// A source file of the workspace.
struct Source {
    /// Relative to the root.
    path: PathBuf,
    /// The crate's folder, `xtask`, or empty.
    owner: String,
    text: String,
}

impl Source {
    /// Lines of the program itself with their numbers: what follows the tests' marker is left out.
    fn program(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines
            .take_while(|(_, line)| *line != "#[cfg(test)]")
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_test(&self) -> bool {
        self.path
            .components()
            .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches")
            || self.path.file_stem().is_some_and(|stem| stem == "tests" || stem == "build")
    }
}

fn sources(root: &Path) -> Vec<Source> {
    let listed = shell::output(shell::command("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]));
    let mut sources = Vec::new();
    for path in
        listed.unwrap_or_default().lines().filter(|path| path.ends_with(".rs")).map(PathBuf::from)
    {
        let Ok(text) = fs::read_to_string(root.join(&path)) else { continue };
        let mut parts =
            path.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let owner = match (parts.next().as_deref(), parts.next()) {
            (Some("crates"), Some(name)) => name,
            (Some(first), Some(_)) => first.to_owned(),
            _ => String::new(),
        };
        sources.push(Source { path, owner, text });
    }
    sources
}

fn pure(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in
        sources.iter().filter(|source| PURE.contains(&source.owner.as_str()) && !source.is_test())
    {
        for (number, line) in source.program() {
            if let Some((_, why)) = IMPURE.iter().find(|(word, _)| line.contains(word)) {
                violations.push(format!("{}:{number} {why}", source.path.display()));
            }
        }
    }
    violations
}

fn unsafe_code(sources: &[Source]) -> Vec<String> {
    // Written in two parts so that this file does not find itself.
    let words = ["{", "impl", "fn", "extern"].map(|rest| format!("{} {rest}", "unsafe"));
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !UNSAFE.contains(&source.owner.as_str())) {
        for (number, line) in source.program() {
            if words.iter().any(|word| line.contains(word.as_str()))
                || line.contains(&format!("allow({}_code)", "unsafe"))
            {
                violations.push(format!("{}:{number} {}", source.path.display(), line.trim()));
            }
        }
    }
    violations
}

fn files(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        let path = source.path.display();
        if !source.text.starts_with("//!") {
            violations.push(format!("{path} does not start by saying what it is for (`//!`)"));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            violations.push(format!("{path} has {lines} lines, more than {LINES_MAX}"));
        }
        for (number, line) in source.program() {
            for word in ["todo!(", "unimplemented!(", "dbg!(", "allow(dead_code)", "allow(unused"] {
                if line.contains(word) && source.owner != "xtask" {
                    violations.push(format!("{path}:{number} has {word}"));
                }
            }
        }
    }
    violations
}

/// Documents with the most lines they may have.
const DOCUMENTS: &[(&str, usize)] = &[
    ("README.md", 150),
    ("ARCHITECTURE.md", 300),
    ("SPECIFICATION.md", 300),
    ("docs/performance.md", 400),
];

fn documents(root: &Path) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, lines_max) in DOCUMENTS {
        match fs::read_to_string(root.join(name)) {
            Ok(text) if text.lines().count() > *lines_max => {
                violations.push(format!("{name} has more than {lines_max} lines"));
            }
            Ok(text) => violations.extend(links(root, name, &text)),
            Err(_) => violations.push(format!("{name} is missing")),
        }
    }
    let recipes = fs::read_dir(root.join("docs")).into_iter().flatten().flatten();
    for recipe in
        recipes.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "md"))
    {
        let name = format!("docs/{}", recipe.file_name().to_string_lossy());
        violations.extend(links(
            root,
            &name,
            &fs::read_to_string(recipe.path()).unwrap_or_default(),
        ));
    }
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    for (name, _) in EDGES {
        if !architecture.contains(&format!("`{name}`")) {
            violations.push(format!("ARCHITECTURE.md does not mention `{name}`"));
        }
    }
    violations
}

/// Files that a document names between backticks or as link targets, and that do not exist.
fn links(root: &Path, name: &str, text: &str) -> Vec<String> {
    let folder = root.join(name).parent().expect("a document lies in a folder").to_owned();
    let ticked = text.split('`').skip(1).step_by(2);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let mut violations = Vec::new();
    for path in ticked.chain(targets) {
        let looks_like_path = ["crates/", "docs/", "bench/", "python/", "xtask/", "fuzz/", "../"]
            .iter()
            .any(|prefix| path.starts_with(prefix));
        let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if looks_like_path && plain && !root.join(path).exists() && !folder.join(path).exists() {
            violations.push(format!("{name} names {path}, which does not exist"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(owner: &str, text: &str) -> Vec<Source> {
        vec![Source {
            path: format!("crates/{owner}/src/x.rs").into(),
            owner: owner.into(),
            text: text.into(),
        }]
    }

    #[test]
    fn each_source_rule_can_fail() {
        assert_eq!(pure(&source("sched", "//! x\nlet now = Instant::now();")).len(), 1);
        assert_eq!(pure(&source("engine", "//! x\nlet now = Instant::now();")).len(), 0);
        assert_eq!(
            pure(&source("sched", "//! x\n#[cfg(test)]\nmod tests { use std::fs; }")).len(),
            0
        );
        let code = format!("//! x\n{} {{ f() }}", "unsafe");
        assert_eq!(unsafe_code(&source("graph", &code)).len(), 1);
        assert_eq!(unsafe_code(&source("device-cuda", &code)).len(), 0);
        assert_eq!(files(&source("graph", "fn main() {}")).len(), 1);
        assert_eq!(files(&source("graph", &format!("//! x\n{}", "\n".repeat(LINES_MAX)))).len(), 1);
        assert_eq!(files(&source("graph", "//! x\ntodo!()")).len(), 1);
    }

    #[test]
    fn a_link_to_nowhere_is_found() {
        let root = shell::root();
        assert_eq!(
            links(&root, "README.md", "see `crates/units` and [x](docs/nowhere.md)").len(),
            1
        );
    }

    #[test]
    fn a_forbidden_edge_is_found() {
        let metadata = MetadataCommand::new().manifest_path(root_manifest()).exec().unwrap();
        assert_eq!(edges(&metadata), Vec::<String>::new());
        assert!(
            metadata
                .workspace_packages()
                .iter()
                .any(|package| package.name.as_str() == "sublet-sched")
        );
    }

    fn root_manifest() -> PathBuf {
        shell::root().join("Cargo.toml")
    }
}
