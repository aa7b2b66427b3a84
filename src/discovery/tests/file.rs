//! Tests of target files that appear, change and disappear.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::read;
use crate::discovery::{
    settings::SourceSettings,
    source::{Found, PollResult, Source},
};

/// A folder of files, and what looks at some of them.
struct Folder {
    folder: TempDir,
    files: super::super::file::FileSource,
}

impl Folder {
    fn new(pattern: &str, interval: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pattern = folder.path().join(pattern);
        let section = format!(
            "a: {{template: web, file_sd_configs: [{{files: ['{}'], refresh_interval: {interval}}}]}}",
            pattern.display()
        );
        let settings = read(&section).expect("a block");
        let [SourceSettings::File(files)] = &settings.blocks[0].sources[..] else {
            panic!("one source")
        };
        let files = files.source();
        Self { folder, files }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("room for a file");
    }

    /// Polls, and returns the addresses in each file, `gone`, or the problem.
    async fn look(&mut self) -> Vec<String> {
        let looks = self.files.poll().await.into_iter();
        let shown = looks.filter(|look| !look.list_name.contains('*')).map(
            |PollResult {
                 list_name: piece,
                 found,
             }| {
                let name = Path::new(&piece)
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default();
                match found {
                    Ok(Found::Targets(targets)) => {
                        let at = |target: &crate::discovery::payload::Target| {
                            target.labels.get("__meta_filepath") == Some(&piece)
                        };
                        assert!(targets.iter().all(at), "{targets:?}");
                        let addresses: Vec<_> =
                            targets.iter().map(|target| &*target.address).collect();
                        format!("{name}: {}", addresses.join(" "))
                    }
                    Ok(Found::Removed) => format!("{name}: gone"),
                    Err(error) => format!("{name}: {error}"),
                }
            },
        );
        shown.collect()
    }
}

#[tokio::test]
async fn files_are_read_when_they_come_or_change() {
    let mut folder = Folder::new("*.json", "5m");
    assert!(folder.look().await.is_empty());
    folder.write("a.json", r#"[{"targets": ["a1", "a2"]}]"#);
    folder.write("a.yml", "- targets: [other]");
    assert_eq!(folder.look().await, ["a.json: a1 a2"]);
    assert!(folder.look().await.is_empty());
    folder.write("b.json", r#"[{"targets": ["b"]}]"#);
    folder.write("a.json", r#"[{"targets": ["a1"]}]"#);
    assert_eq!(folder.look().await, ["a.json: a1", "b.json: b"]);
    fs::remove_file(folder.path("a.json")).expect("it is there");
    assert_eq!(folder.look().await, ["a.json: gone"]);
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_a_change() {
    let mut folder = Folder::new("list.yml", "5m");
    for (name, target) in [("one", "a"), ("two", "b")] {
        fs::create_dir(folder.path(name)).expect("room for a folder");
        folder.write(
            &format!("{name}/list.yml"),
            &format!("- targets: [{target}]"),
        );
    }
    // As Kubernetes does it: the file is a link through a link, which is replaced.
    std::os::unix::fs::symlink("one", folder.path("data")).expect("room for a link");
    std::os::unix::fs::symlink("data/list.yml", folder.path("list.yml")).expect("room for a link");
    assert_eq!(folder.look().await, ["list.yml: a"]);
    std::os::unix::fs::symlink("two", folder.path("next")).expect("room for a link");
    fs::rename(folder.path("next"), folder.path("data")).expect("links can be renamed");
    assert_eq!(folder.look().await, ["list.yml: b"]);
}

#[tokio::test]
async fn what_is_half_written_or_missing_is_told_once_and_then_right_again() {
    let mut folder = Folder::new("list.json", "5m");
    let missing = "list.json: cannot be read: No such file or directory";
    assert_eq!(folder.look().await, [missing]);
    assert!(folder.look().await.is_empty());
    folder.write("list.json", r#"[{"targets": ["a", "#);
    assert_eq!(
        folder.look().await,
        ["list.json: line 1 column 19: EOF while parsing a value"]
    );
    assert!(folder.look().await.is_empty());
    folder.write("list.json", r#"[{"targets": ["a", "b"]}]"#);
    assert_eq!(folder.look().await, ["list.json: a b"]);
    fs::remove_file(folder.path("list.json")).expect("it is there");
    assert_eq!(folder.look().await, [missing]);
}

#[tokio::test]
async fn files_that_vanish_all_at_once_were_not_taken_away() {
    let mut folder = Folder::new("*.json", "5m");
    folder.write("a.json", "[]");
    folder.write("b.json", "[]");
    assert_eq!(folder.look().await, ["a.json: ", "b.json: "]);
    for name in ["a.json", "b.json"] {
        fs::remove_file(folder.path(name)).expect("it is there");
    }
    let missing = |name| format!("{name}: cannot be read: No such file or directory");
    assert_eq!(folder.look().await, [missing("a.json"), missing("b.json")]);
    folder.write("b.json", "[]");
    assert_eq!(folder.look().await, ["b.json: ", "a.json: gone"]);
}

#[tokio::test(start_paused = true)]
async fn after_the_interval_everything_is_read_again() {
    let mut folder = Folder::new("list.json", "1m");
    folder.write("list.json", "[]");
    assert_eq!(folder.look().await, ["list.json: "]);
    assert!(folder.look().await.is_empty());
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    assert_eq!(folder.look().await, ["list.json: "]);
}

#[tokio::test]
async fn a_star_stands_for_any_text() {
    let mut folder = Folder::new("a*b*.json", "5m");
    for name in [
        "ab.json",
        "aXbY.json",
        "aab.json",
        "ba.json",
        "ab.yml",
        "xab.json",
        "a.json",
    ] {
        folder.write(name, "[]");
    }
    assert_eq!(
        folder.look().await,
        ["aXbY.json: ", "aab.json: ", "ab.json: "]
    );
}
