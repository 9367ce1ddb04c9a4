//! Names, links, kinds of file and versions.

use super::*;
use crate::VersionPolicy;
use std::os::unix::fs::symlink;

const BYTES_MAX: u64 = 1000;

fn write(root: &Path, path: &str, contents: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

fn repository(root: &Path) -> Repository {
    Repository::open(&[root.to_owned()], BYTES_MAX).unwrap()
}

#[test]
fn names_are_one_plain_path_component() {
    let long = "n".repeat(256);
    for name in ["", " ", "\t ", ".", "..", "../x", "/etc", "a/b", "a\\b", "a\0b", "a\nb", &long] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
    let longest = "n".repeat(255);
    for name in ["a", "...", "model..1", "..a", ".hidden", "with blank", "größe", &longest] {
        assert_eq!(check_name(name), Ok(()), "{name:?}");
    }
}

#[test]
fn finds_every_form_of_model() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, "triton/1/model.onnx", "");
    write(root, "triton/3/model.onnx", "");
    write(root, "triton/config.pbtxt", "");
    write(root, "bare/model.onnx", "");
    write(root, "file.onnx", "");
    write(root, "hf/config.json", "");
    write(root, "hf/model.safetensors", "");
    write(root, "hf-versions/2/config.json", "");
    write(root, "hf-versions/2/model.safetensors", "");
    write(root, "named/7/net.onnx", "");
    write(root, ".../1/model.onnx", "");
    write(root, "empty/1/readme", "");
    write(root, ".git/HEAD", "");
    write(root, "notes.txt", "");
    let repository = repository(root);
    assert_eq!(
        repository.names(),
        ["...", "bare", "empty", "file", "hf", "hf-versions", "named", "triton"]
    );
    let check = |name: &str, filename: Option<&str>, expect: &[(u64, &str)]| {
        let files = repository.find(name).unwrap();
        let found = versions(&files, filename).unwrap();
        let shown: Vec<_> = found
            .values()
            .map(|files| match &files.main {
                MainFile::Onnx(path) => (files.version, path.as_str()),
                MainFile::Safetensors { weights, .. } => (files.version, weights.as_str()),
                MainFile::Missing { .. } => (files.version, "missing"),
            })
            .collect();
        assert_eq!(shown, expect, "{name}");
    };
    check("triton", None, &[(1, "1/model.onnx"), (3, "3/model.onnx")]);
    check("bare", None, &[(1, "model.onnx")]);
    check("file", None, &[(1, "file.onnx")]);
    check("hf", None, &[(1, "model.safetensors")]);
    check("hf-versions", None, &[(2, "2/model.safetensors")]);
    check("named", Some("net.onnx"), &[(7, "7/net.onnx")]);
    check("...", None, &[(1, "1/model.onnx")]);
    check("empty", None, &[(1, "missing")]);
    let error = versions(&repository.find("bare").unwrap(), Some("../x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(repository.find("nothing").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(repository.find("..").err().unwrap().kind(), ErrorKind::Invalid);
}

#[test]
fn the_policy_selects_versions() {
    let version = |version| VersionFiles {
        version,
        folder: version.to_string(),
        main: MainFile::Onnx(String::new()),
    };
    let found: BTreeMap<_, _> = [1, 2, 10].into_iter().map(|n| (n, version(n))).collect();
    let check = |policy, expect: &[u64]| {
        let selected = select(found.clone(), &policy).unwrap();
        assert_eq!(selected.into_keys().collect::<Vec<_>>(), expect, "{policy:?}");
    };
    check(VersionPolicy::default(), &[10]);
    check(VersionPolicy::Latest { count: 2 }, &[2, 10]);
    check(VersionPolicy::All, &[1, 2, 10]);
    check(VersionPolicy::Specific(vec![2, 1, 2]), &[1, 2]);
    assert!(select(found.clone(), &VersionPolicy::Specific(vec![4])).is_err());
}

#[test]
fn nothing_is_read_from_outside() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret", "secret");
    write(outside.path(), "m/1/model.onnx", "x");
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    symlink(outside.path().join("m"), root.join("linked")).unwrap();
    symlink(outside.path().join("m/1/model.onnx"), root.join("file.onnx")).unwrap();
    write(root, "m/1/model.onnx", "x");
    write(root, "m/1/data/part", "x");
    write(root, "m/2/model.onnx", "x");
    write(root, "other/1/model.onnx", "x");
    symlink(outside.path().join("secret"), root.join("m/1/secret")).unwrap();
    symlink("../2/model.onnx", root.join("m/1/sideways")).unwrap();
    symlink("data/part", root.join("m/1/within")).unwrap();
    let repository = repository(root);
    assert_eq!(repository.find("linked").err().unwrap().kind(), ErrorKind::Invalid);
    let file = repository.find("file").unwrap();
    assert_eq!(file.read("file.onnx").err().unwrap().kind(), ErrorKind::Invalid);

    let files = repository.find("m").unwrap();
    for location in ["data/part", "./data/./part", "within", "model.onnx"] {
        assert_eq!(&files.read_beside("1", location).unwrap().bytes[..], b"x", "{location}");
    }
    let absolute = outside.path().join("secret").to_str().unwrap().to_owned();
    for location in
        ["secret", "sideways", "../2/model.onnx", "data/../../2/model.onnx", "", "a\0", &absolute]
    {
        let error = files.read_beside("1", location).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{location}: {error}");
        assert!(!error.to_string().contains("secret\n"), "{error}");
    }
}

#[test]
fn only_regular_files_of_bounded_size_are_read() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, "m/1/model.onnx", &"x".repeat(1001));
    fs::create_dir_all(root.join("m/2/model.onnx")).unwrap();
    let files = repository(root).find("m").unwrap();
    let error = files.read("1/model.onnx").err().unwrap();
    assert!(error.to_string().contains("1001 bytes"), "{error}");
    let error = files.read("2/model.onnx").err().unwrap();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn a_file_of_another_length_than_it_says_is_refused() {
    // The system makes this one as it is read; it claims to be empty, as a file does that grows meanwhile.
    let error = file::read(Path::new("/proc/self/status"), BYTES_MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("changed while it was read"), "{error}");
}

#[test]
fn one_name_in_two_repositories_is_an_error() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path(), "m/1/model.onnx", "");
    write(two.path(), "m.onnx", "");
    let roots = [one.path().to_owned(), two.path().to_owned()];
    let repository = Repository::open(&roots, BYTES_MAX).unwrap();
    assert_eq!(repository.names(), ["m"]);
    let error = repository.find("m").err().unwrap();
    assert!(error.to_string().contains("more than once"), "{error}");
    assert!(Repository::open(&[one.path().join("missing")], BYTES_MAX).is_err());
}

#[test]
fn a_changed_file_changes_the_fingerprints() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "m/1/model.onnx", "a");
    let files = repository(root.path()).find("m").unwrap();
    let before = files.fingerprints();
    assert!(before[0].still_holds());
    write(root.path(), "m/1/model.onnx", "ab");
    assert_ne!(files.fingerprints(), before);
    assert!(!before[0].still_holds());
}
