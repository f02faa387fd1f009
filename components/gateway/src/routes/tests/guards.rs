//! Guards for scripted platforms: one of plain words, and the real one.

use std::cell::RefCell;
use std::rc::Rc;

use safety::policy::Policy;

use crate::bindings::skerry::chat::safety::{Refusal, Released, Screened};
use crate::platform::Guard;

/// Masks `SECRET`, refuses `FORBIDDEN`; words end with a space, so nothing is held.
pub(super) enum FakeGuard {
    Words,
    /// Or what `safety` does.
    Real(Box<RefCell<safety::guard::Guard>>),
}

fn released(released: safety::guard::Released) -> Released {
    Released {
        text: released.text,
        refusal: released.refusal.map(refusal),
    }
}

fn refusal(refusal: safety::policy::Refusal) -> Refusal {
    Refusal {
        message: refusal.message,
        findings: Vec::new(),
    }
}

pub(super) fn judge(text: &str) -> Released {
    let refusal = text.contains("FORBIDDEN").then(|| Refusal {
        message: "Not this.".into(),
        findings: Vec::new(),
    });
    let text = if refusal.is_some() {
        String::new()
    } else {
        text.replace("SECRET", "[MASK]")
    };
    Released { text, refusal }
}

pub(super) fn screen(policy: &Policy, texts: &[String]) -> Result<Screened, Refusal> {
    let screened = safety::screen::screen(policy, texts).map_err(refusal)?;
    Ok(Screened {
        texts: screened.texts,
        findings: Vec::new(),
    })
}

impl FakeGuard {
    pub(super) fn real(policy: &Rc<Policy>) -> Self {
        let guard = safety::guard::Guard::new(Rc::clone(policy));
        Self::Real(Box::new(RefCell::new(guard)))
    }
}

impl Guard for FakeGuard {
    fn push(&self, delta: &str) -> Released {
        match self {
            Self::Words => judge(delta),
            Self::Real(guard) => released(guard.borrow_mut().push(delta)),
        }
    }

    fn boundary(&self) -> Released {
        match self {
            Self::Words => judge(""),
            Self::Real(guard) => released(guard.borrow_mut().boundary()),
        }
    }

    fn finish(&self) -> Released {
        match self {
            Self::Words => judge(""),
            Self::Real(guard) => released(guard.borrow_mut().finish()),
        }
    }
}
