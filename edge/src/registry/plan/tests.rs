//! Applications that are packed and planned again, and locked applications that mean no good.

use super::super::pack::{self, Packed};
use super::*;
use crate::manifest::{Files, Inherit, Manifest};

/// The least that counts as a component.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

fn whole(folder: &Path) -> Packed {
    std::fs::create_dir_all(folder.join("static/deep")).unwrap();
    std::fs::write(folder.join("static/deep/short.txt"), "short").unwrap();
    std::fs::write(folder.join("static/long.txt"), "x".repeat(1_000)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("static/link")).unwrap();
    std::os::unix::fs::symlink("/etc", folder.join("static/etc")).unwrap();
    std::fs::write(folder.join("one.wasm"), COMPONENT).unwrap();
    let text = "spin_manifest_version = 2\n[application]\nname = \"a\"\nversion = \"1.2.3\"\n\
         [variables]\ntoken = { required = true, secret = true }\nhost = { default = \"h\\n\\u007f\" }\n\
         [[trigger.http]]\nroute = \"/one/:x/...\"\ncomponent = \"one\"\n\
         [[trigger.http]]\nroute = \"/before\"\ncomponent = \"one\"\n\
         dependencies = { middleware = [{ path = \"one.wasm\", inherit_configuration = true }] }\n\
         [[trigger.http]]\nroute = { private = true }\ncomponent = \"two\"\n\
         [[trigger.http]]\nroute = \"/tea\"\nstatic_response = { status_code = 418, body = \"tea\", \
         headers = { x = \"y\" } }\n\
         [component.two]\nsource = \"one.wasm\"\n\
         [component.unused]\nsource = \"absent.wasm\"\n\
         [component.one]\nsource = \"one.wasm\"\nkey_value_stores = [\"default\"]\n\
         sqlite_databases = [\"kept\"]\nai_models = [\"talker\"]\n\
         allowed_outbound_hosts = [\"https://{{ host }}\", \"http://two.spin.internal\"]\n\
         environment = { MODE = \"test\" }\nvariables = { t = \"Bearer {{ token }}\" }\n\
         files = [{ source = \"static\", destination = \"/pages\" }]\n\
         [component.one.dependencies]\n\
         \"a:b/c@1.0.0\" = { path = \"one.wasm\", inherit_configuration = [\"variables\"] }\n\
         [component.one.tool.edge]\nticks = [{ path = \"/t\", every_s = 5 }]\n";
    pack::pack(&Manifest::parse(text, folder, None).unwrap(), &[]).unwrap()
}

fn locked(packed: &Packed) -> Value {
    serde_json::from_slice(&packed.layers.last().unwrap().bytes).unwrap()
}

#[test]
fn what_is_packed_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let packed = whole(folder.path());
    // The component, once for all its uses, the long file and the locked application.
    let sizes: Vec<usize> = packed
        .layers
        .iter()
        .map(|layer| layer.bytes.len())
        .collect();
    assert_eq!(sizes[..2], [COMPONENT.len(), 1_000]);
    assert_eq!(sizes.len(), 3);
    let plan = Plan::read(&packed.layers[2].bytes, "../../blobs").unwrap();
    let text = &plan.manifest;
    let manifest = Manifest::parse(text, Path::new("/app"), None).expect(text);
    assert_eq!((&*manifest.name, &*manifest.version), ("a", "1.2.3"));
    let (token, host) = (&manifest.variables["token"], &manifest.variables["host"]);
    assert!(token.required && token.secret && !host.secret);
    assert_eq!(host.default.as_deref(), Some("h\n\u{7f}"));
    assert_eq!(
        manifest.routes[0].pattern.as_ref().unwrap().raw(),
        "/one/:x/..."
    );
    assert!(manifest.routes[2].pattern.is_none());
    assert!(format!("{:?}", manifest.routes[3].answer).contains("418"));
    assert_eq!(manifest.components.len(), 3, "one, its copy and two");

    let one = &manifest.components["one"];
    let blob = Digest::of(&COMPONENT).name();
    assert_eq!(one.source, Path::new("/app/../../blobs").join(&blob));
    assert!(one.key_value_stores.contains("default") && one.sqlite_databases.contains("kept"));
    assert!(one.ai_models.contains("talker") && one.middleware.is_empty());
    assert_eq!(
        one.allowed_outbound_hosts[0].to_string(),
        "https://{{ host }}"
    );
    assert_eq!(one.environment, [("MODE".to_owned(), "test".to_owned())]);
    assert_eq!(one.variables["t"].to_string(), "Bearer {{ token }}");
    assert_eq!(one.ticks.len(), 1);
    let inherits = Inherit::Some(["variables".to_owned()].into());
    assert_eq!(one.dependencies[0].inherit, inherits);
    let copy = &manifest.components["one-copy-b"];
    assert_eq!(copy.middleware[0].inherit, Inherit::All);
    assert!(copy.ticks.is_empty());

    let of_one = Path::new("files/one/pages");
    let files: Vec<_> = plan
        .files
        .iter()
        .filter(|file| file.place.starts_with(of_one))
        .collect();
    assert_eq!(files.len(), 2, "a link is not packed: {files:?}");
    assert_eq!(files[0].place, of_one.join("deep/short.txt"));
    assert_eq!(files[0].content, FileContent::Inline(b"short".to_vec()));
    let long = Digest::of("x".repeat(1_000).as_bytes());
    assert_eq!(files[1].content, FileContent::Blob(long));
}

