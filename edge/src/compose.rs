//! Composition of a star: a component and its leaves become one component, as Spin does it.
//!
//! A leaf that may not inherit a capability keeps its import, under another name that
//! `denial.rs` serves with refusals. It knows component binaries and the manifest's
//! dependencies; it does NOT compile or run anything.

mod middleware;

use crate::denial;
use crate::manifest::{Component, Dependency};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wac_graph::types::{Package, SubtypeChecker, WorldId};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

/// The largest component file that is read; a Python component has 18 MB.
const COMPONENT_BYTES_MAX: u64 = 256 << 20;

/// Why a component could not be read or composed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComposeError {
    /// The file cannot be read.
    #[error("{}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    /// The file is no component.
    #[error("{}: {reason}", path.display())]
    NotAComponent { path: PathBuf, reason: String },
    /// No import has the dependency's name.
    #[error("dependency {0:?} matches no import of the component; its imports are {1}")]
    NoImport(String, String),
    /// Two dependencies claim one import.
    #[error("import {import:?} is claimed by dependencies {first:?} and {second:?}")]
    Conflict {
        import: String,
        first: String,
        second: String,
    },
    /// The leaf does not export what is imported.
    #[error("dependency {dependency:?} does not export {export:?}; it exports {exports}")]
    NoExport {
        dependency: String,
        export: String,
        exports: String,
    },
    /// The leaf's export has another type than the import.
    #[error("dependency {dependency:?} exports {export:?} with another type: {reason}")]
    Mismatch {
        dependency: String,
        export: String,
        reason: String,
    },
    /// A part of the chain takes or gives no requests of WASI 0.3.
    #[error("{}: {what} {interface}; middleware and what stands behind it need that", path.display())]
    NotInChain {
        path: PathBuf,
        what: &'static str,
        interface: &'static str,
    },
    /// wac refused the graph.
    #[error("the star cannot be composed: {0}")]
    Graph(String),
}

/// Reads `component`, its leaves and its middleware, and composes them.
pub(crate) fn compose(component: &Component) -> Result<Vec<u8>, ComposeError> {
    let star = compose_star(component)?;
    if component.middleware.is_empty() {
        return Ok(star);
    }
    middleware::chain(component, star)
}

fn compose_star(component: &Component) -> Result<Vec<u8>, ComposeError> {
    let root = read(&component.source)?;
    if component.dependencies.is_empty() {
        return Ok(root);
    }
    let mut star = Star {
        graph: CompositionGraph::new(),
    };
    let (world, instance) = star.add(&component.id, &component.source, root)?;
    let claims = star.claims(world, &component.dependencies)?;
    let mut leaves = BTreeMap::new();
    for (position, dependency) in component.dependencies.iter().enumerate() {
        let bytes =
            denial::rename_imports(&read(&dependency.source)?, position, &dependency.inherit)
                .map_err(|reason| ComposeError::NotAComponent {
                    path: dependency.source.clone(),
                    reason,
                })?;
        let name = format!("leaf:{}", letters(position));
        leaves.insert(position, star.add(&name, &dependency.source, bytes)?);
    }
    for (import, position) in claims {
        let (leaf_world, leaf) = leaves[&position];
        star.connect(
            world,
            instance,
            &import,
            &component.dependencies[position],
            leaf_world,
            leaf,
        )?;
    }
    star.export_all(world, instance)?;
    star.encode()
}

