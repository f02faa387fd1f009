//! `edge up`: everything in its order, from the manifest to the last drained stream.
//!
//! Validated whole before a port is bound. It does NOT know how any step works.

mod banner;
mod descriptors;
mod ports;

use crate::acme::Acme;
use crate::app::{App, BACKEND_KEY_VARIABLE, BACKEND_VARIABLE, Release, Resources, Settings};
use crate::backend_child::{Backend, BackendCommand};
use crate::cli::{Failure, TlsVersion, UpOptions, ValidateOptions};
use crate::front::tls::{self, CertificateFiles, Tls};
use crate::front::{Front, FrontOptions, http3};
use crate::lanes::Threads;
use crate::limits::Limits;
use crate::log::say;
use crate::manifest::Manifest;
use crate::metrics::Metrics;
use crate::operator::{self, Operator};
use crate::reload::{End, Hangup, Read, Reloader};
use crate::runtime_config::RuntimeConfig;
use crate::trace::Tracer;
use crate::versions::Versions;
use crate::{app, build_step, cli, engine, overload, private, registry, ticks, trace};
use banner::{Banner, host};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom as _;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The model that is served when none is named, in the manifest's folder.
const BUNDLED_MODEL: &str = "gpu-backend/models/skerry-demo";
/// How long the last traces may take to be sent.
const TRACES_TIME_MAX: Duration = Duration::from_secs(5);
/// The folder of data, beside the manifest.
const STATE_FOLDER: &str = ".skerry";
/// How long open streams have to end where a new start waits for them.
const RESTART_DRAIN: Duration = Duration::from_secs(2);

/// `edge validate`.
pub(crate) fn validate(options: &ValidateOptions) -> Result<(), Failure> {
    let manifest = options.source.manifest()?;
    let runtime = RuntimeConfig::load(options.runtime_config_file.as_deref(), &manifest.folder)
        .map_err(Failure::Config)?;
    let engine = engine::engine().map_err(|e| Failure::Run(e.to_string()))?;
    let linker = edge_bindings::linker(&engine).map_err(|e| Failure::Run(e.to_string()))?;
    // Nothing is opened; only machine code is kept, for the start that follows.
    let state = manifest.folder.join(STATE_FOLDER);
    private::folder(&state).map_err(|e| Failure::Run(e.to_string()))?;
    let mut wrong = Vec::new();
    for id in manifest.served() {
        let component = &manifest.components[id];
        for label in &component.key_value_stores {
            if !runtime.key_value_stores.contains_key(label) {
                wrong.push(format!(
                    "component {id:?}: key-value store {label:?} has no provider"
                ));
            }
        }
        for label in &component.sqlite_databases {
            if !runtime.sqlite_databases.contains_key(label) {
                wrong.push(format!(
                    "component {id:?}: SQLite database {label:?} has no provider"
                ));
            }
        }
        match app::prepare(&engine, &linker, component, &state) {
            Ok(_) => say(&format!("{id}: ok")),
            Err(reason) => wrong.push(format!("component {id:?}: {reason}")),
        }
    }
    match wrong.len() {
        0 => {
            say(&format!("{} is valid.", manifest.name));
            Ok(())
        }
        _ => Err(Failure::Config(wrong.join("\nerror: "))),
    }
}

fn config(error: &impl ToString) -> Failure {
    Failure::Config(error.to_string())
}

