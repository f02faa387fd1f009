//! What a person sees when the application is up.
//!
//! Besides an answer to the client this is the only place where the first key appears.

use crate::log::say;
use crate::manifest::Manifest;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What is said, gathered while starting.
pub(crate) struct Banner {
    name: String,
    state: PathBuf,
    has_chat: bool,
    pub(crate) https: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) operator: Option<SocketAddr>,
    /// The self-signed certificate, which a client has to be told to trust.
    pub(crate) certificate: Option<PathBuf>,
    /// A name in the operator's certificate.
    pub(crate) name_in_certificate: Option<String>,
    pub(crate) api_key: Option<String>,
}

/// The route that tells an application with a chat API.
const CHAT_ROUTE: &str = "/v1/chat/completions";
/// The model in the line to paste: the application chooses one of those that it serves.
const MODEL: &str = "auto";
/// The variable that holds a key in the line to paste.
const KEY_VARIABLE: &str = "SKERRY_API_KEY";

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
            name_in_certificate: None,
            api_key: None,
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
            lines.extend(self.invitation());
            lines.push(self.curl(base));
        }
        lines.push(String::new());
        lines.push("Ctrl-C stops it.".to_owned());
        lines.join("\n")
    }

    /// What goes before the line to paste.
    fn invitation(&self) -> Vec<String> {
        match self.api_key {
            Some(_) => vec!["Try it:".to_owned()],
            // Keys are stored hashed: nobody but their owner can say one.
            None => vec![
                "Try it, with a key that you have (the first was shown at the first start):"
                    .to_owned(),
                format!("  export {KEY_VARIABLE}='your key'"),
            ],
        }
    }

    /// The URL of the application, by a name that its certificate has.
    fn base(&self) -> Option<String> {
        match (self.https, self.http) {
            (Some(address), _) => Some(match &self.name_in_certificate {
                Some(name) => format!("https://{}:{}", bracketed(name), address.port()),
                None => format!("https://{}", named(address)),
            }),
            (None, Some(address)) => Some(format!("http://{}", named(address))),
            (None, None) => None,
        }
    }

    /// What `curl` has to be told so that it finds the application and trusts it.
    fn curl_options(&self) -> String {
        let mut options = String::new();
        let Some(address) = self.https else {
            return options;
        };
        if let Some(path) = &self.certificate {
            options.push_str(&format!(" --cacert {}", quoted(path)));
        }
        if let Some(name) = &self.name_in_certificate
            && *name != host(address)
        {
            let (port, ip) = (address.port(), reached(address));
            options.push_str(&format!(" --resolve {name}:{port}:{ip}"));
        }
        options
    }

    fn curl(&self, base: &str) -> String {
        let options = self.curl_options();
        let key = match &self.api_key {
            Some(key) => key.clone(),
            // The shell says so where it is not set.
            None => format!("${{{KEY_VARIABLE}:?set it to your key}}"),
        };
        format!(
            "  curl -N{options} {base}{CHAT_ROUTE} \\\n    \
             -H \"Authorization: Bearer {key}\" -H \"Content-Type: application/json\" \\\n    \
             -d '{{\"model\":\"{MODEL}\",\"stream\":true,\
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

/// The host by which this machine reaches a listener. It is in the self-signed certificate.
pub(crate) fn host(address: SocketAddr) -> String {
    let ip = address.ip();
    if ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        "localhost".to_owned()
    } else {
        ip.to_string()
    }
}

/// The address by which this machine reaches a listener.
fn reached(address: SocketAddr) -> IpAddr {
    if address.ip().is_unspecified() {
        Ipv4Addr::LOCALHOST.into()
    } else {
        address.ip()
    }
}

fn named(address: SocketAddr) -> String {
    format!("{}:{}", bracketed(&host(address)), address.port())
}

/// A host as a URL has it (RFC 3986 §3.2.2).
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner() -> Banner {
        let manifest = Manifest::parse(
            "spin_manifest_version = 2\n[application]\nname = \"chat\"\n[[trigger.http]]\n\
             route = \"/v1/chat/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"a.wasm\"\n",
            Path::new("."),
            None,
        )
        .unwrap();
        let mut banner = Banner::new(&manifest, Path::new("/my state"));
        banner.https = Some("127.0.0.1:8443".parse().unwrap());
        banner.certificate = Some("/my state/tls/cert.pem".into());
        banner.api_key = Some("sk-first".to_owned());
        banner
    }

    #[test]
    fn the_curl_line_can_be_pasted() {
        let text = banner().text();
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
        assert_eq!(body["model"], "auto");
        assert_eq!(text.matches("sk-first").count(), 2);
    }

    #[test]
    fn a_later_start_asks_for_a_key() {
        let mut later = banner();
        later.api_key = None;
        let text = later.text();
        assert!(text.contains("export SKERRY_API_KEY='your key'"), "{text}");
        assert!(
            text.contains("Bearer ${SKERRY_API_KEY:?set it to your key}\""),
            "{text}"
        );
    }

    #[test]
    fn the_address_is_one_that_answers_and_that_the_certificate_names() {
        for (listen, url) in [
            ("127.0.0.1:8443", "https://localhost:8443/"),
            ("0.0.0.0:8443", "https://localhost:8443/"),
            ("[::]:8443", "https://localhost:8443/"),
            ("127.0.0.2:8443", "https://127.0.0.2:8443/"),
            ("192.168.1.5:8443", "https://192.168.1.5:8443/"),
            ("[::1]:8443", "https://[::1]:8443/"),
        ] {
            let mut banner = banner();
            banner.https = Some(listen.parse().unwrap());
            let text = banner.text();
            assert!(text.contains(&format!("Open         {url}\n")), "{text}");
            assert!(
                text.contains(&format!("{url}v1/chat/completions")),
                "{text}"
            );
        }
    }

    #[test]
    fn the_operators_certificate_has_a_name_of_its_own() {
        let mut given = banner();
        given.certificate = None;
        given.https = Some("0.0.0.0:443".parse().unwrap());
        given.name_in_certificate = Some("chat.example.org".to_owned());
        let text = given.text();
        let line =
            "curl -N --resolve chat.example.org:443:127.0.0.1 https://chat.example.org:443/v1";
        assert!(text.contains(line), "{text}");
    }
}
