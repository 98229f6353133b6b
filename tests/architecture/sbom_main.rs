//! `scripts/sbom`: prints the list of the program's parts.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a chore, whose output is its purpose")]

mod metadata;
mod sbom;

fn main() {
    print!("{}", sbom::render(&metadata::Metadata::read()));
}
