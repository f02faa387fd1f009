//! What a leaf gets in place of a capability that it may not inherit: the same interface,
//! whose every call is refused.
//!
//! A leaf's import is renamed in its binary before composition, so that it does not merge
//! with the root's import of the same interface; the host then links the renamed one with
//! refusals made up from its type. `AccessDenied` where the interface has such an error,
//! nothing where it returns a list. What of Spin's platform this host does not serve is
//! refused in the same way. It does NOT know what the capability would do.

use crate::compose::{letters, parts};
use crate::manifest::Inherit;
use edge_bindings::State;
use wasm_encoder::{ComponentSectionId, RawSection};
use wasmparser::{ComponentImportSectionReader, Parser, Payload};
use wasmtime::component::types::{ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Component, Linker, ResourceType, Val};

/// The namespace of renamed imports is this and the leaf's letters.
const DENIED_PREFIX: &str = "denied-";

/// The capability that an imported interface belongs to; `None` for one that every
/// component has.
pub(crate) fn capability_of(import: &str) -> Option<&'static str> {
    let (package, interface, _) = parts(import)?;
    let capability = match (package, interface?) {
        ("fermyon:spin", "llm") => "ai_models",
        ("fermyon:spin", "http" | "mysql" | "postgres" | "redis" | "mqtt")
        | ("spin:mqtt" | "spin:mysql" | "spin:postgres" | "spin:redis", _)
        | ("wasi:http", "client" | "outgoing-handler") => "allowed_outbound_hosts",
        ("wasi:cli", "environment") => "environment",
        ("wasi:filesystem", "preopens") => "files",
        ("fermyon:spin" | "spin:key-value", "key-value")
        | ("wasi:keyvalue", "store" | "atomics" | "batch") => "key_value_stores",
        ("fermyon:spin" | "spin:sqlite", "sqlite") => "sqlite_databases",
        ("fermyon:spin", "config" | "variables")
        | ("spin:variables", "variables")
        | ("wasi:config", "store") => "variables",
        _ => return None,
    };
    Some(capability)
}

/// Renames those imports of the leaf at `position` that it may not inherit.
pub(crate) fn rename_imports(
    leaf: &[u8],
    position: usize,
    inherit: &Inherit,
) -> Result<Vec<u8>, String> {
    let denied = |import: &str| match (capability_of(import), inherit) {
        (None, _) | (_, Inherit::All) => false,
        (Some(capability), Inherit::Some(inherited)) => !inherited.contains(capability),
    };
    let mut renamed = leaf.get(..8).ok_or("is too short")?.to_vec();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(leaf) {
        let payload = payload.map_err(|error| error.to_string())?;
        // Only the outermost component's sections are copied; a nested one is copied
        // whole, as one section of its parent.
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                if depth == 0 {
                    copy_section(&payload, leaf, &mut renamed);
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                let data = rename_section(section, leaf, position, &denied)?;
                append(&mut renamed, ComponentSectionId::Import as u8, &data);
            }
            _ if depth == 0 => copy_section(&payload, leaf, &mut renamed),
            _ => {}
        }
    }
    Ok(renamed)
}

fn copy_section(payload: &Payload<'_>, bytes: &[u8], out: &mut Vec<u8>) {
    if let Some((id, range)) = payload.as_section() {
        append(out, id, &bytes[range]);
    }
}

fn append(out: &mut Vec<u8>, id: u8, data: &[u8]) {
    use wasm_encoder::ComponentSection as _;
    RawSection { id, data }.append_to_component(out);
}

fn rename_section(
    section: &ComponentImportSectionReader<'_>,
    bytes: &[u8],
    position: usize,
    denied: &impl Fn(&str) -> bool,
) -> Result<Vec<u8>, String> {
    use wasm_encoder::Encode as _;
    let range = section.range();
    let mut data = Vec::with_capacity(range.len() + 64);
    section.count().encode(&mut data);
    let mut imports = Vec::new();
    for item in section.clone().into_iter_with_offsets() {
        let (offset, import) = item.map_err(|error| error.to_string())?;
        imports.push((offset, import.name.name));
    }
    for (index, (offset, name)) in imports.iter().enumerate() {
        let end = imports
            .get(index + 1)
            .map_or(range.end, |(offset, _)| *offset);
        let whole = &bytes[*offset..end];
        if !denied(name) {
            data.extend_from_slice(whole);
            continue;
        }
        // An import is its name (a kind, a length, the text) and then its type.
        let name_start = whole
            .windows(name.len())
            .position(|window| window == name.as_bytes())
            .ok_or("has an import that cannot be read")?;
        let (package, rest) = name
            .split_once('/')
            .ok_or("has an import without interface")?;
        let renamed = format!(
            "{DENIED_PREFIX}{}:{}/{rest}",
            letters(position),
            package.replace(':', "-")
        );
        data.push(0);
        renamed.as_str().encode(&mut data);
        data.extend_from_slice(&whole[name_start + name.len()..]);
    }
    Ok(data)
}

/// Is `import` one that was renamed?
pub(crate) fn is_denied(import: &str) -> bool {
    import.starts_with(DENIED_PREFIX)
}

/// Is `import` of Spin's platform, and not served here? The SDKs of Python and others import
/// the whole platform whatever an application uses, so nobody is turned away for that. It
/// also has the last draft of WASI 0.3, beside WASI 0.3 itself.
pub(crate) fn is_unserved(import: &str) -> bool {
    let is_draft = import.starts_with("wasi:") && import.contains("@0.3.0-rc-");
    is_draft
        || matches!(
            parts(import),
            Some(("fermyon:spin", Some("mysql" | "mqtt"), _) | ("spin:mysql" | "spin:mqtt", _, _))
        )
}

