//! The generated bindings of world `rate-limit-component`, and nothing else.

spin_sdk::wit_bindgen::generate!({
    world: "rate-limit-component",
    path: "../../wit",
    runtime_path: "spin_sdk::wit_bindgen::rt",
    generate_all,
});
