//! Bad input: whatever a device sends, the answer has a type, nothing is half-written and nothing panics.
//!
//! [`forged`] builds one wrong change after another, each automerge hazard of the architecture among them;
//! [`mill`] mutates a valid push thousands of times; [`wire`] sends bad bodies to the real routes.

mod forged;
mod mill;
mod wire;
