//! The ports that `edge up` listens at.
//!
//! It does NOT know what is served there.

use crate::cli::{Failure, UpOptions};
use std::net::{SocketAddr, UdpSocket};
use tokio::net::TcpListener;

/// How many numbers are tried for one that is free over TCP and UDP alike.
const TRIES_MAX: usize = 32;

/// A listener, and the address that it got.
pub(super) type Bound = (TcpListener, SocketAddr);

/// Says that a port is taken now, and not after the engine has loaded its model.
pub(super) fn check(options: &UpOptions) -> Result<(), Failure> {
    let https = (!options.no_https).then_some(options.listen);
    let operator = (!options.no_operator).then_some(options.operator);
    let addresses = [https, options.http, operator].into_iter().flatten();
    // Held together, so that one that is named twice is taken as well.
    let bound: Result<Vec<_>, _> = addresses
        .map(|address| std::net::TcpListener::bind(address).map_err(|e| taken(address, &e)))
        .collect();
    if let (Some(address), false) = (https, options.no_http3) {
        udp(address)?;
    }
    bound.map(drop)
}

pub(super) async fn tcp(address: SocketAddr) -> Result<Bound, Failure> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| taken(address, &error))?;
    let bound = listener
        .local_addr()
        .map_err(|error| Failure::Run(error.to_string()))?;
    Ok((listener, bound))
}

/// Both of one number. The system chooses port 0's number for TCP alone: where another
/// program has it over UDP, it is asked for the next.
pub(super) async fn tcp_and_udp(address: SocketAddr) -> Result<(Bound, UdpSocket), Failure> {
    let mut passed_over = Vec::new();
    loop {
        let bound = tcp(address).await?;
        match udp(bound.1) {
            Ok(socket) => return Ok((bound, socket)),
            // Held until then, so that it is another number.
            Err(_) if address.port() == 0 && passed_over.len() < TRIES_MAX => {
                passed_over.push(bound);
            }
            Err(error) => return Err(error),
        }
    }
}

fn udp(address: SocketAddr) -> Result<UdpSocket, Failure> {
    UdpSocket::bind(address).map_err(|error| taken(address, &error))
}

fn taken(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::Run(format!("cannot listen on {address}: {error}"))
}

#[cfg(test)]
mod tests {
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
            super::check(&line.options).map_err(|failure| failure.to_string())
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

    #[tokio::test]
    async fn http3_has_the_number_of_https_whatever_others_hold_over_udp() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        // Enough of them that the system's choice for TCP meets some.
        let others: Vec<_> = (0..2_000).map_while(|_| udp(any).ok()).collect();
        for _ in 0..100 {
            let ((_listener, address), socket) = tcp_and_udp(any).await.unwrap();
            assert_eq!(socket.local_addr().unwrap(), address);
        }
        let named = others[0].local_addr().unwrap();
        let error = tcp_and_udp(named).await.unwrap_err().to_string();
        assert!(error.contains(&named.to_string()), "{error}");
    }
}
