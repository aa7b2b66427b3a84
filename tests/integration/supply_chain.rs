//! External parts are pinned by their content: actions by commit, images by digest, linters by hash.

use std::{fs, path::Path};

use regex::Regex;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Asserts that each of the `count` references that `pattern` captures in `file` ends with what `pin` matches.
#[track_caller]
fn assert_pinned(file: &str, pattern: &str, pin: &str, count: usize) {
    let pin = Regex::new(&format!("{pin}$")).expect("a pattern");
    let references = Regex::new(pattern).expect("a pattern");
    let text = read(file);
    let found: Vec<_> = references
        .captures_iter(&text)
        .map(|captures| captures.get(1).expect("a group").as_str())
        .collect();
    assert_eq!(found.len(), count, "{file}: {found:?}");
    for reference in found {
        assert!(pin.is_match(reference), "{file}: {reference} is not pinned");
    }
}

#[test]
fn actions_of_the_workflows_are_pinned_by_commit() {
    let commit = "@[0-9a-f]{40}";
    assert_pinned(".github/workflows/ci.yml", r"uses: (\S+)", commit, 7);
    assert_pinned(".github/workflows/release.yml", r"uses: (\S+)", commit, 9);
}

#[test]
fn images_are_pinned_by_digest() {
    let digest = "@sha256:[0-9a-f]{64}";
    assert_pinned("Dockerfile", r"(?m)^FROM (\S+)", digest, 2);
    // The daemon's own image, which is built, has no slash in its name.
    assert_pinned("docker-compose.yml", r"image: (\S+/\S+@\S+)", digest, 3);
    // Those of the profile `tracing` have a version alone.
    let version = r":v?\d[\d.]+(@sha256:[0-9a-f]{64})?";
    assert_pinned("docker-compose.yml", r"image: (\S+/\S+)", version, 5);
}

#[test]
fn packages_of_python_are_pinned_by_hash() {
    let lines = r"(?m)^([a-z].*)$";
    assert_pinned(
        ".ci/requirements.txt",
        lines,
        r"==[0-9.b]+ --hash=sha256:[0-9a-f]{64}",
        8,
    );
    assert_pinned(
        ".ci/kubernetes.txt",
        lines,
        r"==[0-9.]+ --hash=sha256:[0-9a-f]{64}",
        1,
    );
}
