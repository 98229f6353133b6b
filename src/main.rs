//! The story of the process.
fn main() {}
