//! What a person sees when the application is up.
//!
//! Besides an answer to the client this is the only place where the first key appears.

use crate::log::say;
use crate::manifest::Manifest;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What is said, gathered while starting.
pub(crate) struct Banner {
    name: String,
    state: PathBuf,
    has_chat: bool,
    pub(crate) https: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) operator: Option<SocketAddr>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) api_key: Option<String>,
    /// Absent where an engine that runs already knows the name.
    pub(crate) model: Option<String>,
}

/// The route that tells an application with a chat API.
const CHAT_ROUTE: &str = "/v1/chat/completions";

impl Banner {
    pub(crate) fn new(manifest: &Manifest, state: &Path) -> Self {
        let takes_chat = |route: &crate::manifest::Route| {
            route
                .pattern
                .as_ref()
                .is_some_and(|p| p.raw() != "/..." && p.matches(CHAT_ROUTE).is_some())
        };
        Self {
            name: manifest.name.clone(),
            state: state.to_owned(),
            has_chat: manifest.routes.iter().any(takes_chat),
            https: None,
            http: None,
            operator: None,
            certificate: None,
            api_key: None,
            model: None,
        }
    }

    /// Says it.
    pub(crate) fn say(&self) {
        say(&self.text());
    }

    fn text(&self) -> String {
        let mut lines = vec![String::new(), format!("{} is up.", self.name)];
        let base = self.base();
        if let Some(base) = &base {
            lines.push(format!("  Open         {base}/"));
        }
        if let (Some(address), true) = (self.http, self.https.is_some()) {
            lines.push(format!("  Plain HTTP   http://{}/", named(address)));
        }
        if let Some(key) = &self.api_key {
            lines.push(format!("  First key    {key}"));
            lines.push("               (shown this once; it is stored hashed)".to_owned());
        }
        if let Some(address) = self.operator {
            lines.push(format!(
                "  Operator     http://{address}/healthz, /readyz, /metrics"
            ));
        }
        lines.push(format!("  State        {}", self.state.display()));
        if let (Some(base), true) = (&base, self.has_chat) {
            lines.push(String::new());
            lines.push("Try it:".to_owned());
            lines.push(self.curl(base));
            if self.model.is_none() {
                lines.push(format!("  with one of {base}/v1/models for MODEL"));
            }
        }
        lines.push(String::new());
        lines.push("Ctrl-C stops it.".to_owned());
        lines.join("\n")
    }

    fn base(&self) -> Option<String> {
        match (self.https, self.http) {
            (Some(address), _) => Some(format!("https://{}", named(address))),
            (None, Some(address)) => Some(format!("http://{}", named(address))),
            (None, None) => None,
        }
    }

    fn curl(&self, base: &str) -> String {
        let certificate = match &self.certificate {
            Some(path) if self.https.is_some() => format!(" --cacert {}", quoted(path)),
            _ => String::new(),
        };
        let key = self.api_key.as_deref().unwrap_or("$SKERRY_API_KEY");
        let model = serde_json::json!(self.model.as_deref().unwrap_or("MODEL"));
        let model = model.to_string().replace('\'', r"'\''");
        format!(
            "  curl -N{certificate} {base}{CHAT_ROUTE} \\\n    \
             -H \"Authorization: Bearer {key}\" -H \"Content-Type: application/json\" \\\n    \
             -d '{{\"model\":{model},\"stream\":true,\
             \"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'"
        )
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if plain {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The loopback address by the name that the certificate has.
fn named(address: SocketAddr) -> String {
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_curl_line_can_be_pasted() {
        let manifest = Manifest::parse(
            "spin_manifest_version = 2\n[application]\nname = \"chat\"\n[[trigger.http]]\n\
             route = \"/v1/chat/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"a.wasm\"\n",
            Path::new("."),
        )
        .unwrap();
        let mut banner = Banner::new(&manifest, Path::new("/my state"));
        banner.https = Some("127.0.0.1:8443".parse().unwrap());
        banner.certificate = Some("/my state/tls/cert.pem".into());
        banner.api_key = Some("sk-first".to_owned());
        banner.model = Some("skerry-demo".to_owned());
        let text = banner.text();
        assert!(text.contains(
            "--cacert '/my state/tls/cert.pem' https://localhost:8443/v1/chat/completions"
        ));
        assert!(text.contains("Bearer sk-first"));
        let json = text
            .split("-d '")
            .nth(1)
            .unwrap()
            .split('\'')
            .next()
            .unwrap();
        let body: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(body["messages"][0]["role"], "user");
        assert_eq!(text.matches("sk-first").count(), 2);
    }

    /// The model that a shell sends when the line is pasted.
    fn pasted_model(banner: &Banner) -> String {
        let line = banner.curl("https://localhost:8443");
        let script = format!("curl() {{ shift $(($# - 1)); printf %s \"$1\"; }}; {line}");
        let sent = Command::new("sh").args(["-c", &script]).output().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
        body["model"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_curl_line_names_the_model_whatever_it_is_called() {
        let text = "spin_manifest_version = 2\n[application]\nname = \"chat\"\n";
        let manifest = Manifest::parse(text, Path::new(".")).unwrap();
        let mut banner = Banner::new(&manifest, Path::new("/state"));
        for name in [
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "Anna's \"own\" $HOME",
        ] {
            banner.model = Some(name.to_owned());
            assert_eq!(pasted_model(&banner), name);
        }
        banner.model = None;
        assert_eq!(pasted_model(&banner), "MODEL");
    }
}
