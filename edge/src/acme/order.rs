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
) -> Result<Issued, String> {
    let said = |error: Error| chain_of(&error);
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
        said(error)
    })?;
    let mut shown = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(said)?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => return Err(format!("an authorization is {other:?}")),
        }
        let mut challenge = authorization
            .challenge(ChallengeType::TlsAlpn01)
            .ok_or("the authority offers no challenge tls-alpn-01")?;
        let name = challenge.identifier().to_string();
        let digest = challenge.key_authorization().digest();
        // Shown until the order is over.
        shown.push(certificates.show_proof(&name, digest.as_ref())?);
        challenge.set_ready().await.map_err(said)?;
    }
    let patience = RetryPolicy::new().timeout(AUTHORITY_TIME_MAX).backoff(1.5);
    let status = order.poll_ready(&patience).await.map_err(said)?;
    if status != OrderStatus::Ready {
        return Err(refusal(&mut order, status).await);
    }
    let key = order.finalize().await.map_err(said)?;
    let chain = order.poll_certificate(&patience).await.map_err(said)?;
    Ok(Issued(format!("{key}{chain}")))
}

/// The account that is kept, or a new one, which then is.
async fn account(wanted: &Wanted, authority: &Authority, store: &Store) -> Result<Account, String> {
    let said = |error: Error| chain_of(&error);
    let builder = Account::builder_with_http(Box::new(authority.clone()));
    if let Some(credentials) = store.account()? {
        return builder.from_credentials(credentials).await.map_err(said);
    }
    let contact: Vec<&str> = wanted.contacts.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let created = builder.create(&new, wanted.directory.clone(), None).await;
    let (account, credentials) = created.map_err(said)?;
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
