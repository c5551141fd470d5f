//! What is sent in pieces as it is taken: of files no more than a piece is in memory.

use std::io::{self, Cursor};
use std::time::Duration;

use axum::body::{Body, Bytes};
use sync_core::id::{BlobHash, OrgId};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::blobs::{Blobs, Rendition};
use crate::limits::DOWNLOAD_WAIT;

/// Bytes of a piece.
pub const PIECE_BYTES: usize = 64 << 10;

/// One stretch of what is sent.
#[derive(Debug)]
pub enum Chunk {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A photo, of so many bytes, from its file.
    Photo(BlobHash, u64),
}

impl Chunk {
    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Photo(_, length) => *length,
        }
    }
}

/// These, one after the other, and `room` until all is sent or given up. What is not taken for [`DOWNLOAD_WAIT`], or whose photo has gone meanwhile, ends early,
/// which whoever takes it sees.
pub fn sent(blobs: Blobs, org: OrgId, chunks: Vec<Chunk>, room: impl Send + 'static) -> Body {
    let (to, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        // Dropped before the line is, so that who has heard the end has room again.
        let (to, _room) = (to, room);
        for chunk in chunks {
            let goes_on = match chunk {
                Chunk::Bytes(bytes) => send(Cursor::new(bytes), &to, DOWNLOAD_WAIT).await,
                Chunk::Photo(hash, length) => {
                    match blobs.open_file(org, hash, Rendition::Original).await {
                        Ok(Some((file, here))) if here == length => {
                            let file = tokio::fs::File::from_std(file).take(length);
                            send(file, &to, DOWNLOAD_WAIT).await
                        }
                        _ => {
                            let gone = io::Error::other(format!("the photo {hash} has gone"));
                            let _ = timeout(DOWNLOAD_WAIT, to.send(Err(gone))).await; // nobody waits for it
                            false
                        }
                    }
                }
            };
            if !goes_on {
                return;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(pieces))
}

/// All that `from` gives, under the same conditions.
pub fn sent_from(from: impl AsyncRead + Send + Unpin + 'static) -> Body {
    let (to, pieces) = mpsc::channel(1);
    tokio::spawn(async move { send(from, &to, DOWNLOAD_WAIT).await });
    Body::from_stream(ReceiverStream::new(pieces))
}

/// Whether all of it was taken.
async fn send(
    mut from: impl AsyncRead + Unpin,
    to: &mpsc::Sender<io::Result<Bytes>>,
    wait: Duration,
) -> bool {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = from.read(&mut piece).await;
        let goes_on = read.is_ok();
        let piece = match read {
            Ok(0) => return true,
            Ok(bytes) => {
                piece.truncate(bytes);
                Ok(Bytes::from(piece))
            }
            Err(error) => Err(error),
        };
        if !matches!(timeout(wait, to.send(piece)).await, Ok(Ok(()))) || !goes_on {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn all_comes_in_pieces() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let come = axum::body::to_bytes(sent_from(Cursor::new(bytes.clone())), usize::MAX).await;
        assert!(come.unwrap() == bytes);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_is_given_up() {
        let mut pieces = sent_from(Cursor::new(vec![7; 1 << 20])).into_data_stream();
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), PIECE_BYTES);
        for _ in 0..2 {
            tokio::time::advance(DOWNLOAD_WAIT).await;
            tokio::task::yield_now().await;
        }
        let rest = pieces.fold(0, |sum, piece| sum + piece.unwrap().len()).await;
        assert!(rest <= PIECE_BYTES, "{rest}");
    }
}
