//! The least that a component can do: a constant answer, the same that
//! `native-hyper` gives. What lies between the two is the price of the host and of
//! the sandbox. It reads nothing.

#[cfg(target_arch = "wasm32")]
mod component {
    use bytes::Bytes;
    use spin_sdk::http::{FullBody, Request, Response};
    use spin_sdk::http_service;

    #[http_service]
    async fn handle(_request: Request) -> Response<FullBody<Bytes>> {
        Response::new(FullBody::new(Bytes::from_static(b"ok\n")))
    }
}
