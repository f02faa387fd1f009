//! A JSON schema before it is compiled: whether its compilation stays within bounds, and
//! whether any finite value can be valid against it.
//!
//! Invariant: nothing here recurses over what a client wrote; a schema of any shape is
//! walked with a list, references followed.
//! Knows nothing of grammars and tokens.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json};

/// Subschemas inside one another, references followed. The compiler recurses once for
/// each; one level took up to 16 KiB of its stack (measured with chains of references
/// through every keyword).
const DEPTH_MAX: usize = 1_000;
/// Subschemas that the compiler keeps or copies. It copies what a reference names
/// wherever that meets other keywords, so that a small schema can grow without end.
const COPIES_MAX: usize = 100_000;
/// The same, where a reference that meets other keywords leads back to itself: there the
/// compiler copies once more for each of up to 128 levels before it gives up.
const RECURSIVE_COPIES_MAX: usize = 5_000;

/// Patterns and formats that one string must meet at once: the compiler looks
/// for a text that meets them all, in time that grows faster than any of its own limits
/// sees (16 took 70 ms, 100 did not end).
const PATTERNS_MAX: usize = 8;
/// Copies that a pattern counts as, for it is tried when it is compiled. Patterns of names
/// are tried with one another.
const PATTERN_COPIES: usize = 100;

/// Keywords that constrain and that the compiler does not know (JSON Schema 2020-12 and
/// older drafts).
const UNSUPPORTED: [&str; 17] = [
    "$dynamicRef",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "contentSchema",
];
/// Keywords that constrain nothing.
const ANNOTATIONS: [&str; 14] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "id",
    "readOnly",
    "title",
    "writeOnly",
];

/// Why a schema is not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SchemaFault {
    #[error("the schema nests more than {DEPTH_MAX} subschemas, references followed")]
    TooDeep,
    #[error("the schema is too large once its references are followed")]
    TooLarge,
    #[error("more than {PATTERNS_MAX} patterns must be met by one string")]
    TooManyPatterns,
    #[error("the reference '{0}' is not found in the schema")]
    Dangling(String),
    #[error("no finite value is valid: the schema's references lead back to themselves")]
    Endless,
}

/// Findings in a schema that can be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// A keyword that the compiler does not know, if there is one.
    pub(super) unsupported: Option<&'static str>,
}

/// One subschema and what it refers to, by number.
#[derive(Debug, Default)]
struct Node {
    all: Vec<usize>,
    /// `anyOf` and `oneOf`, a group each.
    any: Vec<Vec<usize>>,
    reference: Option<usize>,
    values: Vec<usize>,
    /// Subschemas of values that every valid value has.
    needed: Vec<usize>,
    /// Values of `enum`.
    choices: usize,
    /// Patterns and formats.
    patterns: usize,
    /// Patterns of names.
    name_patterns: usize,
    /// Several keywords constrain the same value.
    merges: bool,
    /// Nothing is valid.
    never: bool,
}

/// A schema as a graph.
#[derive(Debug, Default)]
struct Graph {
    nodes: Vec<Node>,
    unsupported: Option<&'static str>,
}

/// Looks at a schema before it is compiled.
///
/// # Errors
/// It is too deep or too large, a reference is not found, or nothing finite is valid.
pub(super) fn check(schema: &Json) -> Result<Seen, SchemaFault> {
    let graph = Graph::of(schema)?;
    graph.check_depth()?;
    graph.check_copies()?;
    if !graph.is_productive() {
        return Err(SchemaFault::Endless);
    }
    Ok(Seen {
        unsupported: graph.unsupported,
    })
}

/// A schema without what the compiler may refuse of its texts: patterns of strings and of
/// names, and references to other documents.
pub(super) fn without_patterns(schema: &Json) -> Json {
    let Json::Object(object) = schema else {
        return schema.clone();
    };
    let mut kept = Map::new();
    let patterned = object.contains_key("patternProperties");
    for (key, value) in object {
        let value = match (key.as_str(), value) {
            ("pattern" | "patternProperties", _) => continue,
            // It would forbid the names that the patterns had allowed.
            ("additionalProperties", _) if patterned => continue,
            ("$ref", Json::String(to)) if !to.starts_with('#') => continue,
            ("const" | "enum" | "default" | "examples", value) => value.clone(),
            ("properties" | "$defs" | "definitions", Json::Object(inner)) => {
                let each =
                    |(name, inner): (&String, &Json)| (name.clone(), without_patterns(inner));
                inner.iter().map(each).collect()
            }
            (_, Json::Array(items)) => items.iter().map(without_patterns).collect(),
            (_, value) => without_patterns(value),
        };
        kept.insert(key.clone(), value);
    }
    Json::Object(kept)
}

