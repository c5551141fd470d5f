//! What is sent in pieces, so that who does not take it holds no more than a piece.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::limits::DOWNLOAD_WAIT;

/// Bytes of a piece.
pub const PIECE_BYTES: usize = 64 << 10;

/// All that `from` gives, and `room` until that is sent, or was not taken for [`DOWNLOAD_WAIT`]: then it ends early, which
/// whoever takes it sees.
pub fn sent(from: impl AsyncRead + Send + Unpin + 'static, room: impl Send + 'static) -> Body {
    let (to, pieces) = mpsc::channel(1);
    tokio::spawn(send(from, to, DOWNLOAD_WAIT, room));
    Body::from_stream(ReceiverStream::new(pieces))
}

async fn send(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::Sender<io::Result<Bytes>>,
    wait: Duration,
    _room: impl Send,
) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = from.read(&mut piece).await;
        let ends = !matches!(read, Ok(1..));
        let piece = match read {
            Ok(0) => return,
            Ok(bytes) => {
                piece.truncate(bytes);
                Ok(Bytes::from(piece))
            }
            Err(error) => Err(error),
        };
        if !matches!(timeout(wait, to.send(piece)).await, Ok(Ok(()))) || ends {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn all_comes_in_pieces_and_the_room_is_free_then() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let room = Arc::new(());
        let body = sent(Cursor::new(bytes.clone()), Arc::clone(&room));
        let come = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        assert!(come == bytes);
        assert_eq!(Arc::strong_count(&room), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_it_holds_no_room_for_long() {
        let room = Arc::new(());
        let body = sent(Cursor::new(vec![7; 1 << 20]), Arc::clone(&room));
        let mut pieces = body.into_data_stream();
        let first = pieces.next().await.unwrap().unwrap();
        assert_eq!(first.len(), PIECE_BYTES);
        for _ in 0..2 {
            tokio::time::advance(DOWNLOAD_WAIT).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&room), 1, "it was given up");
        let rest = pieces.fold(0, |sum, piece| sum + piece.unwrap().len()).await;
        assert!(rest <= PIECE_BYTES, "{rest}");
    }
}
