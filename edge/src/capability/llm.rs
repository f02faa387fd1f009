//! Language models: which of them a component may use, and the engine that has them.
//!
//! The engine is the one that is started or named by `--backend`, or a server of the
//! operator's. It does NOT know what a model says.

mod api;

use super::outbound::{Clients, NetworkCall};
use crate::lanes;
use crate::manifest::allowed_hosts::{Reach, Target};
use api::Api;
use async_trait::async_trait;
use bytes::Bytes;
use edge_bindings::port::{
    ANSWER_BYTES_MAX, Embedded, Inference, Inferred, LanguageModels, LlmError,
};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who computes: `[llm_compute]` of the runtime configuration, its URL known.
#[derive(Clone)]
pub(crate) struct LlmEngine {
    api: Api,
    /// The API's base, with no slash at the end.
    url: String,
    authorization: Option<HeaderValue>,
}

impl LlmEngine {
    /// The engine of this host, whose API has its base at `url`, or at its `/v1` where that is
    /// an origin. An empty `key` is none.
    pub(crate) fn own(url: &str, key: &str) -> Result<Self, String> {
        let url = url.trim_end_matches('/');
        let has_path = url
            .split_once("://")
            .is_some_and(|(_, rest)| rest.contains('/'));
        Ok(Self {
            api: Api::Completions,
            url: format!("{url}{}", if has_path { "" } else { "/v1" }),
            authorization: match key {
                "" => None,
                key => Some(bearer(key)?),
            },
        })
    }

    /// A server that speaks Spin's protocol or, with `open_ai`, OpenAI's chats. Only the
    /// origin of `url` counts, as under Spin.
    pub(crate) fn remote(url: &str, token: &str, open_ai: bool) -> Result<Self, String> {
        let parsed: Uri = url
            .parse()
            .map_err(|error| format!("url {url:?}: {error}"))?;
        let target = Target::of(&parsed).filter(|t| ["http", "https"].contains(&&*t.scheme));
        let (Some(_), Some(scheme), Some(authority)) =
            (target, parsed.scheme_str(), parsed.authority())
        else {
            return Err(format!(
                "url {url:?}: expected http:// or https:// and a host"
            ));
        };
        let authorization = bearer(token).map_err(|what| format!("auth_token {what}"))?;
        let (api, base) = match open_ai {
            true => (Api::Chats, "/v1"),
            false => (Api::Spin, ""),
        };
        Ok(Self {
            api,
            url: format!("{scheme}://{authority}{base}"),
            authorization: Some(authorization),
        })
    }
}

fn bearer(key: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| "has characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// It never shows the token.
impl std::fmt::Debug for LlmEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", self.api, self.url)
    }
}

/// The models of one component.
pub(crate) struct ComponentLlm {
    pub(crate) component: String,
    pub(crate) models: BTreeSet<String>,
    pub(crate) engine: Option<LlmEngine>,
    pub(crate) clients: Arc<Clients>,
}

#[async_trait]
impl LanguageModels for ComponentLlm {
    async fn infer(&self, asked: Inference) -> Result<Inferred, LlmError> {
        let engine = self.granted(&asked.model)?;
        let (path, body) = engine.api.infer(&asked);
        engine.api.inferred(&self.ask(engine, path, &body).await?)
    }

    async fn embed(&self, model: String, texts: Vec<String>) -> Result<Embedded, LlmError> {
        let engine = self.granted(&model)?;
        let count = texts.len();
        let (path, body) = engine.api.embed(&model, &texts);
        engine
            .api
            .embedded(&self.ask(engine, path, &body).await?, count)
    }
}

impl ComponentLlm {
    fn granted(&self, model: &str) -> Result<&LlmEngine, LlmError> {
        if !self.models.contains(model) {
            let component = &self.component;
            tracing::warn!(component, model, "model refused: not in ai_models");
            return Err(LlmError::ModelNotSupported);
        }
        self.engine.as_ref().ok_or_else(|| {
            LlmError::RuntimeError(
                "there is no engine: neither one that is started, nor --backend, nor \
                 [llm_compute] of the runtime configuration"
                    .to_owned(),
            )
        })
    }

    /// POSTs `body` and returns the whole answer.
    async fn ask(
        &self,
        engine: &LlmEngine,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Bytes, LlmError> {
        let failed = |what: &dyn std::fmt::Display| {
            LlmError::RuntimeError(format!("POST {path} request error: {what}"))
        };
        let uri: Uri = format!("{}{path}", engine.url)
            .parse()
            .map_err(|error| failed(&error))?;
        let target = Target::of(&uri).ok_or_else(|| failed(&"unknown scheme"))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &engine.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
        let request = request
            .body(body.boxed_unsync())
            .map_err(|error| failed(&error))?;
        let clients = Arc::clone(&self.clients);
        // The operator named the engine, so any address of it is meant.
        let call = NetworkCall {
            clients,
            component: self.component.clone(),
            target,
            reach: Reach::Literal,
        };
        let (head, body) = lanes::at_home(call.send(request, None, None))
            .await
            .map_err(|error| failed(&error))?
            .into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        match head.status {
            StatusCode::OK => Ok(body),
            status => Err(api::explain(status, &body)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_asked_at_its_base() {
        for (url, base) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
            ("https://a.org/openai/v1/", "https://a.org/openai/v1"),
            ("https://a.org/api", "https://a.org/api"),
        ] {
            assert_eq!(LlmEngine::own(url, "").unwrap().url, base, "{url}");
        }
        let url = |open_ai| LlmEngine::remote("http://a:1/x", "t", open_ai).unwrap().url;
        assert_eq!(
            (url(true), url(false)),
            ("http://a:1/v1".into(), "http://a:1".into())
        );
    }

    #[test]
    fn a_key_is_sent_and_not_shown() {
        let engine = LlmEngine::own("http://a", "sk-5ecret").unwrap();
        assert!(!format!("{engine:?}").contains("5ecret"));
        let sent = engine.authorization.unwrap();
        assert_eq!(sent, "Bearer sk-5ecret");
        assert!(sent.is_sensitive());
        let none = LlmEngine::own("http://a", "").unwrap();
        assert_eq!(none.authorization, None);
        let error = LlmEngine::own("http://a", "sk-5ecret\n").unwrap_err();
        assert!(!error.contains("5ecret"), "{error}");
    }
}
