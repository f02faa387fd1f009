//! Middleware: components that a request passes before the one that its trigger names.
//!
//! Each imports the interface that it exports, and so they become one component whose
//! outermost part answers. It does NOT know what any of them does.

use super::{ComposeError, Star, read};
use crate::denial;
use crate::manifest::Component;
use std::path::Path;
use wac_graph::types::WorldId;
use wac_graph::{CompositionGraph, NodeId};

/// What goes from one to the next.
const HANDLER: &str = "wasi:http/handler@0.3.0";

/// Puts the middleware of `component` before `star`, which is the component itself.
pub(super) fn chain(component: &Component, star: Vec<u8>) -> Result<Vec<u8>, ComposeError> {
    let mut graph = Star {
        graph: CompositionGraph::new(),
    };
    let (world, instance) = graph.add("innermost", &component.source, star)?;
    let mut next = graph.handler(&component.source, world, instance)?;
    for (position, middleware) in component.middleware.iter().enumerate().rev() {
        let path = &middleware.source;
        // Numbered on from the leaves, whose refused imports have names of this form too.
        let number = component.dependencies.len() + position;
        let bytes = denial::rename_imports(&read(path)?, number, &middleware.inherit).map_err(
            |reason| ComposeError::NotAComponent {
                path: path.clone(),
                reason,
            },
        )?;
        let (world, instance) = graph.add(&format!("middleware{position}"), path, bytes)?;
        if !graph.graph.types()[world].imports.contains_key(HANDLER) {
            return Err(not_in_chain(path, "does not import"));
        }
        graph
            .graph
            .set_instantiation_argument(instance, HANDLER, next)
            .map_err(super::graph_error)?;
        next = graph.handler(path, world, instance)?;
    }
    graph
        .graph
        .export(next, HANDLER)
        .map_err(super::graph_error)?;
    graph.encode()
}

fn not_in_chain(path: &Path, what: &'static str) -> ComposeError {
    ComposeError::NotInChain {
        path: path.to_owned(),
        what,
        interface: HANDLER,
    }
}

impl Star {
    fn handler(
        &mut self,
        path: &Path,
        world: WorldId,
        instance: NodeId,
    ) -> Result<NodeId, ComposeError> {
        if !self.graph.types()[world].exports.contains_key(HANDLER) {
            return Err(not_in_chain(path, "does not export"));
        }
        self.graph
            .alias_instance_export(instance, HANDLER)
            .map_err(super::graph_error)
    }
}
