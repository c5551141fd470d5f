//! CBOR (RFC 8949) to and from bytes, with everything accounted for.

use minicbor::{Decode, Encode};

/// The value's CBOR.
pub fn to_cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to memory cannot fail")
}

/// Reads a value that fills `bytes` exactly.
pub fn from_cbor<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode()?;
    if decoder.position() != bytes.len() {
        return Err(minicbor::decode::Error::message("something follows the value"));
    }
    Ok(value)
}
