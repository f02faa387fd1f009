//! A whole prompt: refused, or masked.
//!
//! The gateway calls it with all texts of a request before the first call of the model. It knows
//! no roles and no order but that of the list.

use crate::block_list::Detector;
use crate::mask::{Masker, Placeholders};
use crate::policy::{Finding, Policy, Refusal};

/// The masked texts, in order, and what was found in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screened {
    pub texts: Vec<String>,
    pub findings: Vec<Finding>,
}

/// Refuses the whole if a text has a phrase of the block list, or if it has the beginning and the
/// next ones the rest; else masks each. The same value has the same placeholder in all texts.
pub fn screen(policy: &Policy, texts: &[String]) -> Result<Screened, Refusal> {
    let mut detector = Detector::default();
    let list = &policy.block_list;
    let mut has_phrase = |text: &String| {
        let found = detector
            .push(list, text)
            .or_else(|| detector.boundary(list));
        found.is_some()
    };
    if texts.iter().any(&mut has_phrase) || detector.finish(list).is_some() {
        return Err(Refusal::blocked());
    }
    let mut placeholders = Placeholders::default();
    let texts = texts
        .iter()
        .map(|text| mask(policy, text, &mut placeholders))
        .collect();
    Ok(Screened {
        texts,
        findings: placeholders.findings(),
    })
}

/// One text, masked.
pub fn mask(policy: &Policy, text: &str, placeholders: &mut Placeholders) -> String {
    let mut masker = Masker::default();
    let mut masked = String::with_capacity(text.len());
    masker.push(policy, text, placeholders, &mut masked);
    masker.finish(policy, placeholders, &mut masked);
    masked
}

#[cfg(test)]
mod tests;
