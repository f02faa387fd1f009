//! `gpu-backend serve`: binds, loads, announces, serves until SIGTERM or Ctrl-C, drains.
//! Knows nothing of a request's content.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gpu_backend::encoder::{self, Encoder};
use gpu_backend::hub::Fetching;
use gpu_backend::loader::{self, LoadError};
use gpu_backend::local::{self, OpenError, Options};
use gpu_backend::metrics::Metrics;
use gpu_backend::server::{self, ApiKey, InFlight, Served, Service};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, ServeArgs, print_line};

/// How often the engine's thread is looked after.
const WATCH_EVERY: Duration = Duration::from_millis(200);

pub(super) fn serve(args: &ServeArgs) -> Result<(), Exit> {
    let options = args.options()?;
    let dir = directory(args)?;
    let name = served_name(args, &dir)?;
    let api_key = api_key(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Exit::Failed(format!("cannot start threads: {error}")))?;
    runtime.block_on(run(args, options, dir, name, api_key))
}

async fn run(
    args: &ServeArgs,
    options: Options,
    dir: PathBuf,
    model_name: String,
    api_key: Option<ApiKey>,
) -> Result<(), Exit> {
    let bind = |error| Exit::Configuration(format!("--listen {}: {error}", args.listen));
    let listener = TcpListener::bind(args.listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let draining = CancellationToken::new();
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let service = Arc::new(Service {
        model_name,
        api_key,
        started,
        model: OnceLock::new(),
        in_flight: InFlight::default(),
        draining: draining.clone(),
        drain_max: args.drain_max(),
    });
    let serving = tokio::spawn(server::serve(listener, service.clone()));
    let served = load(dir, options).await?;
    let _ = service.model.set(served);
    print_line(&format!("listening on http://{address}"))?;
    tracing::info!(%address, model = service.model_name, "ready");

    let engine_died = wait_for_the_end(&service).await?;
    if let Some(Served::Generator(chat)) = service.model.get() {
        chat.handle().drain();
    }
    draining.cancel();
    let _ = serving.await;
    if engine_died {
        return Err(Exit::Failed("the engine's thread ended".to_owned()));
    }
    tracing::info!("stopped");
    Ok(())
}

/// The key that is asked for. An empty one is none.
fn api_key(args: &ServeArgs) -> Result<Option<ApiKey>, Exit> {
    let key = args.api_key.as_deref().filter(|key| !key.is_empty());
    let wrong = |error| Exit::Configuration(format!("--api-key: {error}"));
    key.map(|key| ApiKey::new(key).map_err(wrong)).transpose()
}

/// Loads off the async threads, so that `/health` answers meanwhile.
async fn load(dir: PathBuf, options: Options) -> Result<Served, Exit> {
    let shown = dir.display().to_string();
    tracing::info!(model = shown, "loading");
    tokio::task::spawn_blocking(move || open(&dir, &options))
        .await
        .map_err(|error| Exit::Failed(format!("loading broke off: {error}")))?
        .map_err(|error| refused(&shown, &error))
}

fn open(dir: &Path, options: &Options) -> Result<Served, OpenError> {
    loader::check_layout(dir)?;
    if encoder::is_encoder(dir).map_err(LoadError::from)? {
        let encoder = Encoder::open(dir, options)?;
        let metrics = Box::new(Metrics::new());
        return Ok(Served::Encoder { encoder, metrics });
    }
    let (chat, _thread) = local::open(dir, options)?;
    Ok(Served::Generator(Box::new(chat)))
}

/// Names the option that is at fault.
fn refused(shown: &str, error: &OpenError) -> Exit {
    let key = match error {
        OpenError::Device(_) => "device",
        OpenError::Load(_) | OpenError::Text(_) => "model",
        OpenError::Draft { .. } => "speculative-config",
        OpenError::Context { .. } => "max-model-len",
        OpenError::Cache { .. } => "kv-cache-mib",
        OpenError::Start(_) => return Exit::Failed(error.to_string()),
    };
    Exit::Configuration(format!("--{key}: {shown}: {error}"))
}

/// Returns at a signal (false), or when the engine has died (true).
async fn wait_for_the_end(service: &Service) -> Result<bool, Exit> {
    let failed = |error: std::io::Error| Exit::Failed(format!("signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let died = async {
        while !service.model.get().is_some_and(Served::is_dead) {
            tokio::time::sleep(WATCH_EVERY).await;
        }
    };
    Ok(tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = died => true,
    })
}

/// The model's directory: the one named, or one fetched from the hub.
fn directory(args: &ServeArgs) -> Result<PathBuf, Exit> {
    let path = args.model_path();
    if path.is_dir() {
        return Ok(path);
    }
    let wrong = |error: LoadError| Exit::Configuration(format!("--model: {error}"));
    loader::check_layout(&path).map_err(wrong)?;
    let mut parts = args.model.split('/');
    let plain = |part: Option<&str>| {
        part.is_some_and(|p| {
            !p.is_empty()
                && !p.starts_with('.')
                && p.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
    };
    let looks_like_a_name = plain(parts.next()) && plain(parts.next()) && parts.next().is_none();
    if !looks_like_a_name {
        let message = format!("--model: {}: no such directory", path.display());
        return Err(Exit::Configuration(message));
    }
    gpu_backend::hub::fetch(&args.model, &tell).map_err(|error| {
        Exit::Configuration(format!(
            "--model: {} is no directory here, and {error}",
            args.model
        ))
    })
}

/// In the log for the operator, and on stdout for a supervisor, which waits as long as
/// there are lines.
fn tell(step: Fetching<'_>) {
    let Fetching {
        file,
        bytes,
        bytes_of,
    } = step;
    tracing::info!(file, bytes, bytes_of, "fetching");
    let line = format!("fetching {file}: {bytes} of {bytes_of} bytes");
    // A supervisor that is gone is noticed when the server says that it listens.
    let _ = print_line(&line);
}

fn served_name(args: &ServeArgs, dir: &Path) -> Result<String, Exit> {
    if let Some(name) = &args.served_model_name {
        if name.is_empty() {
            return Err(Exit::Configuration(
                "--served-model-name: is empty".to_owned(),
            ));
        }
        return Ok(name.clone());
    }
    if !args.model_path().is_dir() {
        return Ok(args.model.clone());
    }
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = whole
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| Exit::Configuration("--model: the directory has no name".to_owned()))
}