#[test]
fn a_locked_application_reaches_nothing_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let packed = whole(folder.path());
    let refused = |change: &dyn Fn(&mut Value), words: &str| {
        let mut app = locked(&packed);
        change(&mut app);
        let error = Plan::read(app.to_string().as_bytes(), "blobs").unwrap_err();
        let error = error.to_string();
        assert!(error.contains(words), "{error}");
    };
    for path in [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "../../../etc/passwd",
        "",
        "a\0b",
        ".",
    ] {
        let change = |app: &mut Value| app["components"][0]["files"][0]["path"] = json!(path);
        refused(&change, "leaves the component's files");
    }
    for id in ["../one", "a/b", "", "/", ".."] {
        refused(
            &|app| app["components"][0]["id"] = json!(id),
            "no component's id",
        );
    }
    for digest in [
        json!("../x"),
        json!("sha256:../../../../etc/passwd"),
        Value::Null,
    ] {
        let source = |app: &mut Value| app["components"][0]["source"]["digest"] = digest.clone();
        refused(&source, "no digest");
        let leaf = |app: &mut Value| {
            let dependencies = &mut app["components"][0]["dependencies"];
            dependencies["a:b/c@1.0.0"]["source"]["digest"] = digest.clone();
        };
        refused(&leaf, "no digest");
    }
    let inline = json!({ "source": "/tmp/x.wasm", "build": { "command": "touch /tmp/x" },
        "files": [{ "source": "/etc", "destination": "/" }] });
    let change =
        |app: &mut Value| app["triggers"][0]["trigger_config"]["component"] = inline.clone();
    refused(&change, "\"component\" is not served");
    let change = |app: &mut Value| {
        let before = json!({ "middleware": [{ "path": "/tmp/x.wasm" }] });
        app["triggers"][0]["trigger_config"]["dependencies"] = before;
    };
    refused(&change, "\"dependencies\" is not served");
    let hosts = |app: &mut Value| {
        app["components"][0]["metadata"]["allowed_outbound_hosts"] = json!({ "a": "b" });
    };
    refused(&hosts, "allowed_outbound_hosts");
}

#[test]
fn what_is_needed_and_unknown_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let packed = whole(folder.path());
    let read = |change: &dyn Fn(&mut Value)| {
        let mut app = locked(&packed);
        change(&mut app);
        let read = Plan::read(app.to_string().as_bytes(), "blobs");
        read.map(drop).map_err(|error| error.to_string())
    };
    let check = |change: &dyn Fn(&mut Value), words: &str| {
        let error = read(change).unwrap_err();
        assert!(error.contains(words), "{error}");
    };
    check(
        &|app| app["triggers"][0]["trigger_type"] = json!("redis"),
        "\"redis\"",
    );
    check(&|app| app["spin_lock_version"] = json!(2), "version is 2");
    check(&|app| app["must_understand"] = json!(["warp"]), "\"warp\"");
    check(
        &|app| app["host_requirements"] = json!({ "warp": "required" }),
        "\"warp\"",
    );
    let component = |value: &'static str| {
        move |app: &mut Value| app["components"][0]["host_requirements"]["warp"] = json!(value)
    };
    check(&component("required"), "\"warp\"");
    read(&component("optional")).unwrap();
    check(&|app| *app = json!([]), "locked application");
}

/// A manifest's text holds what a locked application says as values, never as keys.
#[test]
fn no_text_of_a_locked_application_breaks_out_of_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let packed = whole(folder.path());
    let evil = "x\"\n[component.one.build]\ncommand = \"touch /tmp/x\"\n#";
    let mut app = locked(&packed);
    app["metadata"]["name"] = json!(evil);
    app["components"][0]["env"][evil] = json!(evil);
    app["components"][0]["metadata"]["ai_models"] = json!([evil]);
    let plan = Plan::read(app.to_string().as_bytes(), "blobs").unwrap();
    let manifest = Manifest::parse(&plan.manifest, Path::new("/app"), None).unwrap();
    assert!(manifest.components.values().all(|c| c.build.is_none()));
    assert_eq!(manifest.name, evil);
    let folder = |files: &Files| matches!(files, Files::Placed { source, .. } if source.starts_with("/app/files"));
    assert!(
        manifest
            .components
            .values()
            .all(|c| c.files.iter().all(folder))
    );
}
