//! `edge registry`'s command line, named as Spin names it.

use crate::cli::{Source, assignment};
use crate::log::LogFormat;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Log in to a registry; the login is kept where `docker login` keeps it.
    Login(LoginOptions),
    /// Push the application to a registry.
    Push(PushOptions),
    /// Pull an application from a registry, so that `edge up --from` finds it here.
    Pull(PullOptions),
}

impl RegistryCommand {
    pub(crate) fn log_format(&self) -> LogFormat {
        match self {
            Self::Login(options) => options.log_format,
            Self::Push(options) => options.source.log_format,
            Self::Pull(options) => options.log_format,
        }
    }
}

#[derive(Clone, Args)]
pub(crate) struct LoginOptions {
    /// The user; asked for at a terminal.
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// The password; others on this machine may see it in the list of processes. Asked for
    /// at a terminal.
    #[arg(short, long, conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Take the password from standard input.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// How to write the log, which goes to stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// The registry: HOST[:PORT]
    pub(crate) server: String,
}

impl std::fmt::Debug for LoginOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginOptions")
            .field("username", &self.username)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// How a registry is reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reach {
    /// Speak plain HTTP to the registry.
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
}

/// What is taken of a registry, and where it is kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pulling {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Where what was pulled is kept. [default: skerry/registry in the user's cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Take only an application that the owner of this public key (PEM, such as cosign.pub)
    /// has signed, and none that is older than what was run.
    #[arg(long, value_name = "FILE")]
    pub(crate) verify_key: Option<PathBuf>,
    /// Take a signed application also if it is older than what was run.
    #[arg(long, requires = "verify_key")]
    pub(crate) allow_older: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PushOptions {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Build the application first.
    #[arg(long)]
    pub(crate) build: bool,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Sign what is pushed with this private key: ECDSA on P-256 or Ed25519, PKCS #8 in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,
    /// An annotation of the manifest; it beats what is said of the application.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(crate) annotations: Vec<(String, String)>,
    /// REGISTRY/REPOSITORY[:TAG]
    pub(crate) reference: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PullOptions {
    #[command(flatten)]
    pub(crate) pulling: Pulling,
    /// The folder that remembers the newest signed application. [default: .skerry]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// How to write the log, which goes to stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// REGISTRY/REPOSITORY[:TAG][@DIGEST]
    pub(crate) reference: String,
}
