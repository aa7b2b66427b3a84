//! Reads whole configurations: ours, one of blackbox_exporter, a web configuration.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::server;
use crate::value::{self, Fields, Node, Problems};

use super::{
    environment::{Environment, Variables},
    include::{self, Included},
    invalid::Invalid,
    key_hints,
    loader::{folder_of, read_main},
    settings::Config,
};

/// Reads and validates the configuration in the file at `path`, and in the files that it includes.
///
/// # Errors
/// All problems with it.
pub fn read(path: &Path) -> Result<Config, Invalid> {
    read_with(path, &|name| env::var_os(name))
}

/// Reads and validates the configuration of blackbox_exporter in the file at `path`: one that has modules and
/// no monitors.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_blackbox(path: &Path) -> Result<Config, Invalid> {
    let (files, tree) = read_main(path)?;
    let problems = Problems::default();
    problems.set_folder(0, PathBuf::new());
    let fields = Fields::from_node(&tree, value::Path::default(), &problems);
    let config = fields.map(Config::read_blackbox);
    files.finish(config, problems)
}

/// Reads a web configuration of Prometheus' exporters from the file at `path`: the settings of a server.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_web(path: &Path) -> Result<server::Settings, Invalid> {
    let (files, tree) = read_main(path)?;
    let problems = Problems::default();
    problems.set_folder(0, folder_of(path));
    let fields = Fields::from_node(&tree, value::Path::default(), &problems);
    let config = fields.map(|fields| Config {
        server: server::Settings::read_web_config(fields),
        ..Config::default()
    });
    files.finish(config, problems).map(|config| config.server)
}

pub(super) fn read_with(path: &Path, variables: Variables<'_>) -> Result<Config, Invalid> {
    let (mut files, mut main) = read_main(path)?;
    let problems = Problems::default();
    problems.set_folder(0, folder_of(path));
    problems.set_key_hint(key_hints::hint);
    let environment = Environment::new(variables, &problems);
    environment.substitute(&mut main, &value::Path::default());
    let mut trees = Vec::new();
    let mut blackbox = None;
    let config = Fields::from_node(&main, value::Path::default(), &problems).map(|mut fields| {
        let included = include::find_included(&mut fields, path, &mut files.folders);
        for included in included {
            trees.extend(files.read(included, &environment, &problems));
        }
        let file = find_blackbox_file(&mut fields);
        blackbox = file.and_then(|file| files.read(file, &environment, &problems));

        let included = trees
            .iter()
            .filter_map(|(path, tree)| Fields::from_node(tree, path.clone(), &problems));
        let blackbox = blackbox.as_ref();
        let blackbox = blackbox.and_then(|(path, tree): &(value::Path, Node)| {
            Fields::from_node(tree, path.clone(), &problems)
        });
        Config::read(fields, included, blackbox, files.is_partial)
    });
    files.finish(config, problems)
}

/// The file that `probe.config_file` names.
fn find_blackbox_file(fields: &mut Fields<'_>) -> Option<Included> {
    let mut probe = fields.section("probe")?;
    let path = probe.file_path("config_file")?;
    let (node, place) = probe.node("config_file")?;
    Some(Included {
        path,
        declared_at: place,
        is_shown: matches!(node, Node::Text(_)),
        is_verbatim: true,
    })
}

/// Reads `server` of the configuration in the file at `path`, and nothing else: problems elsewhere do not
/// matter, and an invalid key has its default.
///
/// # Errors
/// If the file cannot be read or is not YAML.
pub(crate) fn read_server(path: &Path) -> Result<server::Settings, Invalid> {
    let (_, mut main) = read_main(path)?;
    let problems = Problems::default();
    problems.set_folder(0, folder_of(path));
    let environment = Environment::new(&|name| env::var_os(name), &problems);
    environment.substitute(&mut main, &value::Path::default());
    let mut fields = Fields::from_node(&main, value::Path::default(), &problems);
    let server = fields.as_mut().and_then(|fields| fields.section("server"));
    Ok(server.map(server::Settings::read).unwrap_or_default())
}