/// `edge up`.
pub(crate) fn up(options: &UpOptions) -> Result<(), Failure> {
    let options = &registry::resolve(options)?;
    let manifest = options.source.manifest()?;
    let state = options
        .state
        .clone()
        .unwrap_or_else(|| manifest.folder.join(STATE_FOLDER));
    let runtime_config = RuntimeConfig::load(options.runtime_config_file.as_deref(), &state)
        .map_err(Failure::Config)?;
    let model = check_model(options, &manifest)?;
    let traces = trace::Settings::from_environment().map_err(Failure::Config)?;
    let _lock = lock_state(&state)?;
    ports::check(options)?;
    descriptors::raise();
    let tls = tls(options, &state)?;

    let missing = if options.no_build {
        build_step::absent_components(&manifest)
    } else {
        build_step::build_components(&manifest)?
    };
    let metrics = Arc::new(Metrics::default());
    let limits = Arc::new(limits(options));
    let acme = acme(options, &state, tls.as_ref(), &limits, &metrics)?;
    let release = Release {
        manifest,
        runtime_config,
        missing,
    };
    let key = release.takes_engine_key().then(|| engine_key(options));
    let key = key.transpose()?;
    let command = backend_command(options, &release, model.as_deref())?;
    let backend = command.map(|command| start_backend(command, key.as_deref(), &metrics));
    let backend = backend.transpose()?;
    // What was built is for everybody; what is made from now on is the owner's.
    private::by_default();
    // The engine that is started here speaks HTTP/2 by prior knowledge.
    let engine = backend.as_ref().map(|b| cli::origin(&b.url));
    let engine = engine.transpose().map_err(Failure::Run)?;
    let threads = Threads::start().map_err(|error| Failure::Run(error.to_string()))?;
    let settings = Settings {
        lanes: Arc::new(threads.lanes(&limits)),
        state: state.clone(),
        variables: options.variables.iter().cloned().collect(),
        environment: options.environment.clone(),
        quiet: options.quiet,
        limits,
        backend_url: backend
            .as_ref()
            .map(|b| b.url.clone())
            .or_else(|| options.backend.clone()),
        backend_key: key.filter(|_| backend.is_some()),
        multiplexed: engine.into_iter().chain(options.h2c.clone()).collect(),
        metrics: Arc::clone(&metrics),
        tracer: Tracer::start(traces, &metrics).map_err(Failure::Config)?,
    };
    let running = Running {
        options: options.clone(),
        release,
        state,
        tls,
        acme,
        backend,
        metrics,
    };
    run(threads, running, settings)
}

/// Serves until the end, and then sends the last traces.
fn run(threads: Threads, running: Running, settings: Settings) -> Result<(), Failure> {
    let tracer = settings.tracer.clone();
    let result = threads.quick.block_on(running.serve(settings));
    threads.stop(Duration::from_secs(1));
    // All spans have ended with their tasks.
    if let Some(tracer) = tracer {
        tracer.stop(TRACES_TIME_MAX);
    }
    result
}

fn limits(options: &UpOptions) -> Limits {
    let mut limits = Limits::with(&options.limits);
    if let Some(requests) = options.max_requests {
        limits.requests_max = usize::try_from(requests).unwrap_or(usize::MAX);
    }
    if let Some(bytes) = options.max_body_bytes {
        limits.body_bytes_max = bytes;
    }
    limits
}

fn check_model(options: &UpOptions, manifest: &Manifest) -> Result<Option<PathBuf>, Failure> {
    match &options.model {
        Some(model) if !model.is_dir() && !is_hub_name(model) => Err(Failure::Config(format!(
            "--model {}: there is no such folder, and it is no hub name such as OWNER/NAME",
            model.display()
        ))),
        Some(model) => Ok(Some(model.clone())),
        None => Ok(Some(manifest.folder.join(BUNDLED_MODEL)).filter(|model| model.is_dir())),
    }
}

/// `OWNER/NAME`: the backend fetches the model where there is a network.
fn is_hub_name(model: &Path) -> bool {
    let word = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !word.is_empty() && !word.starts_with('.') && word.bytes().all(plain)
    };
    let parts = model.to_str().and_then(|name| name.split_once('/'));
    parts.is_some_and(|(owner, name)| word(owner) && word(name))
}

/// Makes the state folder and takes it for this process alone.
fn lock_state(state: &Path) -> Result<File, Failure> {
    let failed =
        |error: std::io::Error| Failure::Config(format!("--state {}: {error}", state.display()));
    private::folder(state).map_err(failed)?;
    if private::tighten(state).map_err(failed)? {
        let path = state.display();
        tracing::warn!(%path, "others could read the state folder: now its owner alone can");
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(state.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Failure::Config(format!(
            "--state {}: another edge uses this folder",
            state.display()
        ))),
    }
}

