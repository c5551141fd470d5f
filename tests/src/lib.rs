//! Endcap.
