//! Lets the test programs of this crate find the libpython that they are linked with.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    pyo3_build_config::add_libpython_rpath_link_args();
}
