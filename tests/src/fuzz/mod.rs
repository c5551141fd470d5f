//! What fuzzers feed: each target takes any bytes and panics where something is wrong.
//!
//! `fuzz/` runs them under libFuzzer; the `corpus` suite replays what was kept. An input is a script that a
//! person can write and read, so that each known hazard is a seed (docs/adr/0015).

pub mod admission;
pub mod codec;
pub mod evidence;
pub mod http;
mod reading;

/// Takes bytes from the front of an input. Where nothing is left there are zeros.
#[derive(Debug, Clone)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// A script from its first byte.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// So many bytes, or what is left.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (now, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        now
    }

    /// Bytes whose length, two bytes of it, comes first.
    pub fn block(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()) | usize::from(self.byte()) << 8;
        self.bytes(length)
    }
}
