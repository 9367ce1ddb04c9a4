//! Shapes as people write them: `x=1x3x224x224`.

use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Reads `NAME=1x3x224x224` for each input; a scalar is `NAME=`.
pub fn parse(shapes: &[String]) -> Result<BTreeMap<String, Vec<usize>>> {
    let mut parsed = BTreeMap::new();
    for text in shapes {
        let (name, dims) = text.rsplit_once('=').with_context(|| form(text))?;
        let dims = dims
            .split('x')
            .filter(|dim| !dim.is_empty())
            .map(|dim| dim.parse().with_context(|| form(text)));
        parsed.insert(name.to_owned(), dims.collect::<Result<_>>()?);
    }
    Ok(parsed)
}

fn form(text: &str) -> String {
    format!("--shape {text}: write NAME=1x3x224x224")
}

/// `1x3x224x224`, or `scalar`.
pub fn show(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "scalar".to_owned();
    }
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_with_anything_in_them() {
        let parsed = parse(&["x=1x3".to_owned(), "a:0=2".to_owned(), "rate=".to_owned()]).unwrap();
        assert_eq!(parsed["x"], [1, 3]);
        assert_eq!(parsed["a:0"], [2]);
        assert!(parsed["rate"].is_empty());
        assert!(parse(&["x".to_owned()]).is_err());
        assert!(parse(&["x=1xy".to_owned()]).is_err());
    }
}
