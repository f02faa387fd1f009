//! Bindings that `wasmtime` generates from `wit/`. Generated code only: no logic.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated code"
)]

wasmtime::component::bindgen!({
    path: "wit",
    world: "edge:host/capabilities",
    imports: { default: async | trappable },
    with: {
        "spin:key-value/key-value.store": crate::state::OpenStore,
        "fermyon:spin/key-value.store": crate::state::OpenStore,
        "wasi:keyvalue/store.bucket": crate::state::OpenStore,
        "wasi:keyvalue/atomics.cas": crate::state::CompareAndSwap,
        "spin:sqlite/sqlite.connection": crate::state::OpenDatabase,
        "fermyon:spin/sqlite.connection": crate::state::OpenDatabase,
        "spin:postgres/postgres.connection": crate::state::OpenPostgres,
        "spin:postgres/postgres.connection-builder": crate::state::PostgresBuilder,
        "fermyon:spin/postgres.connection": crate::state::OpenPostgres,
        "spin:redis/redis.connection": crate::state::OpenRedis,
        "fermyon:spin/redis.connection": crate::state::OpenRedis,
    },
});
