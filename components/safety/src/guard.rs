//! One answer, chunk by chunk.
//!
//! The gateway makes a guard for every answer and sends on what it releases. Two stages follow
//! each other: `block_list` lets the raw text through up to where a phrase may be unfolding, and
//! `mask` lets that through up to where a secret may be. It knows no tokens and no SSE.
//!
//! Invariant: what is released in all, for a text cut into chunks in any way, is what is released
//! for the text in one piece.

use std::rc::Rc;

use crate::block_list::Detector;
use crate::mask::{Masker, Placeholders};
use crate::policy::{Policy, Refusal};

#[cfg(test)]
mod tests;

/// What of an answer may be shown now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    pub text: String,
    /// Set once: the answer ends here.
    pub refusal: Option<Refusal>,
}

/// Watches one answer.
#[derive(Debug)]
pub struct Guard(State);

#[derive(Debug)]
enum State {
    Open(Box<Stages>),
    /// Refuses with the first call.
    Refusing(Refusal),
    Closed,
}

#[derive(Debug)]
struct Stages {
    policy: Rc<Policy>,
    detector: Detector,
    masker: Masker,
    placeholders: Placeholders,
    /// Raw text that the detector holds back, and the offset at which it begins.
    held: String,
    held_from: usize,
}

impl Guard {
    pub fn new(policy: Rc<Policy>) -> Self {
        Self(State::Open(Box::new(Stages {
            policy,
            detector: Detector::default(),
            masker: Masker::default(),
            placeholders: Placeholders::default(),
            held: String::new(),
            held_from: 0,
        })))
    }

    /// A guard without a policy lets nothing through.
    pub fn refusing(refusal: Refusal) -> Self {
        Self(State::Refusing(refusal))
    }

    pub fn push(&mut self, delta: &str) -> Released {
        let State::Open(stages) = &mut self.0 else {
            return self.refuse();
        };
        let mut text = String::new();
        let refusal = stages.push(delta, &mut text);
        self.release(text, refusal)
    }

    /// The end of one text and the beginning of the next: releases the rest of the first. Equal
    /// values keep their placeholder; no pattern spans both texts.
    pub fn boundary(&mut self) -> Released {
        let State::Open(stages) = &mut self.0 else {
            return self.refuse();
        };
        let mut text = String::new();
        let refusal = stages.finish(&mut text);
        stages.detector = Detector::default();
        stages.masker = Masker::default();
        stages.held.clear();
        stages.held_from = 0;
        self.release(text, refusal)
    }

    /// The answer is complete: releases the rest. Later calls release nothing.
    pub fn finish(&mut self) -> Released {
        let State::Open(stages) = &mut self.0 else {
            return self.refuse();
        };
        let mut text = String::new();
        let refusal = stages.finish(&mut text);
        let released = self.release(text, refusal);
        self.0 = State::Closed;
        released
    }

    fn release(&mut self, text: String, refusal: Option<Refusal>) -> Released {
        if refusal.is_some() {
            self.0 = State::Closed;
        }
        Released { text, refusal }
    }

    fn refuse(&mut self) -> Released {
        match std::mem::replace(&mut self.0, State::Closed) {
            State::Refusing(refusal) => Released {
                text: String::new(),
                refusal: Some(refusal),
            },
            State::Open(_) | State::Closed => Released::default(),
        }
    }
}

impl Stages {
    fn push(&mut self, delta: &str, out: &mut String) -> Option<Refusal> {
        self.held.push_str(delta);
        let found = self.detector.push(&self.policy.block_list, delta);
        let clear = found.map_or(self.detector.clear_until(), |found| found.cut_at);
        self.pass_on(clear, out);
        found.map(|_| Refusal::blocked())
    }

    fn finish(&mut self, out: &mut String) -> Option<Refusal> {
        if let Some(found) = self.detector.finish(&self.policy.block_list) {
            self.pass_on(found.cut_at, out);
            return Some(Refusal::blocked());
        }
        self.pass_on(self.held_from + self.held.len(), out);
        self.masker
            .finish(&self.policy, &mut self.placeholders, out);
        None
    }

    /// Gives the masker the raw text before this offset.
    fn pass_on(&mut self, until: usize, out: &mut String) {
        let bytes = until - self.held_from;
        self.masker.push(
            &self.policy,
            &self.held[..bytes],
            &mut self.placeholders,
            out,
        );
        self.held.drain(..bytes);
        self.held_from = until;
    }
}
