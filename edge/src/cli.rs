//! The command line: what an operator may say, checked before anything happens.
//!
//! It maps errors to exit codes: 64 for a wrong command line, manifest or configuration,
//! 1 for everything else. It does NOT do the work.

use crate::acme::AcmeOptions;
use crate::app::code::apart;
use crate::front::compression::Compressed;
use crate::front::cors::AllowedOrigin;
use crate::limits::Setting;
use crate::log::LogFormat;
use crate::manifest::Manifest;
use crate::manifest::allowed_hosts::Target;
use crate::registry::options::{Pulling, RegistryCommand};
use crate::{build_step, doctor, log, registry, up, watch};
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// A wasmtime host for Spin applications.
#[derive(Debug, Parser)]
#[command(name = "edge", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the application, start its backend and serve it.
    Up(Box<UpOptions>),
    /// Build the application's components.
    Build(Source),
    /// Build and serve, and do it again when files change.
    Watch(WatchOptions),
    /// Say what keeps the application from being built and served, and what helps.
    Doctor(DoctorOptions),
    /// Check manifest and components without serving them.
    Validate(ValidateOptions),
    /// Push applications to registries, and pull them.
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Compile one component: what this program starts itself for.
    #[command(name = apart::COMMAND, hide = true)]
    CompileApart { source: PathBuf, target: PathBuf },
}

impl Command {
    fn log_format(&self) -> Option<LogFormat> {
        Some(match self {
            Self::Up(options) => options.source.log_format,
            Self::Build(source) => source.log_format,
            Self::Watch(options) => options.source.log_format,
            Self::Doctor(options) => options.source.log_format,
            Self::Validate(options) => options.source.log_format,
            Self::Registry(command) => command.log_format(),
            Self::CompileApart { .. } => return None,
        })
    }
}

/// Where the application is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Source {
    /// The manifest, or the folder that has a spin.toml; for `up` also an application in a
    /// registry: REGISTRY/REPOSITORY[:TAG][@DIGEST].
    #[arg(short = 'f', long, default_value = "spin.toml", value_name = "PATH")]
    pub(crate) from: PathBuf,
    /// The profile of the manifest to build and serve.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// How to write the log, which goes to stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

