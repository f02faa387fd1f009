//! Manifests that load and manifests that are refused, each with the words that help.

use super::*;

const SMALL: &str = r#"
spin_manifest_version = 2
[application]
name = "small"
[[trigger.http]]
route = "/..."
component = "one"
[component.one]
source = "one.wasm"
"#;

fn parse(text: &str) -> Result<Manifest, String> {
    Manifest::parse(text, Path::new("/app"), None)
}

fn check_refused(extra: &str, expect: &[&str]) {
    let error = parse(&format!("{SMALL}{extra}")).unwrap_err();
    for words in expect {
        assert!(error.contains(words), "{words:?} is not in:\n{error}");
    }
}

#[test]
fn a_whole_manifest_loads() {
    let manifest = parse(
        r#"
spin_manifest_version = 2
[application]
name = "whole"
version = "1.0.0"
description = "all keys"
authors = ["somebody"]
[application.trigger.http]
base = "/"
[variables]
api_host = { default = "https://example.com", description = "where" }
token = { required = true, secret = true }
[[trigger.http]]
id = "front"
route = "/v1/:name/..."
component = "root"
executor = { type = "http" }
[[trigger.http]]
route = { private = true }
component = "half"
[component.root]
description = "the root"
source = "target/root.wasm"
variables = { host = "{{ api_host }}", auth = "Bearer {{ token }}" }
environment = { MODE = "test" }
files = ["assets/*", { source = "static", destination = "/static" }]
exclude_files = ["assets/*.bak"]
allowed_outbound_hosts = ["{{ api_host }}", "http://half.spin.internal", "http://self"]
key_value_stores = ["default", "cache"]
sqlite_databases = ["ledger"]
[component.root.dependencies]
"skerry:chat/auth@0.1.0" = { component = "leaf", inherit_configuration = ["variables"] }
"skerry:chat/router@0.1.0" = { path = "router.wasm", inherit_configuration = true }
"other:thing@0.1.0" = { component = "leaf" }
[component.root.build]
command = ["npm ci", "npm run build"]
workdir = "web"
watch = ["src/**/*.rs"]
[component.root.tool.edge]
check = "/internal/check"
first_run = "/internal/bootstrap"
ticks = [{ path = "/internal/tick", every_s = 5 }]
optional_build = true
[component.root.tool.other]
anything = true
[component.half]
source = "half.wasm"
[component.leaf]
source = "leaf.wasm"
"#,
    )
    .unwrap();
    assert_eq!(manifest.served(), BTreeSet::from(["half", "root"]));
    let root = &manifest.components["root"];
    assert_eq!(root.source, Path::new("/app/target/root.wasm"));
    assert_eq!(root.check.as_deref(), Some("/internal/check"));
    assert_eq!(root.first_run.as_deref(), Some("/internal/bootstrap"));
    assert_eq!(root.ticks[0].every, Duration::from_secs(5));
    assert!(root.optional_build);
    assert_eq!(root.build.as_ref().unwrap().commands.len(), 2);
    let inherits: Vec<&Inherit> = root.dependencies.iter().map(|d| &d.inherit).collect();
    assert_eq!(inherits[0], &Inherit::Some(BTreeSet::new()));
    assert_eq!(
        inherits[1],
        &Inherit::Some(BTreeSet::from(["variables".to_owned()]))
    );
    assert_eq!(inherits[2], &Inherit::All);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_was_expected() {
    check_refused(
        "sauce = \"x\"\n",
        &[
            "unknown field `sauce`",
            "line 10",
            "expected one of",
            "`source`",
        ],
    );
    check_refused(
        "[component.one.build]\ncomand = \"x\"\n",
        &["`comand`", "`command`", "line 11"],
    );
    check_refused(
        "[component.one.tool.edge]\nfirst = \"/x\"\n",
        &[
            "component.one.tool.edge",
            "`first`",
            "`first_run`",
            "line 10",
        ],
    );
    check_refused(
        "[variables]\na = { default = \"x\", sekret = true }\n",
        &["`sekret`", "`secret`", "line 11"],
    );
    check_refused(
        "files = [{ source = \"a\", dest = \"/a\" }]\n",
        &["`dest`", "`destination`", "line 10"],
    );
    check_refused(
        "[component.one.dependencies]\n\"a:b/c\" = { componet = \"x\" }\n",
        &["`componet`", "`component`", "line 11"],
    );
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    check_refused(
        "[[trigger.redis]]\nchannel = \"c\"\ncomponent = \"one\"\n",
        &["`redis`", "`http`"],
    );
    check_refused(
        "ai_models = [\"llama2-chat\", \"\"]\n",
        &["component.one.ai_models[1]", "line 10"],
    );
    check_refused(
        "[component.two]\nsource = { url = \"https://x/y.wasm\", digest = \"sha256:0\" }\n",
        &["component.two.source", "url", "line 11"],
    );
    check_refused(
        "[[trigger.http]]\nroute = \"/w\"\ncomponent = \"one\"\nexecutor = { type = \"wagi\" }\n",
        &["wagi", "http"],
    );
    check_refused(
        "[component.one.dependencies]\n\"a:b/c\" = \"1.0\"\n",
        &["registry"],
    );
}

#[test]
fn wrong_values_are_refused() {
    let text = SMALL.replace("spin_manifest_version = 2", "spin_manifest_version = 1");
    assert!(parse(&text).unwrap_err().contains("expected 2"));
    let text = SMALL.replace("component = \"one\"", "component = \"none\"");
    assert!(
        parse(&text)
            .unwrap_err()
            .contains("there is no component \"none\"")
    );
    check_refused(
        "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"one\"\n",
        &["same paths"],
    );
    check_refused(
        "[[trigger.http]]\nroute = { private = false }\ncomponent = \"one\"\n",
        &["private = true"],
    );
    check_refused(
        "allowed_outbound_hosts = [\"example.com\"]\n",
        &["component.one", "scheme"],
    );
    check_refused(
        "allowed_outbound_hosts = [\"{{ nowhere }}\"]\n",
        &["no application variable \"nowhere\""],
    );
    check_refused(
        "variables = { a = \"{{ nowhere }}\" }\n",
        &["no application variable"],
    );
    check_refused("variables = { a = \"{{ broken\" }\n", &["never closes"]);
    check_refused("files = [\"../secret\"]\n", &["leaves the application"]);
    check_refused(
        "[variables]\na = { required = true, default = \"x\" }\n",
        &["no default"],
    );
    check_refused("[variables]\na = {}\n", &["required = true"]);
    check_refused(
        "[component.one.tool.edge]\nticks = [{ path = \"/t\", every_s = 0 }]\n",
        &["every_s is 0"],
    );
    check_refused("[component.One-x]\nsource = \"x\"\n", &["component.One-x"]);
}

#[test]
fn a_wrong_value_is_told_with_its_line() {
    check_refused(
        "key_value_stores = [\"good-one\", \"Bad one\"]\n",
        &[
            "component.one.key_value_stores[1]",
            "\"Bad one\"",
            "line 10",
        ],
    );
    check_refused(
        "exclude_files = [\"[\"]\n",
        &["component.one.exclude_files[0]", "line 10"],
    );
    check_refused(
        "[[trigger.http]]\nroute = \"/a/*\"\ncomponent = \"one\"\n",
        &["trigger.http[1].route", "`/...`", "line 11"],
    );
    check_refused(
        "[[trigger.http]]\nroute = \"/a\"\n",
        &["trigger.http[1]", "`static_response`", "line 10"],
    );
    check_refused(
        "[[trigger.http]]\nroute = \"/a\"\nstatic_response = { status_code = 99 }\n",
        &["static_response.status_code", "99", "line 12"],
    );
    check_refused(
        "[component.one.build]\ncommand = \"\"\n",
        &["component.one.build.command", "line 11"],
    );
    let name = "application.trigger.http.base";
    let base = "[application.trigger.http]\nbase = \"/api\"\n";
    check_refused(base, &[name, "\"/api\"", "line 11"]);
}

#[test]
fn a_profile_is_laid_over_its_components() {
    let text = format!(
        "{SMALL}environment = {{ A = \"a\", B = \"b\" }}\n\
         [component.one.build]\ncommand = \"make\"\nworkdir = \"w\"\n\
         [component.one.profile.debug]\nsource = \"debug.wasm\"\n\
         environment = {{ B = \"d\" }}\nbuild.command = [\"make\", \"debug\"]\n"
    );
    let folder = Path::new("/app");
    let plain = Manifest::parse(&text, folder, None).unwrap();
    assert_eq!(plain.components["one"].source, Path::new("/app/one.wasm"));
    let debug = Manifest::parse(&text, folder, Some("debug")).unwrap();
    let one = &debug.components["one"];
    assert_eq!(one.source, Path::new("/app/debug.wasm"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(one.environment, [pair("A", "a"), pair("B", "d")]);
    let build = one.build.as_ref().unwrap();
    assert_eq!(build.commands, ["make", "debug"]);
    assert_eq!(build.workdir.as_deref(), Some(Path::new("/app/w")));
    let error = Manifest::parse(&text, folder, Some("fast")).unwrap_err();
    assert!(
        error.contains("\"fast\"") && error.contains("one of debug"),
        "{error}"
    );
    let unknown = format!("{text}source_map = true\n");
    let error = Manifest::parse(&unknown, folder, None).unwrap_err();
    assert!(error.contains("`source_map`"), "{error}");
}

#[test]
fn middleware_stands_before_the_component_of_its_trigger_alone() {
    let text = format!(
        "{SMALL}[component.before]\nsource = \"before.wasm\"\n\
         [[trigger.http]]\nroute = \"/guarded\"\ncomponent = \"one\"\n\
         dependencies.middleware = [{{ component = \"before\", inherit_configuration = true }}, \
         {{ path = \"last.wasm\" }}]\n"
    );
    let manifest = parse(&text).unwrap();
    assert!(manifest.components["one"].middleware.is_empty());
    let copy = &manifest.components["one-1"];
    assert_eq!(copy.copy_of.as_deref(), Some("one"));
    assert_eq!(copy.middleware[0].source, Path::new("/app/before.wasm"));
    assert_eq!(copy.middleware[0].inherit, Inherit::All);
    assert_eq!(
        copy.middleware[1].inherit,
        Inherit::Some(BTreeSet::default())
    );
    assert_eq!(manifest.served(), BTreeSet::from(["one", "one-1"]));
    let alone = text.replacen(
        "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"one\"\n",
        "",
        1,
    );
    let manifest = parse(&alone).unwrap();
    assert_eq!(manifest.components["one"].middleware.len(), 2);
    check_refused(
        "[[trigger.http]]\nroute = \"/a\"\ncomponent = \"one\"\n\
         dependencies.middleware = [{ component = \"none\" }]\n",
        &["middleware[0].component", "\"none\"", "line 13"],
    );
    check_refused(
        "[[trigger.http]]\nroute = \"/a\"\ncomponent = \"one\"\ndependencies.after = []\n",
        &["`after`", "`middleware`", "line 13"],
    );
}

#[test]
fn a_component_may_stand_in_its_trigger() {
    let text = format!(
        "{SMALL}[[trigger.http]]\nid = \"front\"\nroute = \"/front\"\n\
         component = {{ source = \"front.wasm\" }}\n\
         [[trigger.http]]\nroute = \"/back\"\ncomponent = {{ source = \"back.wasm\" }}\n\
         [[trigger.http]]\nroute = \"/robots.txt\"\nstatic_response.body = \"none\"\n"
    );
    let manifest = parse(&text).unwrap();
    let served = BTreeSet::from(["front-component", "inline-component1", "one"]);
    assert_eq!(manifest.served(), served);
    let RouteAnswer::Static(response) = &manifest.routes[3].answer else {
        panic!("a static response");
    };
    assert_eq!(
        (response.status.as_u16(), &response.body[..]),
        (200, &b"none"[..])
    );
}

#[test]
fn deprecated_http_hosts_become_outbound_hosts() {
    let manifest = parse(&format!(
        "{SMALL}allowed_http_hosts = [\"a.com:81\", \"self\"]\n"
    ));
    let granted = &manifest.unwrap().components["one"].allowed_outbound_hosts;
    let texts: Vec<String> = granted.iter().map(|t| t.fill(|_| None).unwrap()).collect();
    assert_eq!(
        texts,
        ["http://a.com:81", "https://a.com:81", "http://self"]
    );
}

#[test]
fn a_leaf_has_no_grants_of_its_own() {
    for (own, what) in [
        ("variables = { a = \"b\" }", "variables"),
        ("key_value_stores = [\"default\"]", "key_value_stores"),
        ("sqlite_databases = [\"default\"]", "sqlite_databases"),
        (
            "allowed_outbound_hosts = [\"http://x.y\"]",
            "allowed_outbound_hosts",
        ),
        ("files = [\"a\"]", "files"),
        ("environment = { A = \"b\" }", "an environment"),
        (
            "dependencies = { \"a:b/c\" = { path = \"x.wasm\" } }",
            "dependencies of its own",
        ),
    ] {
        let extra = format!(
            "[component.one.dependencies]\n\"a:b/c@0.1.0\" = {{ component = \"leaf\" }}\n\
             [component.leaf]\nsource = \"leaf.wasm\"\n{own}\n"
        );
        check_refused(&extra, &["cannot be a dependency", what]);
    }
    let extra = "[component.one.dependencies]\n\"a:b/c@0.1.0\" = { component = \"leaf\", inherit_configuration = [\"stars\"] }\n[component.leaf]\nsource = \"leaf.wasm\"\n";
    check_refused(extra, &["\"stars\" is unknown", "key_value_stores"]);
}
