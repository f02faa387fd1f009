//! A new version of the application without a new start: on SIGHUP all is read, compiled
//! and checked again, beside what is served; only then new requests go to it.
//!
//! Where anything is wrong, what was served before still is. It does NOT build components.

use crate::app::{App, LoadError, Release, Resources};
use crate::log::say;
use crate::manifest::Manifest;
use crate::ticks::{self, Ticks};
use crate::versions::{ALIVE_MAX, Versions};
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Reads what there is now; it blocks.
pub(crate) type Read = Arc<dyn Fn() -> Result<Release, String> + Send + Sync>;

/// Why what was served before still is.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("{0}")]
    Wrong(String),
    #[error("{0}")]
    Restart(LoadError),
    #[error("{ALIVE_MAX} versions still finish what they have begun; try again later")]
    Full,
}

impl ReloadError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Wrong(_) => "error",
            Self::Restart(_) => "restart",
            Self::Full => "full",
        }
    }
}

impl From<LoadError> for ReloadError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Restart(_) => Self::Restart(error),
            _ => Self::Wrong(error.to_string()),
        }
    }
}

/// What ends the watch for signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The terminal that the process was started from is gone.
    Terminal,
    /// A change asks for a new start, and somebody waits for that.
    Restart,
}

/// Waits for SIGHUP and reloads.
pub(crate) struct Reloader {
    pub(crate) hangup: Hangup,
    pub(crate) resources: Arc<Resources>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) read: Read,
    /// What is served now.
    pub(crate) release: Release,
    pub(crate) ticks: Option<Ticks>,
    /// Whoever started this process starts it anew when it ends.
    pub(crate) ends_to_restart: bool,
}

impl Reloader {
    /// Reloads as often as it is told, until there is a reason to end.
    pub(crate) async fn run(&mut self) -> End {
        loop {
            if self.hangup.heard().await == Heard::TerminalGone {
                return End::Terminal;
            }
            let start = Instant::now();
            let metrics = Arc::clone(&self.resources.settings.metrics);
            match self.reload().await {
                Ok(generation) => {
                    metrics.reload("ok");
                    let ms = start.elapsed().as_millis() as u64;
                    tracing::info!(generation, ms, "reloaded");
                    say(&format!("Reloaded: version {generation} is served."));
                }
                Err(error) => {
                    metrics.reload(error.outcome());
                    tracing::error!(%error, "not reloaded: what was served before still is");
                    if self.ends_to_restart && matches!(error, ReloadError::Restart(_)) {
                        return End::Restart;
                    }
                }
            }
        }
    }

    async fn reload(&mut self) -> Result<i64, ReloadError> {
        if !self.versions.may_add() {
            return Err(ReloadError::Full);
        }
        let (read, resources) = (Arc::clone(&self.read), Arc::clone(&self.resources));
        let first_runs = first_runs(&self.release.manifest);
        let asks_engine = self.release.asks_engine(&resources.settings);
        let load = move || {
            let release = read().map_err(ReloadError::Wrong)?;
            needs_restart(&release, &resources, &first_runs, asks_engine)?;
            let app = App::load(&resources, &release)?;
            Ok::<_, ReloadError>((app, release))
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        let (app, release) = loaded.map_err(|error| ReloadError::Wrong(error.to_string()))??;
        ticks::check(&app, &release.manifest, &release.missing)
            .await
            .map_err(ReloadError::Wrong)?;
        self.ticks = Some(ticks::start(&app, &release.manifest, self.ticks.take()));
        self.release = release;
        let patience = self.resources.settings.limits.old_version_max;
        Ok(self.versions.replace(app, patience))
    }
}

/// What is done once, at a start.
fn first_runs(manifest: &Manifest) -> BTreeMap<String, String> {
    let named = manifest.components.iter();
    named
        .filter_map(|(id, component)| Some((id.clone(), component.first_run.clone()?)))
        .collect()
}

fn needs_restart(
    release: &Release,
    resources: &Resources,
    first_runs_before: &BTreeMap<String, String>,
    asked_engine: bool,
) -> Result<(), LoadError> {
    let settings = &resources.settings;
    let asks_engine = release.asks_engine(settings);
    if asks_engine && !asked_engine && settings.backend_url.is_none() {
        let what =
            "variable `backend_url` or `ai_models`, which ask for an engine that is not there,";
        return Err(LoadError::Restart(what.to_owned()));
    }
    if settings.backend_key.is_some() && !release.takes_engine_key() {
        let what = "variable `backend_api_key`, without which the engine refuses everybody,";
        return Err(LoadError::Restart(what.to_owned()));
    }
    let first_runs = first_runs(&release.manifest);
    let mut changed = first_runs
        .iter()
        .filter(|(id, path)| first_runs_before.get(*id) != Some(path));
    match changed.next() {
        Some((id, _)) => Err(LoadError::Restart(format!(
            "`first_run` of component {id:?}"
        ))),
        None => Ok(()),
    }
}

/// SIGHUP, which a service manager sends for a reload, and the kernel when the terminal of
/// a process is closed.
pub(crate) struct Hangup {
    signal: Signal,
    had_terminal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Reload,
    TerminalGone,
}

impl Hangup {
    /// From now on the signal no longer ends the process.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            signal: signal(SignalKind::hangup())?,
            had_terminal: has_terminal(),
        })
    }

    async fn heard(&mut self) -> Heard {
        if self.signal.recv().await.is_none() {
            return std::future::pending().await;
        }
        match self.had_terminal && !has_terminal() {
            true => Heard::TerminalGone,
            false => Heard::Reload,
        }
    }
}

/// Opening it fails where there is no terminal (tty(4)).
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
