//! `edge registry login`: who we are, asked of the operator, tried at the registry, and then
//! kept. A password is never shown or logged.

use super::options::LoginOptions;
use super::{RegistryError, client, credentials, limits, looks_like_reference, parse, runtime};
use crate::cli::Failure;
use crate::log::say;
use oci_client::Reference;
use std::io::{IsTerminal as _, Read as _, Write as _, stderr, stdin};

/// The longest user or password that is read.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Who we are to a registry.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

pub(super) fn login(options: &LoginOptions) -> Result<(), Failure> {
    let server = server(&options.server)?;
    let login = Login {
        user: user(options)?,
        password: password(options)?,
    };
    let insecure = options.reach.insecure;
    runtime()?.block_on(limits::bounded(client::check(&server, insecure, &login)))?;
    let file = credentials::keep(server.resolve_registry(), &login)?;
    let name = server.registry();
    say(&format!("Logged in to {name}; kept in {}", file.display()));
    Ok(())
}

/// A reference into the registry, whose repository is nobody's.
fn server(text: &str) -> Result<Reference, RegistryError> {
    let bare = text.trim_end_matches('/');
    let inside = format!("{bare}/edge/login");
    let reference = parse(&inside).ok();
    let whole = |found: &Reference| found.registry() == bare && looks_like_reference(&inside);
    reference.filter(whole).ok_or_else(|| {
        RegistryError::Wrong(format!("{text:?} is no registry: expected HOST[:PORT]"))
    })
}

fn user(options: &LoginOptions) -> Result<String, Failure> {
    let user = match &options.username {
        Some(user) => user.clone(),
        None => {
            expect_terminal("--username")?;
            let _ = write!(stderr(), "Username: ");
            let mut line = String::new();
            stdin().read_line(&mut line).map_err(RegistryError::from)?;
            line.trim().to_owned()
        }
    };
    // Basic authentication has them apart by the first colon (RFC 7617).
    if user.is_empty() || user.contains(':') {
        let message = "--username: expected a name without a colon";
        return Err(Failure::Config(message.to_owned()));
    }
    Ok(user)
}

fn password(options: &LoginOptions) -> Result<String, Failure> {
    let password = match &options.password {
        Some(password) => password.clone(),
        None if options.password_stdin => {
            let mut text = String::new();
            let read = stdin().take(SECRET_BYTES_MAX).read_to_string(&mut text);
            read.map_err(RegistryError::from)?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => {
            expect_terminal("--password-stdin")?;
            rpassword::prompt_password("Password: ").map_err(RegistryError::from)?
        }
    };
    if password.is_empty() {
        return Err(Failure::Config("the password is empty".to_owned()));
    }
    Ok(password)
}

/// Only a terminal has somebody to ask.
fn expect_terminal(option: &str) -> Result<(), Failure> {
    match stdin().is_terminal() {
        true => Ok(()),
        false => Err(Failure::Config(format!(
            "{option}: needed where standard input is no terminal"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_a_host_and_nothing_else() {
        for (text, registry) in [
            ("ghcr.io", "ghcr.io"),
            ("localhost:5000/", "localhost:5000"),
            ("docker.io", "index.docker.io"),
        ] {
            assert_eq!(server(text).unwrap().resolve_registry(), registry);
        }
        for wrong in [
            "",
            "me",
            "ghcr.io/me",
            "https://ghcr.io",
            "ghcr.io:v1:2",
            "a b.c",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }
}
