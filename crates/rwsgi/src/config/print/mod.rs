//! Texts that are generated from the table.

#[cfg(test)]
pub(crate) mod completions;
mod fill;
pub(crate) mod help;
#[cfg(test)]
pub(crate) mod man;
#[cfg(test)]
pub(crate) mod reference;
pub(crate) mod toml;

pub(crate) use fill::fill;

/// The files that a package installs in `share`: the wheel puts them into the environment.
#[cfg(test)]
pub(crate) const SHARE: &str = "deploy/wheel/data/share";

/// Compares a file of the repository with the generated text; with `BLESS=1`, writes it.
#[cfg(test)]
pub(crate) fn check_fresh(name: &str, text: &str) {
    use std::fs;

    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{name} is stale: run BLESS=1 cargo test -p rwsgi fresh"
    );
}
