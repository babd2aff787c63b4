//! Output made from the table: configuration, help, reference.

use super::*;

#[test]
fn the_printed_configuration_tells_where_each_value_comes_from() {
    let folder = Folder::new(&[("rwsgi.toml", "\nbacklog = 9\n")]);
    let page = folder.print(
        "-t 2 --env A=\"\\ --print-config a",
        &[("RWSGI_KEEP_ALIVE", "1s")],
    );
    for line in [
        "app = \"a\"  # command line",
        "threads = 2  # command line",
        "env = [\"A=\\\"\\\\\"]  # command line",
        "keep-alive = \"1s\"  # environment variable RWSGI_KEEP_ALIVE",
        "backlog = 9  # rwsgi.toml:2",
        "# stack-size = \"8M\"  # default",
        "# limit-request-line = 8190  # default",
        "# bind = [\"127.0.0.1:8000\"]  # default",
        "# python is not set",
    ] {
        assert!(
            page.lines().any(|printed| printed == line),
            "{line} is not in\n{page}"
        );
    }
}

#[test]
fn the_printed_configuration_is_a_configuration() {
    let folder = Folder::new(&[]);
    let args = "-p 007 -b :1 -b unix:s --env A=\"\\ --warmup /a --keep-alive 500ms --limit-request-body 0 --preload on a:b";
    let mut config = folder.serve(args, &[]);
    fs::write(
        folder.join("rwsgi.toml"),
        folder.print(&format!("--print-config {args}"), &[]),
    )
    .unwrap();
    config.file = Some(folder.join("rwsgi.toml"));
    assert_eq!(folder.serve("", &[]), config);
    // It does not need an application, so that it can create a first file.
    assert!(
        Folder::new(&[])
            .print("--print-config", &[])
            .contains("# app is not set\n")
    );
}

#[test]
fn help_shows_every_option_in_80_columns() {
    let help = help::page();
    for row in OPTIONS {
        assert!(help.contains(&row.usage()), "{}", row.name);
    }
    for line in help.lines() {
        assert!(line.len() < 80, "{line}");
    }
}

#[test]
fn the_reference_page_is_fresh() {
    check_fresh("docs/options.md", &reference::page());
}

#[test]
fn the_man_page_is_fresh() {
    check_fresh(&format!("{SHARE}/man/man1/rwsgi.1"), &man::page());
}

#[test]
fn the_completions_are_fresh() {
    for (file, script) in completions::scripts(&completions::rwsgi()) {
        check_fresh(&file, &script);
    }
}
