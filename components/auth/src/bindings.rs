//! The generated bindings of world `auth-component`, and nothing else.

spin_sdk::wit_bindgen::generate!({
    world: "auth-component",
    path: "../../wit",
    runtime_path: "spin_sdk::wit_bindgen::rt",
    generate_all,
});
