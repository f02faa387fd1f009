//! One order of a certificate (RFC 8555 §7), proven by TLS itself (RFC 8737).
//!
//! Every request has a deadline and every answer a size. It does NOT know when to order.

use super::store::Store;
use crate::capability::outbound::{system_roots, tls_config_with};
use crate::front::tls::{self, Certificates};
use bytes::Bytes;
use http::Request;
use http_body_util::Limited;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error, HttpClient,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How long one request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long the authority may take to look at a challenge, and then to sign.
const AUTHORITY_TIME_MAX: Duration = Duration::from_secs(120);

/// What is asked for, of whom.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) domains: Vec<String>,
    pub(super) directory: String,
    /// `mailto:` addresses.
    pub(super) contacts: Vec<String>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// The authority saw no proof, or grants no such certificate.
    #[error("refused: {0}")]
    Refused(String),
    /// It could not be asked, or what it said could not be kept.
    #[error("{0}")]
    Failed(String),
}

impl OrderError {
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Failed(_) => "error",
        }
    }
}

impl From<String> for OrderError {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        let said = chain_of(&error);
        match error {
            Error::Api(_) => Self::Refused(said),
            _ => Self::Failed(said),
        }
    }
}

/// A chain and its key in PEM.
pub(super) struct Issued(pub(super) String);

/// The connection to an authority.
#[derive(Clone)]
pub(super) struct Authority(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Authority {
    /// `ca`: whom to trust besides those whom this machine trusts.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, String> {
        let roots = match ca {
            Some(file) => tls::authorities(file)?,
            None => system_roots(),
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(REQUEST_TIME_MAX));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config_with(roots)?)
            .https_only()
            .enable_http1()
            .enable_http2()
            .wrap_connector(connector);
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

impl HttpClient for Authority {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move {
            let answered = tokio::time::timeout(REQUEST_TIME_MAX, answer).await;
            let answer = answered
                .map_err(|_| Error::Str("an answer of the authority in time"))?
                .map_err(|error| Error::Other(Box::new(error)))?;
            let bounded = answer.map(|body| Limited::new(body, ANSWER_BYTES_MAX));
            Ok(BytesResponse::from(bounded))
        })
    }
}

/// Orders a certificate for all domains together.
pub(super) async fn order(
    wanted: &Wanted,
    authority: &Authority,
    store: &Store,
    certificates: &Arc<Certificates>,
) -> Result<Issued, OrderError> {
    let account = account(wanted, authority, store).await?;
    let names: Vec<_> = wanted
        .domains
        .iter()
        .cloned()
        .map(Identifier::Dns)
        .collect();
    let ordered = account.new_order(&NewOrder::new(&names)).await;
    let mut order = ordered.map_err(|error| {
        if is_unknown_account(&error) {
            store.forget_account();
        }
        OrderError::from(error)
    })?;
    let mut shown = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => {
                return Err(OrderError::Refused(format!(
                    "an authorization is {other:?}"
                )));
            }
        }
        let mut challenge = authorization
            .challenge(ChallengeType::TlsAlpn01)
            .ok_or_else(|| OrderError::Refused("tls-alpn-01 is not offered".to_owned()))?;
        let name = challenge.identifier().to_string();
        let digest = challenge.key_authorization().digest();
        // Shown until the order is over.
        shown.push(certificates.show_proof(&name, digest.as_ref())?);
        challenge.set_ready().await?;
    }
    let patience = RetryPolicy::new().timeout(AUTHORITY_TIME_MAX).backoff(1.5);
    let status = order.poll_ready(&patience).await?;
    if status != OrderStatus::Ready {
        return Err(OrderError::Refused(refusal(&mut order, status).await));
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&patience).await?;
    Ok(Issued(format!("{key}{chain}")))
}

/// The account that is kept, or a new one, which then is.
async fn account(
    wanted: &Wanted,
    authority: &Authority,
    store: &Store,
) -> Result<Account, OrderError> {
    let builder = Account::builder_with_http(Box::new(authority.clone()));
    if let Some(credentials) = store.account()? {
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact: Vec<&str> = wanted.contacts.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let created = builder.create(&new, wanted.directory.clone(), None).await;
    let (account, credentials) = created?;
    store.keep_account(&credentials)?;
    Ok(account)
}

/// Has the authority forgotten who we are, as a test's does at its restart?
fn is_unknown_account(error: &Error) -> bool {
    let unknown = Some("urn:ietf:params:acme:error:accountDoesNotExist");
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == unknown)
}

/// Why an order came to nothing: what the authority says of each challenge.
async fn refusal(order: &mut Order, status: OrderStatus) -> String {
    let mut why = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let name = state.identifier().to_string();
        let problems = state
            .challenges
            .iter()
            .filter_map(|each| each.error.as_ref());
        why.extend(problems.map(|problem| format!("{name}: {problem}")));
    }
    format!("the order is {status:?}; {}", why.join("; "))
}

/// An error with what caused it: a connection's says little by itself.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.chars().take(1_000).collect()
}
