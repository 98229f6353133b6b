//! docs/configuration.md is what the table of flags says.

use std::path::Path;

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let expected = pushsync::config::render_reference();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/configuration.md differs from the table in src/config/flags.rs; run\n  \
         UPDATE=1 cargo test --locked --test dashboard cli::reference\nand commit the file"
    );
}
