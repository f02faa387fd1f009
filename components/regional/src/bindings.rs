//! The generated bindings of world `regional-component`, and nothing else.

spin_sdk::wit_bindgen::generate!({
    world: "regional-component",
    path: "../../wit",
    runtime_path: "spin_sdk::wit_bindgen::rt",
    generate_all,
});
