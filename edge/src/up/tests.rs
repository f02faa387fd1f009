//! What is looked at before anything starts.

use super::*;
use clap::Parser;

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
