//! A loopback proxy that counts what passes, headers apart from bodies.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What passed, both ways together.
#[derive(Debug, Default)]
pub(crate) struct Count {
    headers: AtomicU64,
    bodies: AtomicU64,
    requests: AtomicU64,
}

/// A reading of a [`Count`].
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Bytes {
    /// Of bodies.
    pub(crate) body: u64,
    /// Of request lines, status lines and headers.
    pub(crate) header: u64,
    /// How many requests there were.
    pub(crate) requests: u64,
}

impl Count {
    /// What passed since the last reading.
    pub(crate) fn take(&self) -> Bytes {
        Bytes {
            body: self.bodies.swap(0, Ordering::SeqCst),
            header: self.headers.swap(0, Ordering::SeqCst),
            requests: self.requests.swap(0, Ordering::SeqCst),
        }
    }
}

/// Passes everything on to `target`; returns where it listens.
pub(crate) fn start(target: SocketAddr) -> std::io::Result<(SocketAddr, Arc<Count>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let count = Arc::new(Count::default());
    let counting = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(target) else { continue };
            let (Ok(client2), Ok(server2)) = (client.try_clone(), server.try_clone()) else {
                continue;
            };
            let (up, down) = (Arc::clone(&counting), Arc::clone(&counting));
            std::thread::spawn(move || pump(client, server, &up, true));
            std::thread::spawn(move || pump(server2, client2, &down, false));
        }
    });
    Ok((address, count))
}

fn pump(mut from: TcpStream, mut to: TcpStream, count: &Count, requests: bool) {
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 64 * 1024];
    let mut head = Vec::new();
    let mut body_left = 0_u64;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let mut piece = &buffer[..length];
        while !piece.is_empty() {
            if body_left > 0 {
                let taken = piece.len().min(usize::try_from(body_left).unwrap_or(usize::MAX));
                count.bodies.fetch_add(taken as u64, Ordering::SeqCst);
                body_left -= taken as u64;
                piece = &piece[taken..];
                continue;
            }
            head.push(piece[0]);
            piece = &piece[1..];
            if head.ends_with(b"\r\n\r\n") {
                count.headers.fetch_add(head.len() as u64, Ordering::SeqCst);
                count.requests.fetch_add(u64::from(requests), Ordering::SeqCst);
                body_left = content_length(&head);
                head.clear();
            }
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn content_length(head: &[u8]) -> u64 {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    assert!(!head.contains("transfer-encoding: chunked"), "the proxy counts plain bodies only");
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}
