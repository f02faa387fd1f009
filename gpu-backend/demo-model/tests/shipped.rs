use std::path::Path;
#[test]
fn placeholder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/skerry-demo");
    let _ = folder;
}
