//! The border of the component: generated bindings of `safety.wit`, the variables, and the
//! conversion between the bindings' types and those of `screen` and `guard`. It decides nothing.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use spin_sdk::variables;

use crate::policy::{Finding, Policy, Refusal};
use crate::{guard, screen};

mod bindings {
    spin_sdk::wit_bindgen::generate!({
        world: "safety-component",
        path: "../../wit",
        runtime_path: "spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

use bindings::exports::skerry::chat::safety as wit;

struct Component;

bindings::export!(Component with_types_in bindings);

thread_local! {
    /// The policy of this instance, before whose life the host has fixed the variables.
    static COMPILED: OnceCell<Rc<Policy>> = const { OnceCell::new() };
}

impl wit::Guest for Component {
    type StreamGuard = StreamGuard;

    async fn screen(texts: Vec<String>) -> Result<wit::Screened, wit::Refusal> {
        let policy = policy().await.map_err(refusal)?;
        match screen::screen(&policy, &texts) {
            Ok(screened) => Ok(wit::Screened {
                texts: screened.texts,
                findings: findings(screened.findings),
            }),
            Err(refused) => Err(refusal(refused)),
        }
    }
}

struct StreamGuard(RefCell<guard::Guard>);

impl wit::GuestStreamGuard for StreamGuard {
    async fn create() -> wit::StreamGuard {
        let guard = match policy().await {
            Ok(policy) => guard::Guard::new(policy),
            Err(refused) => guard::Guard::refusing(refused),
        };
        wit::StreamGuard::new(Self(RefCell::new(guard)))
    }

    fn push(&self, delta: String) -> wit::Released {
        released(self.0.borrow_mut().push(&delta))
    }

    fn boundary(&self) -> wit::Released {
        released(self.0.borrow_mut().boundary())
    }

    fn finish(&self) -> wit::Released {
        released(self.0.borrow_mut().finish())
    }
}

/// The policy that the variables ask for. Where they cannot be read, or mean nothing, everything
/// is refused: a filter that is not there must not look like one that found nothing.
async fn policy() -> Result<Rc<Policy>, Refusal> {
    if let Some(policy) = COMPILED.with(|compiled| compiled.get().cloned()) {
        return Ok(policy);
    }
    let mask = variables::get("mask")
        .await
        .map_err(|_| Refusal::misconfigured("mask"))?;
    let block_list = variables::get("block_list")
        .await
        .map_err(|_| Refusal::misconfigured("block_list"))?;
    let policy = Rc::new(Policy::parse(&mask, &block_list)?);
    Ok(COMPILED.with(|compiled| Rc::clone(compiled.get_or_init(|| policy))))
}

fn released(released: guard::Released) -> wit::Released {
    wit::Released {
        text: released.text,
        refusal: released.refusal.map(refusal),
    }
}

fn refusal(refused: Refusal) -> wit::Refusal {
    wit::Refusal {
        message: refused.message,
        findings: findings(refused.findings),
    }
}

fn findings(findings: Vec<Finding>) -> Vec<wit::Finding> {
    findings
        .into_iter()
        .map(|finding| wit::Finding {
            kind: finding.kind.to_owned(),
            count: finding.count,
        })
        .collect()
}