impl Source {
    /// Reads the manifest.
    pub(crate) fn manifest(&self) -> Result<Manifest, Failure> {
        Manifest::load(&self.from, self.profile.as_deref())
            .map_err(|error| Failure::Config(error.to_string()))
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ValidateOptions {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Providers of stores and databases, in Spin's format.
    #[arg(long, value_name = "FILE")]
    pub(crate) runtime_config_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WatchOptions {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Clear the screen before each run.
    #[arg(short = 'c', long)]
    pub(crate) clear: bool,
    /// Wait so many milliseconds after a change for further ones.
    #[arg(short = 'd', long, default_value_t = 100, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub(crate) debounce: u64,
    /// Leave out of the log what components write to standard output and error.
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// Build nothing; start anew when what was built changes.
    #[arg(long)]
    pub(crate) skip_build: bool,
    /// Options of `edge up`, after `--`.
    #[arg(last = true, value_name = "OPTIONS")]
    pub(crate) up_arguments: Vec<std::ffi::OsString>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorOptions {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Do what helps, where this can be done without you.
    #[arg(long)]
    pub(crate) fix: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) pulling: Pulling,
    /// Where to serve HTTPS.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDR", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Serve plain HTTP too: a port of this machine, or ADDR:PORT.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) http: Option<SocketAddr>,
    /// Do not serve HTTP/3, which is on the same port as HTTPS, over UDP.
    #[arg(long)]
    pub(crate) no_http3: bool,
    /// Do not serve HTTPS.
    #[arg(long, requires = "http")]
    pub(crate) no_https: bool,
    /// A certificate chain in PEM, in place of the self-signed one. May be given more than
    /// once, each with its key: a client gets the one that names what it asks for, else the
    /// first. The files are read again when they change.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Vec<PathBuf>,
    /// The key of --tls-cert; several in the same order.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Vec<PathBuf>,
    /// The oldest TLS that is spoken.
    #[arg(long, value_enum, default_value_t = TlsVersion::V1_3, value_name = "VERSION")]
    pub(crate) tls_min_version: TlsVersion,
    /// Authorities in PEM: clients must show a certificate that one of them has signed.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) acme: AcmeOptions,
    /// What is compressed for clients that take it. What an attacker chooses and what is secret
    /// should not be in one compressed answer: the manual says why.
    #[arg(long, value_enum, default_value_t = Compressed::Off, value_name = "WHAT")]
    pub(crate) compression: Compressed,
    /// An origin (https://HOST) whose pages may read answers in a browser, or * for all; may
    /// be given more than once. Without it components decide.
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    pub(crate) cors_origins: Vec<AllowedOrigin>,
    /// A load balancer's address or network: its TCP connections begin with a head of the
    /// PROXY protocol (version 1 or 2) that names the client. May be given more than once.
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    pub(crate) proxy_protocol: Vec<IpNet>,
    /// A client's address or network: its answers say in Server-Timing how long each
    /// component took. May be given more than once.
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    pub(crate) server_timing: Vec<IpNet>,
    /// Where to serve /healthz, /readyz and /metrics, for the operator only.
    #[arg(long, default_value = "127.0.0.1:9443", value_name = "ADDR", value_parser = address)]
    pub(crate) operator: SocketAddr,
    /// A name by which the operator's pages may be asked for, besides localhost and addresses.
    /// May be given more than once.
    #[arg(long = "operator-host", value_name = "NAME")]
    pub(crate) operator_hosts: Vec<String>,
    /// Do not serve the operator's pages.
    #[arg(long)]
    pub(crate) no_operator: bool,
    /// Use the backend at this URL and start none: any server that speaks OpenAI's API, by the
    /// base of its API (without a path: /v1). Its key is the application variable
    /// `backend_api_key`, which SPIN_VARIABLE_BACKEND_API_KEY in the environment sets.
    #[arg(long, value_name = "URL", value_parser = api_base)]
    #[arg(conflicts_with_all = ["model", "backend_bin"])]
    pub(crate) backend: Option<String>,
    /// The model for the backend that is started: a folder in Hugging Face layout, or the name
    /// (OWNER/NAME) of one on the hub, which the backend fetches.
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// The backend's program, in place of the one built from gpu-backend/.
    #[arg(long, value_name = "FILE")]
    pub(crate) backend_bin: Option<PathBuf>,
    /// Speak HTTP/2 without TLS to http://HOST:PORT, as to the backend that is started here:
    /// many streams share a connection. The server must take HTTP/2 by prior knowledge.
    #[arg(long, value_name = "URL", value_parser = origin)]
    pub(crate) h2c: Vec<Target>,
    /// Where data, caches and certificates are kept. [default: .skerry beside the manifest]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Providers of stores and databases, in Spin's format.
    #[arg(long, value_name = "FILE")]
    pub(crate) runtime_config_file: Option<PathBuf>,
    /// The value of an application variable.
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) variables: Vec<(String, String)>,
    /// An environment variable for all components; it beats the manifest's.
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) environment: Vec<(String, String)>,
    /// Leave out of the log what components write to standard output and error.
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// Serve what is built already.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// How long open streams may take to end after a first Ctrl-C or SIGTERM.
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(crate) drain_seconds: u64,
    /// Requests at once; more are answered 503. The same as --limit requests=N.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) max_requests: Option<u64>,
    /// Bytes of a request's body; more are answered 413. The same as --limit body-bytes=N.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub(crate) max_body_bytes: Option<u64>,
    /// End where a reload needs a restart, with exit code 75: for `edge watch`.
    #[arg(long, hide = true)]
    pub(crate) ends_to_restart: bool,
    /// Sets a limit by its name; the manual has a table of them. May be given more than once.
    #[arg(long = "limit", value_name = "NAME=N")]
    pub(crate) limits: Vec<Setting>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TlsVersion {
    #[value(name = "1.2")]
    V1_2,
    #[value(name = "1.3")]
    V1_3,
}

/// `8080`, `:8080` or `ADDR:PORT`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse()
        .map_err(|_| "expected a port or ADDR:PORT".to_owned())
}

/// `10.0.0.1` or `10.0.0.0/8`.
fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| "expected an address or ADDRESS/BITS".to_owned())
}

/// `http://HOST:PORT`.
pub(crate) fn origin(text: &str) -> Result<Target, String> {
    let uri = text.parse::<http::Uri>().ok();
    let is_bare = |uri: &http::Uri| uri.path() == "/" && uri.query().is_none();
    let target = uri.filter(is_bare).as_ref().and_then(Target::of);
    target
        .filter(|target| target.scheme == "http" && text.contains("://"))
        .ok_or_else(|| "expected http://HOST:PORT".to_owned())
}

/// `http://HOST:PORT` or `https://HOST`, with a path or without; without a slash at the end.
fn api_base(text: &str) -> Result<String, String> {
    let uri = text.parse::<http::Uri>().ok();
    let is_base = |uri: &http::Uri| {
        let has_user = uri.authority().is_some_and(|it| it.as_str().contains('@'));
        uri.query().is_none() && !has_user && !text.contains('#')
    };
    let target = uri.filter(is_base).as_ref().and_then(Target::of);
    target
        .filter(|target| ["http", "https"].contains(&&*target.scheme) && text.contains("://"))
        .map(|_| text.trim_end_matches('/').to_owned())
        .ok_or_else(|| {
            "expected http://HOST:PORT or https://HOST, or that with the path of the API, and no \
             user, query or fragment"
                .to_owned()
        })
}

