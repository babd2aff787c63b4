//! Shell completions from the table. Tests compare the files, and with `BLESS=1` write them.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::{Shell, generate};

use super::SHARE;
use crate::config::spec::{Kind, Opt, Place};
use crate::config::table::OPTIONS;

/// The script for each shell, with its file.
pub(crate) fn scripts(command: &Command) -> [(String, String); 3] {
    let name = command.get_name().to_owned();
    [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (
            Shell::Fish,
            format!("fish/vendor_completions.d/{name}.fish"),
        ),
    ]
    .map(|(shell, file)| {
        let mut script = Vec::new();
        generate(shell, &mut command.clone(), name.as_str(), &mut script);
        let script = String::from_utf8(script).unwrap();
        (format!("{SHARE}/{file}"), script)
    })
}

/// A clap command for the completions only, without clap's own options.
pub(crate) fn command(name: &'static str) -> Command {
    Command::new(name)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
}

/// The table as a clap command.
pub(crate) fn rwsgi() -> Command {
    OPTIONS
        .iter()
        .fold(command("rwsgi"), |command, row| command.arg(arg(row)))
}

fn arg(row: &Opt) -> Arg {
    let arg = Arg::new(row.name)
        .help(row.short)
        .value_hint(hint(row.value));
    let arg = if row.place == Place::Positional {
        arg
    } else {
        let letter = row.letter;
        let arg = arg.long(row.name).visible_aliases(row.also);
        letter
            .into_iter()
            .fold(arg, |arg, letter| arg.short(letter))
    };
    match &row.kind {
        Kind::Switch(_) | Kind::Flag(_) => arg.action(ArgAction::SetTrue),
        Kind::List(_) | Kind::Pairs(_) => arg.value_name(row.value).action(ArgAction::Append),
        Kind::Choice(choices) => words(arg, row, choices.iter().map(|(word, _)| *word)),
        Kind::SizeOr(.., choices) => words(arg, row, choices.iter().map(|(word, _)| *word)),
        Kind::CountOr(.., (word, _)) => words(arg, row, [*word]),
        _ => arg.value_name(row.value),
    }
}

fn words(arg: Arg, row: &Opt, words: impl IntoIterator<Item = &'static str>) -> Arg {
    let words: Vec<_> = words.into_iter().collect();
    arg.value_name(row.value)
        .value_parser(PossibleValuesParser::new(words))
}

/// What a shell can complete for a placeholder.
pub(crate) fn hint(value: &str) -> ValueHint {
    match value.split('|').next() {
        Some("DIR") => ValueHint::DirPath,
        Some("PATH" | "FILE" | "APP") => ValueHint::AnyPath,
        Some("USER") => ValueHint::Username,
        Some("") | None => ValueHint::Unknown,
        Some(_) => ValueHint::Other,
    }
}