/// Position 0 is `a`, 25 is `z`, 26 is `ba`: a number that a WIT name may hold.
pub(crate) fn letters(mut position: usize) -> String {
    let mut text = Vec::new();
    loop {
        text.push(b'a' + (position % 26) as u8);
        position /= 26;
        if position == 0 {
            break;
        }
    }
    text.reverse();
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads a component, of a bounded size.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ComposeError> {
    let error = |reason: String| ComposeError::Read {
        path: path.to_owned(),
        reason,
    };
    let length = std::fs::metadata(path)
        .map_err(|e| error(e.to_string()))?
        .len();
    if length > COMPONENT_BYTES_MAX {
        return Err(error(format!(
            "has {length} bytes; at most {COMPONENT_BYTES_MAX} are read"
        )));
    }
    let bytes = std::fs::read(path).map_err(|e| error(e.to_string()))?;
    if bytes.get(..8) != Some(b"\0asm\x0d\0\x01\0".as_slice()) {
        return Err(ComposeError::NotAComponent {
            path: path.to_owned(),
            reason: "is no WebAssembly component (target wasm32-wasip2 makes one)".to_owned(),
        });
    }
    Ok(bytes)
}

fn graph_error(error: impl std::fmt::Display) -> ComposeError {
    ComposeError::Graph(error.to_string())
}

struct Star {
    graph: CompositionGraph,
}

impl Star {
    fn encode(&self) -> Result<Vec<u8>, ComposeError> {
        self.graph
            .encode(EncodeOptions::default())
            .map_err(graph_error)
    }

    fn add(
        &mut self,
        name: &str,
        path: &Path,
        bytes: Vec<u8>,
    ) -> Result<(WorldId, NodeId), ComposeError> {
        let package =
            Package::from_bytes(name, None, bytes, self.graph.types_mut()).map_err(|error| {
                ComposeError::NotAComponent {
                    path: path.to_owned(),
                    reason: format!("{error:#}"),
                }
            })?;
        let world = package.ty();
        let id = self.graph.register_package(package).map_err(graph_error)?;
        Ok((world, self.graph.instantiate(id)))
    }

    /// Which dependency, by position, satisfies which import of the root.
    fn claims(
        &self,
        world: WorldId,
        dependencies: &[Dependency],
    ) -> Result<BTreeMap<String, usize>, ComposeError> {
        let imports = &self.graph.types()[world].imports;
        let mut claims: BTreeMap<String, usize> = BTreeMap::new();
        for (position, dependency) in dependencies.iter().enumerate() {
            let mut matched = false;
            for import in imports
                .keys()
                .filter(|import| names(&dependency.name, import))
            {
                matched = true;
                if let Some(first) = claims.insert(import.clone(), position) {
                    return Err(ComposeError::Conflict {
                        import: import.clone(),
                        first: dependencies[first].name.clone(),
                        second: dependency.name.clone(),
                    });
                }
            }
            if !matched {
                let all: Vec<&str> = imports.keys().map(String::as_str).collect();
                return Err(ComposeError::NoImport(
                    dependency.name.clone(),
                    all.join(", "),
                ));
            }
        }
        Ok(claims)
    }

    fn connect(
        &mut self,
        world: WorldId,
        instance: NodeId,
        import: &str,
        dependency: &Dependency,
        leaf_world: WorldId,
        leaf: NodeId,
    ) -> Result<(), ComposeError> {
        let export = dependency.export.as_deref().unwrap_or(import);
        let types = self.graph.types();
        let Some(exported) = types[leaf_world].exports.get(export) else {
            let all: Vec<&str> = types[leaf_world]
                .exports
                .keys()
                .map(String::as_str)
                .collect();
            return Err(ComposeError::NoExport {
                dependency: dependency.name.clone(),
                export: export.to_owned(),
                exports: all.join(", "),
            });
        };
        let mut cache = Default::default();
        SubtypeChecker::new(&mut cache)
            .is_subtype(*exported, types, types[world].imports[import], types)
            .map_err(|error| ComposeError::Mismatch {
                dependency: dependency.name.clone(),
                export: export.to_owned(),
                reason: format!("{error:#}"),
            })?;
        let exported = self
            .graph
            .alias_instance_export(leaf, export)
            .map_err(graph_error)?;
        self.graph
            .set_instantiation_argument(instance, import, exported)
            .map_err(graph_error)
    }

    fn export_all(&mut self, world: WorldId, instance: NodeId) -> Result<(), ComposeError> {
        let exports: Vec<String> = self.graph.types()[world].exports.keys().cloned().collect();
        for name in exports {
            let export = self
                .graph
                .alias_instance_export(instance, &name)
                .map_err(graph_error)?;
            self.graph.export(export, &name).map_err(graph_error)?;
        }
        Ok(())
    }
}

/// Does a dependency's name stand for this import? A name without an interface stands for
/// every interface of its package, one without a version for every version.
fn names(dependency: &str, import: &str) -> bool {
    if !dependency.contains(':') {
        return dependency == import;
    }
    let Some((package, interface, version)) = parts(import) else {
        return false;
    };
    let Some((wanted_package, wanted_interface, wanted_version)) = parts(dependency) else {
        return false;
    };
    wanted_package == package
        && (wanted_interface.is_none() || wanted_interface == interface)
        && (wanted_version.is_none() || wanted_version == version)
}

/// `a:b/c@1.0.0` in its parts: package, interface, version.
pub(crate) fn parts(name: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let (name, version) = match name.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (name, None),
    };
    let (package, interface) = match name.split_once('/') {
        Some((package, interface)) => (package, Some(interface)),
        None => (name, None),
    };
    package
        .contains(':')
        .then_some((package, interface, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependency_names_stand_for_imports() {
        for (dependency, import, expect) in [
            ("foo:bar/baz@0.1.0", "foo:bar/baz@0.1.0", true),
            ("foo:bar/baz", "foo:bar/baz@0.1.0", true),
            ("foo:bar", "foo:bar/baz", true),
            ("foo:bar@0.1.0", "foo:bar/baz@0.1.0", true),
            ("foo-bar", "foo-bar", true),
            ("foo:bar/baz@0.1.0", "foo:bar/baz", false),
            ("foo:bar/baz", "foo:bar/bub@0.1.0", false),
            ("foo:bar", "foo:bub/bib", false),
            ("foo:bar@0.1.0", "foo:bar/baz@0.2.0", false),
            ("foo:bar/baz", "foo-bar", false),
        ] {
            assert_eq!(names(dependency, import), expect, "{dependency} {import}");
        }
    }

    #[test]
    fn positions_are_letters() {
        assert_eq!(letters(0), "a");
        assert_eq!(letters(25), "z");
        assert_eq!(letters(26), "ba");
    }
}