/// A schema of which only objects are valid; `None` if none is.
pub(super) fn of_objects(schema: &Json) -> Option<Json> {
    let mut object = match schema {
        Json::Bool(true) => Map::new(),
        Json::Object(object) => object.clone(),
        _ => return None,
    };
    let is_object = |kind: &Json| kind.as_str() == Some("object");
    match object.get("type") {
        Some(kind) if is_object(kind) => {}
        Some(Json::Array(kinds)) if !kinds.iter().any(is_object) => return None,
        None | Some(Json::Array(_)) => {
            object.insert("type".to_owned(), "object".into());
        }
        Some(_) => return None,
    }
    Some(Json::Object(object))
}

impl Graph {
    fn of(root: &Json) -> Result<Self, SchemaFault> {
        let mut graph = Self::default();
        let mut found = Found::new(root);
        found.number(root);
        while let Some(schema) = found.waiting.pop() {
            let number = found.number(schema);
            let node = graph.node(schema, &mut found)?;
            if graph.nodes.len() < found.numbers.len() {
                graph.nodes.resize_with(found.numbers.len(), Node::default);
            }
            graph.nodes[number] = node;
            if found.numbers.len() > COPIES_MAX {
                return Err(SchemaFault::TooLarge);
            }
        }
        Ok(graph)
    }

    fn node<'a>(&mut self, schema: &'a Json, found: &mut Found<'a>) -> Result<Node, SchemaFault> {
        let mut node = Node {
            never: *schema == Json::Bool(false),
            ..Node::default()
        };
        let Some(object) = schema.as_object() else {
            return Ok(node);
        };
        let mut constraints = 0;
        for (key, value) in object {
            let key = key.as_str();
            if let Some(unknown) = UNSUPPORTED.into_iter().find(|known| *known == key) {
                self.unsupported.get_or_insert(unknown);
                continue;
            }
            constraints += usize::from(!ANNOTATIONS.contains(&key));
            if ["pattern", "format"].contains(&key) {
                node.patterns += 1;
            }
            if let ("patternProperties", Json::Object(patterns)) = (key, value) {
                node.name_patterns = patterns.len();
            }
            match (key, value) {
                ("$ref", Json::String(to)) => node.reference = found.reference(to)?,
                ("allOf", Json::Array(parts)) => node.all = found.numbers(parts),
                ("anyOf" | "oneOf", Json::Array(parts)) => node.any.push(found.numbers(parts)),
                ("enum", Json::Array(values)) => node.choices = values.len(),
                ("properties" | "patternProperties", Json::Object(properties)) => {
                    node.values.extend(found.numbers(properties.values()));
                }
                ("items" | "prefixItems", Json::Array(parts)) => {
                    node.values.extend(found.numbers(parts));
                }
                ("items" | "additionalItems" | "additionalProperties", value) => {
                    node.values.push(found.number(value));
                }
                _ => {}
            }
        }
        let applies = !node.all.is_empty() || !node.any.is_empty() || node.reference.is_some();
        node.merges = applies && (constraints > 1 || node.all.len() > 1);
        node.needed = needed(object, found);
        Ok(node)
    }

    fn check_depth(&self) -> Result<(), SchemaFault> {
        let mut entered = vec![false; self.nodes.len()];
        // A node, and whether it is left rather than entered.
        let mut path = vec![(0, false)];
        let mut depth = 0;
        while let Some((number, left)) = path.pop() {
            if left {
                depth -= 1;
            } else if !std::mem::replace(&mut entered[number], true) {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(SchemaFault::TooDeep);
                }
                path.push((number, true));
                path.extend(self.nodes[number].children().map(|child| (child, false)));
            }
        }
        Ok(())
    }

    fn check_copies(&self) -> Result<(), SchemaFault> {
        let mut copies = Copies {
            graph: self,
            known: HashMap::new(),
            open: HashSet::new(),
            apart: vec![0],
            parted: HashSet::from([0]),
            total: 0,
            recursive: false,
        };
        let mut done = 0;
        while let Some(root) = copies.apart.get(done).copied() {
            done += 1;
            let measure = copies.measure((root, false));
            copies.add(measure.size);
            let most = match copies.recursive {
                true => RECURSIVE_COPIES_MAX,
                false => COPIES_MAX,
            };
            if copies.total > most {
                return Err(SchemaFault::TooLarge);
            }
        }
        let met = copies.known.values().map(|measure| measure.patterns).max();
        if met > Some(PATTERNS_MAX) {
            return Err(SchemaFault::TooManyPatterns);
        }
        Ok(())
    }

    /// Returns true where some finite value may be valid: the least fixed point of what each
    /// subschema needs.
    fn is_productive(&self) -> bool {
        let mut productive = vec![false; self.nodes.len()];
        loop {
            let mut changed = false;
            // What is needed mostly has the greater number.
            for (number, node) in self.nodes.iter().enumerate().rev() {
                if !productive[number] && node.is_productive(&productive) {
                    (productive[number], changed) = (true, true);
                }
            }
            if productive[0] || !changed {
                return productive[0];
            }
        }
    }
}

