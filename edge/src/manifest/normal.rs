//! A manifest's two shorthands, written out: a profile is laid over the components, and a
//! component that stands in its trigger moves to the others.
//!
//! It changes what was written; it does NOT check it.

use super::mistake::Mistake;
use super::schema::{Build, Component, HttpTrigger, TextOr};
use std::collections::{BTreeMap, BTreeSet};

/// Lays `profile` over every component that has it.
pub(super) fn apply_profile(
    components: &mut BTreeMap<String, Component>,
    profile: &str,
) -> Result<(), Mistake> {
    let known: BTreeSet<&str> = components
        .values()
        .flat_map(|component| component.profile.keys().map(String::as_str))
        .collect();
    if !known.contains(profile) {
        let known = match known.len() {
            0 => "it has none".to_owned(),
            _ => format!(
                "expected one of {}",
                known.into_iter().collect::<Vec<_>>().join(", ")
            ),
        };
        return Err(Mistake::here(format!(
            "no component of the application has a profile {profile:?}; {known}"
        )));
    }
    for component in components.values_mut() {
        let Some(over) = component.profile.get(profile).cloned() else {
            continue;
        };
        if let Some(build) = over.build {
            match &mut component.build {
                Some(own) => own.command = build.command,
                None => {
                    component.build = Some(Build {
                        command: build.command,
                        workdir: None,
                        watch: Vec::new(),
                    });
                }
            }
        }
        if let Some(source) = over.source {
            component.source = source;
        }
        component.environment.extend(over.environment);
        component.dependencies.extend(over.dependencies);
    }
    Ok(())
}

/// Moves every component that is written in its trigger to `components`, under the name
/// that Spin gives it.
pub(super) fn name_inline_components(
    triggers: &mut [HttpTrigger],
    components: &mut BTreeMap<String, Component>,
) {
    for trigger in triggers {
        let Some(TextOr::Table(_)) = &trigger.component else {
            continue;
        };
        let of_trigger = trigger.id.as_ref().map(|id| format!("{id}-component"));
        // One more name than there are components: one of them is free.
        let numbered = (1..=components.len() + 1).map(|n| format!("inline-component{n}"));
        let name = of_trigger
            .into_iter()
            .chain(numbered)
            .find(|name| !components.contains_key(name));
        let Some(name) = name else { continue };
        let written = trigger.component.replace(TextOr::Text(name.clone()));
        if let Some(TextOr::Table(component)) = written {
            components.insert(name, *component);
        }
    }
}
