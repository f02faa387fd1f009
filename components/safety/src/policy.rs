//! The installation's choice: what is masked, and which phrases are refused.
//!
//! Parsed once from the variables `mask` and `block_list`; the rest of the component takes it as
//! it is. It looks at no text.

use crate::block_list::BlockList;
use crate::mask::Kind;

/// What was found, and how often. The found text itself never leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: &'static str,
    pub count: u32,
}

/// Words for the user, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    pub findings: Vec<Finding>,
}

impl Refusal {
    /// A phrase of the block list was found.
    pub fn blocked() -> Self {
        Self {
            message: "This installation's policy does not allow this content.".into(),
            findings: vec![Finding {
                kind: "block-list",
                count: 1,
            }],
        }
    }

    /// The operator's mistake: nothing passes until it is put right.
    pub fn misconfigured(variable: &str) -> Self {
        Self {
            message: format!(
                "The safety filter is not configured: the variable `{variable}` is missing or \
                 wrong. Please tell your operator."
            ),
            findings: Vec::new(),
        }
    }
}

/// A parsed policy.
#[derive(Debug)]
pub struct Policy {
    /// By `Kind as usize`.
    masked: [bool; Kind::COUNT],
    pub block_list: BlockList,
}

impl Policy {
    /// `mask`: names of kinds with commas between them. `block_list`: phrases, likewise.
    pub fn parse(mask: &str, block_list: &str) -> Result<Self, Refusal> {
        let mut masked = [false; Kind::COUNT];
        for name in mask
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let kind = Kind::ALL.iter().find(|kind| kind.name() == name);
            let kind = kind.ok_or_else(|| Refusal::misconfigured("mask"))?;
            masked[*kind as usize] = true;
        }
        let block_list =
            BlockList::parse(block_list).ok_or_else(|| Refusal::misconfigured("block_list"))?;
        Ok(Self { masked, block_list })
    }

    pub fn masks(&self, kind: Kind) -> bool {
        self.masked[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_name() {
        let policy = Policy::parse(" email, card ,", "").unwrap();
        let masked: Vec<&str> = Kind::ALL
            .iter()
            .filter(|kind| policy.masks(**kind))
            .map(|kind| kind.name())
            .collect();
        assert_eq!(masked, ["email", "card"]);
        assert!(
            Kind::ALL
                .iter()
                .all(|kind| !Policy::parse("", "").unwrap().masks(*kind))
        );
    }

    #[test]
    fn a_policy_that_means_nothing_refuses() {
        let words = Policy::parse("email,emial", "").unwrap_err().message;
        assert!(words.contains("`mask`"), "{words}");
        let words = Policy::parse("", &"x".repeat(100_000)).unwrap_err().message;
        assert!(words.contains("`block_list`"), "{words}");
    }
}
