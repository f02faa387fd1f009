//! What an answer is held to, gathered from a request and compiled.
//! Knows no grammar's notation.

use super::options::{AnswerOptions, AskedForm};
use super::{Chat, ChatError, ChatRequest};
use crate::constraint::compiler::Refused;
use crate::constraint::grammar::{Calls, Need, Target};

impl Chat {
    /// Compiles what a chat's answers are held to, on a thread of its own.
    ///
    /// # Errors
    /// Names the field whose form is malformed, unsupported or too large.
    pub async fn constrain(&self, request: &mut ChatRequest) -> Result<(), ChatError> {
        if let Some(target) = self.target(request)? {
            let options = &mut request.options;
            let tenant = options.scheduling.tenant();
            let made = self.compiler.compile(tenant, target).await;
            options.constraint = Some(made.map_err(|refused| named(options, refused))?);
        }
        Ok(())
    }

    /// As [`Self::constrain`], on the caller's thread.
    ///
    /// # Errors
    /// As there.
    pub fn constrain_blocking(&self, request: &mut ChatRequest) -> Result<(), ChatError> {
        if let Some(target) = self.target(request)? {
            let made = self.compiler.compile_blocking(target);
            let options = &mut request.options;
            options.constraint = Some(made.map_err(|refused| named(options, refused))?);
        }
        Ok(())
    }

    /// As [`Self::constrain`], for texts that are continued as they are: no tools and no
    /// reasoning are looked for in those.
    ///
    /// # Errors
    /// As there.
    pub async fn constrain_text(&self, options: &mut AnswerOptions) -> Result<(), ChatError> {
        if let Some(AskedForm { form, .. }) = options.form.clone() {
            let tenant = options.scheduling.tenant();
            let made = self.compiler.compile(tenant, Target::from(form)).await;
            options.constraint = Some(made.map_err(|refused| named(options, refused))?);
        }
        Ok(())
    }

    /// What a chat's answers are held to, if to anything.
    fn target(&self, request: &ChatRequest) -> Result<Option<Target>, ChatError> {
        let is_free = |calls: &Calls| calls.need == Need::Free;
        if request.options.form.is_none() && request.calls.as_ref().is_none_or(is_free) {
            return Ok(None);
        }
        let formats = self.text.formats;
        let reasoning = match formats.reasoning {
            Some(_) => formats.thinking(&self.render(request)?),
            None => None,
        };
        let calls = request.calls.clone();
        Ok(Some(Target {
            form: request
                .options
                .form
                .as_ref()
                .map(|asked| asked.form.clone()),
            calls: calls.map(|calls| Calls {
                format: formats.tools,
                ..calls
            }),
            reasoning,
        }))
    }
}

/// A refusal with the field that it is about.
fn named(options: &AnswerOptions, refused: Refused) -> ChatError {
    let asked = options.form.as_ref().map(|asked| asked.field.clone());
    let field = refused.field.or(asked);
    ChatError::Form {
        field: field.unwrap_or_else(|| "tools".to_owned()),
        error: refused.error,
    }
}
