//! Generated: the leaves as this component imports them (`wit/worlds.wit`).
#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "generated code"
)]

spin_sdk::wit_bindgen::generate!({
    world: "gateway-component",
    path: "../../wit",
    runtime_path: "spin_sdk::wit_bindgen::rt",
    generate_all,
});
