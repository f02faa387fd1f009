//! The chat page's component: bindings and conversion only.
//!
//! It stands beside the data plane: a browser that asks for `/` or one of the page's files is
//! answered here, from the folder that spin.toml mounts at the component's root. It does not know
//! the API, the keys, or what the page does with them.

/// Which stored form of a file a client accepts: plain, gzip or brotli.
pub mod encoding;
/// The files of the built page, and which request path names which of them.
pub mod folder;
/// The headers that keep the page safe in a browser.
pub mod security;
/// What a request is answered with.
pub mod site;

#[cfg(target_arch = "wasm32")]
mod component {
    use spin_sdk::http::{FullBody, Request, Response};
    use spin_sdk::http_service;

    /// Where spin.toml mounts the built page (`destination = "/"`).
    const MOUNT: &str = "/";

    #[http_service]
    async fn handle(request: Request) -> Response<FullBody<bytes::Bytes>> {
        let (head, _unread_body) = request.into_parts();
        let folder = crate::folder::Folder::at(MOUNT);
        crate::site::answer(&folder, &head).map(|body| FullBody::new(body.into()))
    }
}
