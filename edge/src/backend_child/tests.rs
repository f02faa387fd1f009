//! Supervision, with a shell script in the backend's place.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn script(folder: &Path, body: &str) -> BackendCommand {
    let program = folder.join("backend.sh");
    std::fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    BackendCommand::new(program, folder)
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_dead_backend_is_restarted_at_its_address_and_stopped_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let body = format!(
        "echo \"$$ $5\" >> {}\necho loading\necho listening on http://127.0.0.1:4711\n\
         while :; do sleep 0.05; done",
        log.display()
    );
    let metrics = Arc::new(Metrics::default());
    let backend = Backend::start(script(folder.path(), &body), Arc::clone(&metrics)).unwrap();
    assert_eq!(backend.url, "http://127.0.0.1:4711");
    wait_until("up", || backend.is_up());
    let starts = || -> Vec<(i32, String)> {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines()
            .map(|line| {
                let (pid, address) = line.split_once(' ').unwrap();
                (pid.parse().unwrap(), address.to_owned())
            })
            .collect()
    };
    assert_eq!(starts()[0].1, "127.0.0.1:0");
    let status = Command::new("kill")
        .args(["-9", &starts()[0].0.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    wait_until("restarted", || starts().len() == 2 && backend.is_up());
    assert_eq!(
        starts()[1].1,
        "127.0.0.1:4711",
        "the restart takes the same port"
    );
    assert_eq!(metrics.backend_restarts.load(Relaxed), 1);
    backend.stop();
    let pid = starts()[1].0;
    wait_until("stopped", || !Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn the_key_reaches_the_backend_through_its_environment_alone() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let body = format!(
        "echo \"$SKERRY_ENGINE_API_KEY; $*\" > {}\necho listening on http://127.0.0.1:4713\n\
         while :; do sleep 0.05; done",
        seen.display()
    );
    let command = BackendCommand {
        api_key: Some("k-123".to_owned()),
        ..script(folder.path(), &body)
    };
    let backend = Backend::start(command, Arc::default()).unwrap();
    let seen = std::fs::read_to_string(&seen).unwrap();
    let (key, arguments) = seen.split_once("; ").unwrap();
    assert_eq!(key, "k-123");
    assert!(
        arguments.contains("serve") && !arguments.contains(key),
        "{arguments}"
    );
    backend.stop();
}

#[test]
fn a_backend_that_tells_how_far_it_is_is_waited_for_and_a_silent_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let patient = |body: &str| BackendCommand {
        silence_max: Duration::from_millis(600),
        ..script(folder.path(), body)
    };
    let slow = "for i in 1 2 3 4 5 6; do echo fetching $i; sleep 0.2; done\n\
                echo listening on http://127.0.0.1:4712\nwhile :; do sleep 0.05; done";
    let backend = Backend::start(patient(slow), Arc::default()).unwrap();
    assert_eq!(backend.url, "http://127.0.0.1:4712");
    backend.stop();
    let silent = "echo fetching 1; while :; do sleep 0.05; done";
    let error = Backend::start(patient(silent), Arc::default()).err();
    assert!(error.unwrap().contains("did not begin to listen"));
}

#[test]
fn a_backend_that_never_listens_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = Backend::start(script(folder.path(), "echo no; exit 2"), Arc::default())
        .err()
        .unwrap();
    assert!(error.contains("did not begin to listen"), "{error}");
    let absent = folder.path().join("none");
    let absent = BackendCommand::new(absent, folder.path());
    assert!(
        Backend::start(absent, Arc::default())
            .err()
            .unwrap()
            .contains("none")
    );
}
