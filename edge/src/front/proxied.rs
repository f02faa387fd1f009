//! Who stands behind a load balancer: the first bytes of its connections, as the PROXY
//! protocol has them (versions 1 and 2 of HAProxy's specification).
//!
//! No byte is read past that head. It does NOT know what follows.

use ppp::{v1, v2};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What both versions have at least: `PROXY UNKNOWN\r\n`.
const SHORTEST: usize = 15;
/// The longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The head of version 2 before its addresses.
const FIXED_BYTES: usize = 16;
/// Addresses and what balancers add to them (certificates' names, identifiers).
const ADDRESSES_BYTES_MAX: usize = 4 << 10;

/// Reads the head of a connection that `balancer` has made, and says whose it is: the
/// client's, or the balancer's own (as for a health check).
///
/// # Errors
/// The stream ended or failed, or does not begin with such a head.
pub(super) async fn client_of<S: AsyncRead + Unpin>(
    stream: &mut S,
    balancer: SocketAddr,
) -> io::Result<SocketAddr> {
    let head = read_head(stream).await?;
    client_in(&head)
        .map(|client| client.unwrap_or(balancer))
        .ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no head of the PROXY protocol")
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut head = vec![0; SHORTEST];
    stream.read_exact(&mut head).await?;
    if head.starts_with(SIGNATURE) {
        head.push(stream.read_u8().await?);
        let bytes = usize::from(u16::from_be_bytes([head[14], head[15]]));
        if bytes > ADDRESSES_BYTES_MAX {
            return Err(malformed());
        }
        head.resize(FIXED_BYTES + bytes, 0);
        stream.read_exact(&mut head[FIXED_BYTES..]).await?;
        return Ok(head);
    }
    if !head.starts_with(b"PROXY ") {
        return Err(malformed());
    }
    // Byte by byte, for what follows the line is not ours; the socket's buffer has it.
    while !head.ends_with(b"\r\n") {
        if head.len() == LINE_BYTES_MAX {
            return Err(malformed());
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// The client that a whole head names; `Some(None)` if it names none.
pub(crate) fn client_in(head: &[u8]) -> Option<Option<SocketAddr>> {
    if head.starts_with(SIGNATURE) {
        let header = v2::Header::try_from(head).ok()?;
        if header.command == v2::Command::Local {
            return Some(None);
        }
        return Some(match header.addresses {
            v2::Addresses::IPv4(a) => Some((a.source_address, a.source_port).into()),
            v2::Addresses::IPv6(a) => Some(plain(a.source_address.into(), a.source_port)),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        });
    }
    Some(match v1::Header::try_from(head).ok()?.addresses {
        v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
        v1::Addresses::Tcp6(a) => Some(plain(a.source_address.into(), a.source_port)),
        v1::Addresses::Unknown => None,
    })
}

/// An IPv4 address in IPv6's clothes is the IPv4 address, for whoever counts by it.
fn plain(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    const BALANCER: &str = "10.0.0.1:9";

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut head = SIGNATURE.to_vec();
        head.extend([0x20 | command, family]);
        head.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        head.extend(addresses);
        head
    }

    /// What a head says, and the bytes that are left after it.
    async fn read(bytes: &[u8]) -> (io::Result<String>, Vec<u8>) {
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        near.write_all(bytes).await.unwrap();
        drop(near);
        let client = client_of(&mut far, BALANCER.parse().unwrap()).await;
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        (client.map(|client| client.to_string()), rest)
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_follows() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80];
        let mut six = vec![0; 36];
        six[..2].copy_from_slice(&[0x20, 0x01]);
        six[15] = 7;
        six[32..34].copy_from_slice(&12_345_u16.to_be_bytes());
        let with_more = [four.as_slice(), &[4, 0, 1, 0]].concat();
        for (head, client) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n".to_vec(),
                "192.0.2.7:12345",
            ),
            (
                b"PROXY TCP6 2001::7 2001::1 12345 80\r\n".to_vec(),
                "[2001::7]:12345",
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::1 12345 80\r\n".to_vec(),
                "192.0.2.7:12345",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), BALANCER),
            (version_2(1, 0x11, &four), "192.0.2.7:12345"),
            (version_2(1, 0x11, &with_more), "192.0.2.7:12345"),
            (version_2(1, 0x21, &six), "[2001::7]:12345"),
            (version_2(0, 0x11, &four), BALANCER),
            (version_2(1, 0, &[]), BALANCER),
        ] {
            let (said, rest) = read(&[head.as_slice(), b"GET /"].concat()).await;
            assert_eq!(said.unwrap(), client, "{head:?}");
            assert_eq!(rest, b"GET /", "{head:?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = format!("PROXY TCP4 {} \r\n", "1".repeat(200));
        for head in [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.999 10.0.0.1 1 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 70000 80\r\n".to_vec(),
            b"PROXY UNKNOWN".to_vec(),
            long.into_bytes(),
            version_2(1, 0x11, &[1, 2, 3]),
            version_2(7, 0x11, &[0; 12]),
            version_2(1, 0x11, &[0; 5_000]),
            SIGNATURE.to_vec(),
            Vec::new(),
        ] {
            assert!(read(&head).await.0.is_err(), "{head:?}");
        }
    }
}
