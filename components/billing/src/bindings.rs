//! The generated bindings of world `billing-component`, and nothing else.

spin_sdk::wit_bindgen::generate!({
    world: "billing-component",
    path: "../../wit",
    runtime_path: "spin_sdk::wit_bindgen::rt",
    generate_all,
});