impl Node {
    fn children(&self) -> impl Iterator<Item = usize> {
        let any = self.any.iter().flatten();
        let all = self.all.iter().chain(any).chain(&self.reference);
        all.chain(&self.values).copied()
    }

    /// Copies that its patterns count as.
    fn tried(&self) -> usize {
        let pairs = self.name_patterns.saturating_mul(self.name_patterns);
        pairs
            .saturating_add(self.patterns)
            .saturating_mul(PATTERN_COPIES)
    }

    fn is_productive(&self, known: &[bool]) -> bool {
        // Nothing at all being valid is for the compiler to say.
        let is = |number: &usize| known[*number];
        let groups = self
            .any
            .iter()
            .all(|group| group.is_empty() || group.iter().any(is));
        self.never
            || (self.all.iter().all(is)
                && self.reference.iter().all(is)
                && self.needed.iter().all(is)
                && groups)
    }
}

/// The subschemas of values that every valid value has: required properties, and the
/// items of arrays that may not be empty, where nothing but an object or an array is valid.
fn needed<'a>(object: &'a Map<String, Json>, found: &mut Found<'a>) -> Vec<usize> {
    let kind = object.get("type").and_then(Json::as_str);
    match kind {
        Some("object") => {
            let properties = object.get("properties").and_then(Json::as_object);
            let names = object.get("required").and_then(Json::as_array);
            let names = names.into_iter().flatten().filter_map(Json::as_str);
            let schemas = names.filter_map(|name| properties?.get(name));
            schemas.map(|schema| found.number(schema)).collect()
        }
        Some("array") => {
            let least = object.get("minItems").and_then(Json::as_u64).unwrap_or(0);
            let first = object.get("prefixItems").and_then(|items| items.get(0));
            let item = first.or_else(|| object.get("items").filter(|items| !items.is_array()));
            let item = item.filter(|_| least > 0);
            item.map(|schema| found.number(schema))
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Numbers of subschemas, and those whose content is still to be looked at.
struct Found<'a> {
    root: &'a Json,
    numbers: HashMap<*const Json, usize>,
    waiting: Vec<&'a Json>,
}

impl<'a> Found<'a> {
    fn new(root: &'a Json) -> Self {
        Self {
            root,
            numbers: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    fn number(&mut self, schema: &'a Json) -> usize {
        let next = self.numbers.len();
        let number = *self
            .numbers
            .entry(std::ptr::from_ref(schema))
            .or_insert(next);
        if number == next {
            self.waiting.push(schema);
        }
        number
    }

    fn numbers(&mut self, schemas: impl IntoIterator<Item = &'a Json>) -> Vec<usize> {
        schemas
            .into_iter()
            .map(|schema| self.number(schema))
            .collect()
    }

    /// The subschema that a reference names; none if it leads to another document.
    fn reference(&mut self, to: &str) -> Result<Option<usize>, SchemaFault> {
        let Some(pointer) = to.strip_prefix('#') else {
            return Ok(None);
        };
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Ok(None);
        }
        let pointer = if pointer == "/" { "" } else { pointer };
        match self.root.pointer(pointer) {
            Some(schema) => Ok(Some(self.number(schema))),
            None => Err(SchemaFault::Dangling(to.to_owned())),
        }
    }
}

/// How large a subschema becomes, in how many alternatives, and how many patterns a
/// string in it must meet at once.
#[derive(Clone, Copy, Debug)]
struct Measure {
    size: usize,
    ways: usize,
    patterns: usize,
}

impl Measure {
    const NOTHING: Self = Self {
        size: 1,
        ways: 1,
        patterns: 0,
    };

    /// One beside the other.
    fn beside(self, other: Self) -> Self {
        Self {
            size: self.size.saturating_add(other.size),
            ways: self.ways.max(other.ways),
            patterns: self.patterns.max(other.patterns),
        }
    }

    /// One or the other.
    fn or(self, other: Self) -> Self {
        Self {
            ways: self.ways.saturating_add(other.ways),
            ..self.beside(other)
        }
    }
}

/// A subschema, and whether it meets other keywords where it stands.
type Place = (usize, bool);

/// Sums up what the compiler copies.
struct Copies<'a> {
    graph: &'a Graph,
    known: HashMap<Place, Measure>,
    open: HashSet<Place>,
    /// Subschemas that are compiled once, by themselves.
    apart: Vec<usize>,
    parted: HashSet<usize>,
    total: usize,
    /// A reference that meets other keywords leads back to itself.
    recursive: bool,
}

impl Copies<'_> {
    fn add(&mut self, size: usize) {
        self.total = self.total.saturating_add(size);
    }

    fn measure(&mut self, root: Place) -> Measure {
        let mut path = vec![root];
        while let Some(place) = path.last().copied() {
            let opened = self.open.insert(place);
            if self.known.contains_key(&place) {
                path.pop();
            } else if opened {
                for next in self.next(place) {
                    match self.open.contains(&next) && !self.known.contains_key(&next) {
                        true => self.recursive |= next.1,
                        false => path.push(next),
                    }
                }
            } else {
                path.pop();
                let measure = self.sum_up(place);
                self.known.insert(place, measure);
            }
        }
        self.of(root)
    }

    /// One that is not known yet leads back to where it is asked for.
    fn of(&self, place: Place) -> Measure {
        self.known.get(&place).copied().unwrap_or(Measure::NOTHING)
    }

    /// The places whose measure a place's own depends on.
    fn next(&mut self, (number, met): Place) -> Vec<Place> {
        let node = &self.graph.nodes[number];
        let merges = met || node.merges;
        let own = node
            .all
            .iter()
            .chain(node.any.iter().flatten())
            .chain(&node.values);
        let mut next: Vec<Place> = own.map(|child| (*child, merges)).collect();
        match node.reference {
            Some(to) if merges => next.push((to, true)),
            Some(to) if self.parted.insert(to) => self.apart.push(to),
            _ => {}
        }
        next
    }

    fn sum_up(&mut self, (number, met): Place) -> Measure {
        let node = &self.graph.nodes[number];
        let merges = met || node.merges;
        let of = |child: &usize| self.of((*child, merges));
        let values = node.values.iter().map(of);
        let mut parts = vec![
            values.fold(Measure::NOTHING, Measure::beside),
            Measure {
                size: node.tried().saturating_add(node.choices.max(1)),
                ways: node.choices.max(1),
                patterns: node.patterns,
            },
        ];
        parts.extend(node.all.iter().map(of));
        for group in &node.any {
            let none = Measure {
                ways: 0,
                ..Measure::NOTHING
            };
            parts.push(group.iter().map(of).fold(none, Measure::or));
        }
        if let Some(to) = node.reference.filter(|_| merges) {
            let copy = self.of((to, true));
            self.add(copy.size);
            parts.push(copy);
        }
        // Where parts meet, each alternative of one is copied for each of the others.
        let ways = parts
            .iter()
            .fold(1_usize, |all, part| all.saturating_mul(part.ways.max(1)));
        let grown = |part: &Measure| part.size.saturating_mul(ways / part.ways.max(1));
        let own = |part: &Measure| part.patterns;
        Measure {
            size: parts.iter().map(grown).fold(0, usize::saturating_add),
            ways: if merges { ways } else { 1 },
            patterns: match merges {
                true => parts.iter().map(own).sum(),
                false => node.patterns,
            },
        }
    }
}

#[cfg(test)]
mod tests;
