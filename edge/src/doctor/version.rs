//! The manifest's version: `spin_manifest_version = 2`, in its place and of its type.

use super::{Diagnosis, Severity, Treatment};
use toml::de::{DeTable, DeValue};

const KEY: &str = "spin_manifest_version";
/// What it was called before Spin 1.0.
const OLD_KEY: &str = "spin_version";

/// What is wrong with the version of the manifest `text`. A text that is no TOML is for the
/// check of the whole manifest.
pub(super) fn diagnose(text: &str) -> Option<Diagnosis> {
    let table = DeTable::parse(text).ok()?;
    let table = table.get_ref();
    let of = |key: &str| table.iter().find(|(name, _)| name.get_ref() == key);
    if let Some((_, version)) = of(KEY) {
        return wrong_value(text, version);
    }
    if of(OLD_KEY).is_some() {
        return Some(first_version(&format!(
            "The manifest has the old key {OLD_KEY:?}"
        )));
    }
    Some(Diagnosis {
        severity: Severity::Critical,
        what: format!("The manifest lacks the key {KEY:?}"),
        treatment: Treatment::Rewrite {
            summary: format!("Add `{KEY} = 2` to the manifest."),
            text: format!("{KEY} = 2\n{text}"),
        },
    })
}

fn wrong_value(text: &str, version: &toml::Spanned<DeValue<'_>>) -> Option<Diagnosis> {
    let written = text.get(version.span()).unwrap_or_default();
    match version.get_ref() {
        DeValue::Integer(number) if number.as_str() == "2" => return None,
        DeValue::String(number) if number == "1" => {
            return Some(first_version("The manifest is of version 1"));
        }
        _ => {}
    }
    let what = format!("{KEY:?} must be 2, not {written}");
    // Whoever wrote `"2"` or 2.0 meant 2; what another number means nobody knows.
    let is_two = matches!(written.trim_matches(['"', '\'']), "2" | "2.0");
    let treatment = match is_two {
        true => Treatment::Rewrite {
            summary: format!("Set `{KEY} = 2`."),
            text: format!(
                "{}2{}",
                text.get(..version.span().start).unwrap_or_default(),
                text.get(version.span().end..).unwrap_or_default()
            ),
        },
        false => Treatment::ByHand(format!("Write `{KEY} = 2`, and the manifest by its rules.")),
    };
    Some(Diagnosis {
        severity: Severity::Critical,
        what,
        treatment,
    })
}

fn first_version(what: &str) -> Diagnosis {
    Diagnosis {
        severity: Severity::Critical,
        what: format!("{what}; this host reads version 2"),
        treatment: Treatment::ByHand(
            "Let `spin doctor` upgrade it, or write each component's trigger as [[trigger.http]]."
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_right_treatable_or_for_a_person() {
        let rest = "[application]\nname = \"a\"\n";
        let check = |head: &str, expect: Option<Option<&str>>| {
            let found = diagnose(&format!("{head}{rest}"));
            let treated = found.map(|diagnosis| match diagnosis.treatment {
                Treatment::Rewrite { text, .. } => Some(text),
                _ => None,
            });
            let expect = expect.map(|head| head.map(|head| format!("{head}{rest}")));
            assert_eq!(treated, expect, "{head}");
        };
        let right = "spin_manifest_version = 2\n";
        check(right, None);
        check("", Some(Some(right)));
        check(
            "spin_manifest_version = \"2\" # two\n",
            Some(Some("spin_manifest_version = 2 # two\n")),
        );
        check("spin_manifest_version = 2.0\n", Some(Some(right)));
        check("spin_manifest_version = \"1\"\n", Some(None));
        check("spin_manifest_version = 3\n", Some(None));
        check("spin_version = \"1\"\n", Some(None));
        check("no toml at all\n", None);
    }
}
