//! What is decided before anything starts: ports, and the model's name.

use super::*;
use clap::Parser;
use std::os::unix::fs::symlink;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: UpOptions,
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_starts() {
    let check = |arguments: &[&str]| {
        let all = ["edge", "--listen", "0", "--operator", "0"];
        let line = Line::parse_from(all.iter().chain(arguments));
        check_ports(&line.options).map_err(|failure| failure.to_string())
    };
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    assert_eq!(check(&["--http", "0"]), Ok(()));
    let error = check(&["--http", &taken]).unwrap_err();
    assert!(error.contains(&taken), "{error}");
    drop(held);
    assert_eq!(check(&["--http", &taken]), Ok(()), "it is given back");
    assert_eq!(check(&["--http", &taken]), Ok(()));
}

#[test]
fn a_model_is_called_by_its_folder_or_by_its_whole_name_on_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("SmolLM2");
    std::fs::create_dir(&model).unwrap();
    let link = folder.path().join("current");
    symlink(&model, &link).unwrap();
    let name = |path: &Path| model_name(path).map_err(|failure| failure.to_string());
    assert_eq!(name(&model), Ok("SmolLM2".to_owned()));
    assert_eq!(name(&link), Ok("SmolLM2".to_owned()));
    assert_eq!(name(&model.join("../SmolLM2/.")), Ok("SmolLM2".to_owned()));
    let hub = Path::new("HuggingFaceTB/SmolLM2-135M-Instruct");
    assert_eq!(name(hub), Ok(hub.display().to_string()));
    assert!(name(Path::new("/")).unwrap_err().contains("--model /"));
}