pub(crate) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for is wrong.
    #[error("{0}")]
    Config(String),
    /// It was right and did not work.
    #[error("{0}")]
    Run(String),
    /// It ended to be started anew.
    #[error("a new start is needed")]
    Restart,
}

/// The exit code for a wrong configuration, as in sysexits.h.
const EXIT_CONFIG: u8 = 64;
/// The exit code of a process that ends to be started anew (`EX_TEMPFAIL` there).
pub(crate) const EXIT_RESTART: u8 = 75;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let log = cli.command.log_format().map(log::start);
    let result = match &cli.command {
        Command::Up(options) => up::up(options),
        Command::Build(source) => build_step::build_command(source),
        Command::Watch(options) => watch::watch(options),
        Command::Doctor(options) => doctor::doctor(options),
        Command::Validate(options) => up::validate(options),
        Command::Registry(command) => registry::registry(command),
        Command::CompileApart { source, target } => {
            apart::child(source, target).map_err(Failure::Run)
        }
    };
    // What it holds comes before the last word.
    drop(log);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::say_error(&failure.to_string());
            match failure {
                Failure::Config(_) => ExitCode::from(EXIT_CONFIG),
                Failure::Run(_) => ExitCode::FAILURE,
                Failure::Restart => ExitCode::from(EXIT_RESTART),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ports_or_addresses() {
        assert_eq!(address("8080").unwrap(), "127.0.0.1:8080".parse().unwrap());
        assert_eq!(address(":8080").unwrap(), "127.0.0.1:8080".parse().unwrap());
        assert_eq!(address("0.0.0.0:1").unwrap(), "0.0.0.0:1".parse().unwrap());
        assert_eq!(
            address("localhost:1").unwrap(),
            "127.0.0.1:1".parse().unwrap()
        );
        assert!(address("99999").is_err() && address("here").is_err());
    }

    #[test]
    fn a_network_is_an_address_or_has_bits() {
        let net = |text: &str| network(text).map(|net| net.to_string());
        assert_eq!(net("10.0.0.1").unwrap(), "10.0.0.1/32");
        assert_eq!(net("10.0.0.0/8").unwrap(), "10.0.0.0/8");
        assert_eq!(net("fd00::/8").unwrap(), "fd00::/8");
        assert!(net("10.0.0.0/33").is_err() && net("balancer").is_err());
    }

    #[test]
    fn an_origin_is_a_plain_url_without_a_path() {
        let origin = |text: &str| origin(text).map(|target| (target.host, target.port));
        assert_eq!(
            origin("http://Engine:8000"),
            Ok(("engine".to_owned(), 8000))
        );
        assert_eq!(origin("http://[::1]:80/"), Ok(("::1".to_owned(), 80)));
        for wrong in [
            "engine:8000",
            "https://a:1",
            "http://a/v1",
            "http://",
            "a",
            "",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_backend_is_the_base_of_an_api() {
        for (url, base) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://[::1]:8000/", "http://[::1]:8000"),
            (
                "https://api.groq.com/openai/v1",
                "https://api.groq.com/openai/v1",
            ),
            ("https://a.org/v1/", "https://a.org/v1"),
        ] {
            assert_eq!(api_base(url), Ok(base.to_owned()), "{url}");
        }
        for wrong in [
            "",
            "a",
            "a:8000",
            "ftp://a",
            "http://",
            "http://me:secret@a",
            "http://a?key=x",
            "http://a/v1#x",
            "http://a b",
        ] {
            let error = api_base(wrong).unwrap_err();
            assert!(error.starts_with("expected http://"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let refused = |line: &str| Cli::try_parse_from(line.split(' ')).is_err();
        assert!(refused("edge up --no-https"));
        assert!(refused("edge up --tls-cert a.pem"));
        assert!(refused("edge up --acme-domain *.a.org"));
        assert!(refused("edge up --acme-contact me@a.org"));
        assert!(refused("edge up --acme-domain a.org --http 80 --no-https"));
        assert!(!refused(
            "edge up --acme-domain a.org --acme-contact me@a.org"
        ));
        assert!(refused("edge up --backend http://x --model m"));
        assert!(refused("edge up --variable novalue"));
        assert!(refused("edge up -e novalue"));
        assert!(refused("edge watch --http 8080"));
        assert!(!refused(
            "edge watch -c -d 200 -q --skip-build -- --http 8080"
        ));
        assert!(!refused("edge up --http 8080 --no-https --variable a=b=c"));
    }
}
