//! One linker for every component: WASI 0.2 and 0.3, HTTP and the Spin interfaces.
//!
//! Every interface is always linked; whether a call succeeds is the grant's business. It
//! does NOT know which component it will serve.

use crate::generated::{fermyon, spin, wasi};
use crate::http_client::AttributedHttp;
use crate::state::{Capabilities, State};
use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{WasiHttp, WasiHttpView};

/// The interfaces that are linked, without versions; all of a package by a `/` at the end.
const SERVED: [&str; 21] = [
    "fermyon:spin/key-value",
    "fermyon:spin/llm",
    "fermyon:spin/postgres",
    "fermyon:spin/rdbms-types",
    "fermyon:spin/redis",
    "fermyon:spin/sqlite",
    "fermyon:spin/variables",
    "spin:key-value/",
    "spin:postgres/",
    "spin:redis/",
    "spin:sqlite/",
    "spin:variables/",
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:config/store",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:keyvalue/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Is there a version of the imported interface `name` that [`linker`] links? Whether it is
/// the version that is imported, linking tells.
pub fn serves(name: &str) -> bool {
    let bare = name.split('@').next().unwrap_or(name);
    SERVED.iter().any(|served| match served.ends_with('/') {
        true => bare.starts_with(served),
        false => bare == *served,
    })
}

/// Makes the linker.
///
/// # Errors
/// When two interfaces claim one name, which is a mistake in this crate.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::<State>::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::bindings::http::types::add_to_linker::<_, WasiHttp>(
        &mut linker,
        State::http,
    )?;
    wasmtime_wasi_http::p3::bindings::http::client::add_to_linker::<_, AttributedHttp>(
        &mut linker,
        State::http,
    )?;

    fn own(state: &mut State) -> &mut State {
        state
    }
    let l = &mut linker;
    spin::key_value::key_value::add_to_linker::<_, Capabilities>(l, own)?;
    spin::sqlite::sqlite::add_to_linker::<_, Capabilities>(l, own)?;
    spin::postgres3_0_0::postgres::add_to_linker::<_, Capabilities>(l, own)?;
    spin::postgres4_2_0::postgres::add_to_linker::<_, Capabilities>(l, own)?;
    spin::redis::redis::add_to_linker::<_, Capabilities>(l, own)?;
    spin::variables::variables::add_to_linker::<_, Capabilities>(l, own)?;
    fermyon::spin::key_value::add_to_linker::<_, Capabilities>(l, own)?;
    fermyon::spin::llm::add_to_linker::<_, Capabilities>(l, own)?;
    fermyon::spin::postgres::add_to_linker::<_, Capabilities>(l, own)?;
    fermyon::spin::rdbms_types::add_to_linker::<_, Capabilities>(l, own)?;
    fermyon::spin::redis::add_to_linker::<_, Capabilities>(l, own)?;
    fermyon::spin::sqlite::add_to_linker::<_, Capabilities>(l, own)?;
    fermyon::spin::variables::add_to_linker::<_, Capabilities>(l, own)?;
    wasi::keyvalue::store::add_to_linker::<_, Capabilities>(l, own)?;
    wasi::keyvalue::atomics::add_to_linker::<_, Capabilities>(l, own)?;
    wasi::keyvalue::batch::add_to_linker::<_, Capabilities>(l, own)?;
    wasi::config::store::add_to_linker::<_, Capabilities>(l, own)?;
    Ok(linker)
}
