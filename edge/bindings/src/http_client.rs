//! `wasi:http/client@0.3.0`, with each outbound request attributed to the request on whose
//! behalf it is made, so that depth, trace and cancellation follow it.
//!
//! It only finds the context; sending is the outbound port's business.

use crate::state::State;
use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, GuestTaskId, HasData, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p3::bindings::http::client;
use wasmtime_wasi_http::p3::bindings::http::types::{ErrorCode, Request, Response};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtxView, WasiHttpView};

pub(crate) struct AttributedHttp;

impl HasData for AttributedHttp {
    type Data<'a> = WasiHttpCtxView<'a>;
}

impl client::HostWithStore<State> for AttributedHttp {
    async fn send(
        accessor: &Accessor<State, Self>,
        request: Resource<Request>,
    ) -> Result<Resource<Response>, TrappableError<ErrorCode>> {
        accessor
            .with(|mut access| {
                let mut store = access.as_context_mut();
                let tasks: Vec<GuestTaskId> = store.async_call_stack()?.collect();
                store.data_mut().call_out(&tasks);
                wasmtime::error::Ok(())
            })
            .map_err(TrappableError::trap)?;
        // Polled for the first time within this poll, so no other call comes in between.
        let inner = accessor.with_getter::<WasiHttp>(State::http);
        <WasiHttp as client::HostWithStore<State>>::send(&inner, request).await
    }
}