fn tls(options: &UpOptions, state: &Path) -> Result<Option<Tls>, Failure> {
    if options.no_https {
        return Ok(None);
    }
    let (certificates, keys) = (&options.tls_cert, &options.tls_key);
    if certificates.len() != keys.len() {
        let (certificates, keys) = (certificates.len(), keys.len());
        return Err(Failure::Config(format!(
            "--tls-key: {certificates} certificates have {keys} keys; each needs its own"
        )));
    }
    let pair = |(certificate, key): (&PathBuf, &PathBuf)| CertificateFiles {
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let mut files: Vec<_> = certificates.iter().zip(keys).map(pair).collect();
    if files.is_empty() {
        let made = tls::self_signed(state, options.listen.ip()).map_err(Failure::Config)?;
        files.push(made);
    }
    let takes_1_2 = options.tls_min_version == TlsVersion::V1_2;
    Tls::new(files, takes_1_2, options.tls_client_ca.as_deref())
        .map(Some)
        .map_err(Failure::Config)
}

fn acme(
    options: &UpOptions,
    state: &Path,
    tls: Option<&Tls>,
    limits: &Limits,
    metrics: &Arc<Metrics>,
) -> Result<Option<Acme>, Failure> {
    let (Some(tls), false) = (tls, options.acme.domains.is_empty()) else {
        return Ok(None);
    };
    let (retry_wait, certificates) = (limits.acme_retry_wait, &tls.certificates);
    Acme::prepare(&options.acme, state, retry_wait, certificates, metrics)
        .map(Some)
        .map_err(Failure::Config)
}

/// Reads the application as it is now, built already.
fn read_again(options: &UpOptions, state: &Path) -> Result<Release, String> {
    let manifest = options.source.manifest().map_err(|e| e.to_string())?;
    Ok(Release {
        runtime_config: RuntimeConfig::load(options.runtime_config_file.as_deref(), state)?,
        missing: build_step::absent_components(&manifest),
        manifest,
    })
}

/// How the engine is started; none where nobody asks for one or it is somewhere else.
fn backend_command(
    options: &UpOptions,
    release: &Release,
    model: Option<&Path>,
) -> Result<Option<BackendCommand>, Failure> {
    let manifest = &release.manifest;
    let mut given = options.variables.iter();
    let wants_url = manifest.variables.contains_key(BACKEND_VARIABLE)
        && !given.any(|(name, _)| name == BACKEND_VARIABLE);
    let computes = release.runtime_config.llm.is_none() && manifest.uses_models();
    if options.backend.is_some() || !(wants_url || computes) {
        return Ok(None);
    }
    let program = match &options.backend_bin {
        Some(program) => Some(program.clone()),
        None => build_step::backend_program(&manifest.folder, options.no_build)?,
    };
    let Some(program) = program else {
        return Ok(None);
    };
    let model = model.ok_or_else(|| {
        Failure::Config(format!(
            "there is no model: give one by --model ({BUNDLED_MODEL} is absent)"
        ))
    })?;
    Ok(Some(BackendCommand::new(program, model)))
}

/// What the engine asks for, so that no other user of this machine has it without a key, a
/// limit and a bill: said by the operator, or new with each start.
fn engine_key(options: &UpOptions) -> Result<String, Failure> {
    let mut given = options.variables.iter();
    if let Some((_, key)) = given.find(|(name, _)| name == BACKEND_KEY_VARIABLE) {
        return Ok(key.clone());
    }
    let mut secret = [0; 32];
    ring::rand::SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| Failure::Run("the machine has no random numbers".to_owned()))?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

fn start_backend(
    mut command: BackendCommand,
    key: Option<&str>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Backend>, Failure> {
    say(&format!(
        "Starting the backend with {}",
        command.model.display()
    ));
    command.api_key = key.map(str::to_owned);
    let backend = Backend::start(command, Arc::clone(metrics)).map_err(Failure::Run)?;
    Ok(Arc::new(backend))
}

struct Running {
    options: UpOptions,
    release: Release,
    state: PathBuf,
    tls: Option<Tls>,
    acme: Option<Acme>,
    backend: Option<Arc<Backend>>,
    metrics: Arc<Metrics>,
}

impl Running {
    async fn serve(self, settings: Settings) -> Result<(), Failure> {
        let hangup = Hangup::listen().map_err(|e| Failure::Run(e.to_string()))?;
        let engine = engine::engine().map_err(|e| Failure::Run(format!("{e:#}")))?;
        engine::start_ticker(&engine).map_err(|e| Failure::Run(e.to_string()))?;
        say("Loading components");
        let Release {
            manifest,
            runtime_config,
            missing,
        } = &self.release;
        let limits = Arc::clone(&settings.limits);
        let resources = Resources::new(&engine, settings, &runtime_config.client_tls)
            .map_err(|e| config(&e))?;
        let app = App::load(&resources, &self.release).map_err(|e| config(&e))?;
        ticks::check(&app, manifest, missing)
            .await
            .map_err(Failure::Config)?;
        let front_options = FrontOptions {
            balancers: self.options.proxy_protocol.clone(),
            cors_origins: self.options.cors_origins.clone(),
            overload: overload::watch(&limits),
            timed_for: self.options.server_timing.clone(),
            compressed: self.options.compression,
        };
        let versions = Versions::new(Arc::clone(&app), Arc::clone(&self.metrics));
        let metrics = Arc::clone(&self.metrics);
        let front = Front::new(Arc::clone(&versions), limits, front_options, metrics);
        let mut banner = Banner::new(manifest, &self.state);
        self.listen(&front, &mut banner).await?;
        let _renewing = self.acme.map(Acme::start);
        banner.api_key = ticks::first_run(&app, manifest)
            .await
            .map_err(Failure::Run)?;
        let ticks = Some(ticks::start(&app, manifest, None));
        drop(app);
        banner.say();
        let (options, state) = (self.options.clone(), self.state);
        let read: Read = Arc::new(move || read_again(&options, &state));
        let mut reloader = Reloader {
            hangup,
            resources,
            versions,
            read,
            release: self.release,
            ticks,
            ends_to_restart: self.options.ends_to_restart,
        };
        let drain = Duration::from_secs(self.options.drain_seconds);
        let end = until_told(&front, &mut reloader, drain).await;
        drop(reloader);
        if let Some(backend) = self.backend {
            let _ = tokio::task::spawn_blocking(move || backend.stop()).await;
        }
        say("Stopped.");
        match end {
            Some(End::Restart) => Err(Failure::Restart),
            _ => Ok(()),
        }
    }

    async fn listen(&self, front: &Arc<Front>, banner: &mut Banner) -> Result<(), Failure> {
        if let Some(tls) = &self.tls {
            let acceptor = tls.acceptor().map_err(Failure::Config)?;
            let (listener, address) = if self.options.no_http3 {
                ports::tcp(self.options.listen).await?
            } else {
                let (bound, socket) = ports::tcp_and_udp(self.options.listen).await?;
                let endpoint = http3::endpoint(socket, tls, &front.limits).map_err(Failure::Run)?;
                front.serve_quic(endpoint);
                front.offer_http3(bound.1.port());
                bound
            };
            front.serve(listener, Some(acceptor));
            tls.certificates.watch(tls::LOOKED_AT_EVERY, &self.metrics);
            banner.https = Some(address);
            let first = &tls.certificates.files()[0];
            match (self.options.tls_cert.is_empty(), self.acme.is_some()) {
                (_, true) => {
                    banner.name_in_certificate = self.options.acme.domains.first().cloned()
                }
                (true, false) => banner.certificate = Some(first.certificate.clone()),
                (false, false) => banner.name_in_certificate = tls::name_for(first, &host(address)),
            }
        }
        if let Some(http) = self.options.http {
            let (listener, address) = ports::tcp(http).await?;
            front.serve(listener, None);
            banner.http = Some(address);
        }
        if !self.options.no_operator {
            let (listener, address) = ports::tcp(self.options.operator).await?;
            let operator = Operator {
                metrics: Arc::clone(&self.metrics),
                backend: self.backend.clone(),
                draining: front.stop.clone(),
                hosts: self.options.operator_hosts.clone(),
            };
            operator::serve(listener, operator);
            banner.operator = Some(address);
        }
        Ok(())
    }
}

/// Serves until the first signal to end, then drains until all is done, the deadline or a
/// second signal. Says why, where that was no signal.
async fn until_told(front: &Arc<Front>, reloader: &mut Reloader, drain: Duration) -> Option<End> {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        tracing::error!("signals cannot be waited for");
        return None;
    };
    let end = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        end = reloader.run() => Some(end),
    };
    let drain = match end {
        Some(End::Restart) => drain.min(RESTART_DRAIN),
        _ => drain,
    };
    let seconds = drain.as_secs();
    say(&format!(
        "\nStopping: open streams have {seconds} s to end; Ctrl-C again ends them now."
    ));
    let drained = tokio::select! {
        drained = front.drain(drain) => drained,
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
    };
    if !drained {
        tracing::warn!("some streams were cut");
    }
    end
}
