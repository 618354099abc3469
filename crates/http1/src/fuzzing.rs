//! The bodies of the fuzz targets, run with seeds on stable Rust too.