/// Links with refusals every import of `component` that was renamed or is not served.
pub(crate) fn link(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    let ty = component.component_type();
    for (name, item) in ty.imports(&engine) {
        let refused = is_denied(name) || is_unserved(name);
        if let (true, ComponentItem::ComponentInstance(instance)) = (refused, item.ty) {
            link_instance(linker, name, &instance)?;
        }
    }
    Ok(())
}

/// Is `resource` one that the interface behind a renamed import defines itself?
fn owns(import: &str, resource: &str) -> bool {
    let interface = parts(import).and_then(|(_, interface, _)| interface);
    matches!(
        (interface, resource),
        (Some("key-value"), "store")
            | (Some("store"), "bucket")
            | (Some("atomics"), "cas")
            | (
                Some("sqlite" | "redis" | "mysql" | "postgres" | "mqtt"),
                "connection"
            )
            | (Some("postgres"), "connection-builder")
    ) || (is_unserved(import)
        && matches!(
            interface,
            Some("types" | "terminal-input" | "terminal-output")
        ))
}

/// Marks a resource of a refused interface: none is ever made.
struct Never;

fn link_instance(
    linker: &mut Linker<State>,
    name: &str,
    instance: &ComponentInstance,
) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    let mut linked = linker.instance(name)?;
    for (export, item) in instance.exports(&engine) {
        match item.ty {
            // A resource of another interface is that interface's to define.
            ComponentItem::Resource(_) if owns(name, export) => {
                linked.resource(export, ResourceType::host::<Never>(), |_, _| Ok(()))?;
            }
            ComponentItem::ComponentFunc(func) if func.async_() => {
                let called = format!("{name}#{export}");
                linked.func_new_concurrent(export, move |_, ty, _, results| {
                    let refused = refuse(&called, ty.results(), results);
                    Box::pin(std::future::ready(refused))
                })?;
            }
            ComponentItem::ComponentFunc(_) => {
                let called = format!("{name}#{export}");
                linked.func_new(export, move |_, ty, _, results| {
                    refuse(&called, ty.results(), results)
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn refuse(
    called: &str,
    types: impl ExactSizeIterator<Item = Type>,
    results: &mut [Val],
) -> wasmtime::Result<()> {
    tracing::debug!(
        called,
        "a component called what it was not granted or is not served"
    );
    for (ty, result) in types.zip(results) {
        *result = refusal(&ty).ok_or_else(|| {
            wasmtime::format_err!("{called}: the component was not granted this capability")
        })?;
    }
    Ok(())
}

/// The value of type `ty` that says no.
fn refusal(ty: &Type) -> Option<Val> {
    match ty {
        Type::Result(result) => {
            let error = match result.err() {
                Some(error) => Some(Box::new(error_value(&error)?)),
                None => None,
            };
            Some(Val::Result(Err(error)))
        }
        Type::List(_) => Some(Val::List(Vec::new())),
        Type::Option(_) => Some(Val::Option(None)),
        _ => None,
    }
}

/// What a refusal says where it has words.
const NOT_GRANTED: &str = "not served by this host, or not granted to this component";

/// The errors that say no, best first.
const REFUSING_CASES: [&str; 8] = [
    "access-denied",
    "HTTP-request-denied",
    "http-request-denied",
    "undefined",
    "other",
    "io",
    "internal-error",
    "model-not-supported",
];

fn error_value(ty: &Type) -> Option<Val> {
    let Type::Variant(variant) = ty else {
        return None;
    };
    let text = || Val::String(NOT_GRANTED.to_owned());
    for wanted in REFUSING_CASES {
        for case in variant.cases().filter(|case| case.name == wanted) {
            let payload = match &case.ty {
                None => None,
                Some(Type::String) => Some(Box::new(text())),
                Some(Type::Option(_)) => Some(Box::new(Val::Option(None))),
                Some(_) => continue,
            };
            return Some(Val::Variant(wanted.to_owned(), payload));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_platform_and_not_served_is_refused_when_it_is_called() {
        for (import, expect) in [
            ("spin:mysql/mysql@3.0.0", true),
            ("fermyon:spin/mqtt@2.0.0", true),
            ("fermyon:spin/redis@2.0.0", false),
            ("wasi:http/types@0.3.0-rc-2026-03-15", true),
            ("wasi:http/types@0.3.0", false),
            ("wasi:otel/tracing@0.2.0-rc.2", false),
        ] {
            assert_eq!(is_unserved(import), expect, "{import}");
        }
    }

    #[test]
    fn interfaces_belong_to_capabilities() {
        for (import, expect) in [
            ("spin:key-value/key-value@3.0.0", Some("key_value_stores")),
            (
                "wasi:keyvalue/atomics@0.2.0-draft2",
                Some("key_value_stores"),
            ),
            ("fermyon:spin/key-value@2.0.0", Some("key_value_stores")),
            ("spin:sqlite/sqlite@3.1.0", Some("sqlite_databases")),
            ("spin:variables/variables@3.0.0", Some("variables")),
            ("wasi:http/client@0.3.0", Some("allowed_outbound_hosts")),
            ("wasi:http/types@0.3.0", None),
            ("wasi:clocks/monotonic-clock@0.3.0", None),
            ("wasi:filesystem/preopens@0.3.0", Some("files")),
            ("wasi:cli/environment@0.2.6", Some("environment")),
            ("wasi:cli/stdout@0.3.0", None),
        ] {
            assert_eq!(capability_of(import), expect, "{import}");
        }
    }
}
