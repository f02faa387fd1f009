//! The held-out set as it stands in `held_out.txt`, whose head says how it was written. It
//! knows no model and no judgement; the generator never reads it.

const TEXT: &str = include_str!("held_out.txt");

/// A phrasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// What a right answer must have, as the group means it.
    pub expect: &'static str,
    /// What the user types.
    pub text: &'static str,
}

/// The phrasings of a group, in the order of the file.
pub fn group(name: &str) -> Vec<Line> {
    lines_of(TEXT, name)
}

fn lines_of(file: &'static str, name: &str) -> Vec<Line> {
    let is_head = |line: &str| line.strip_prefix('[')?.strip_suffix(']').map(|h| h == name);
    let mut inside = false;
    let mut lines = Vec::new();
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        inside = is_head(line).unwrap_or(inside);
        let parts = line.split_once(" | ").filter(|_| inside);
        lines.extend(parts.map(|(expect, text)| Line { expect, text }));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::{facts, small_talk};
    use super::*;

    #[test]
    fn a_group_is_what_stands_below_its_head() {
        let file =
            "# [a]\n# x | y\n\n[a]\n- | one | two\nid | three\n[b]\n- | four\n\n[a]\n- | five";
        let texts = |name| {
            let lines = lines_of(file, name);
            lines.iter().map(|l| (l.expect, l.text)).collect::<Vec<_>>()
        };
        assert_eq!(
            texts("a"),
            [("-", "one | two"), ("id", "three"), ("-", "five")]
        );
        assert_eq!(texts("b"), [("-", "four")]);
        assert_eq!(texts("c"), []);
    }

    #[test]
    fn every_group_has_twelve_phrasings_at_least_and_none_stands_twice() {
        let groups = [
            "small_talk",
            "facts",
            "name_tell",
            "name_ask",
            "calculator",
            "clock",
            "unknown",
        ];
        let all: Vec<Vec<Line>> = groups.iter().map(|name| group(name)).collect();
        assert!(all.iter().all(|lines| lines.len() >= 12));
        let texts: Vec<String> = all.concat().iter().map(|l| l.text.to_lowercase()).collect();
        assert_eq!(texts.iter().collect::<HashSet<_>>().len(), texts.len());
        let written = TEXT
            .lines()
            .filter(|l| !l.starts_with('#') && l.contains(" | "));
        assert_eq!(texts.len(), written.count(), "a line stands in no group");
    }

    #[test]
    fn every_intent_and_every_fact_is_asked_for_and_every_id_exists() {
        let ids = |name| -> HashSet<&str> {
            let lines = group(name);
            lines.iter().flat_map(|l| l.expect.split(',')).collect()
        };
        let intents: HashSet<&str> = small_talk::all().map(|intent| intent.id).collect();
        assert_eq!(ids("small_talk"), intents);
        let facts: HashSet<&str> = facts::all().map(|fact| fact.id).collect();
        assert_eq!(ids("facts"), facts);
    }

    #[test]
    fn every_name_stands_in_the_line_that_tells_it() {
        for line in group("name_tell") {
            let text = line.text.to_lowercase();
            assert!(text.contains(&line.expect.to_lowercase()), "{}", line.text);
        }
    }
}
