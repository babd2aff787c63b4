//! The command line of `rwsgictl`, and its help page.

use crate::config::print::fill;

/// A command.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) name: &'static str,
    /// The placeholder for its value; empty when it takes none.
    pub(super) value: &'static str,
    /// Its option; empty when it has none.
    pub(super) option: &'static str,
    pub(super) about: &'static str,
}

/// An option that all commands have.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) name: &'static str,
    pub(super) letter: Option<char>,
    pub(super) value: &'static str,
    pub(super) about: &'static str,
}

pub(super) const COMMANDS: &[Word] = &[
    Word {
        name: "status",
        value: "",
        option: "--json",
        about: "what it consists of and how busy it is",
    },
    Word {
        name: "reload",
        value: "",
        option: "",
        about: "load the application anew, and wait until that serves or has failed; standard error says what it waits \
            for, and Ctrl-C leaves the reload alone",
    },
    Word {
        name: "scale",
        value: "N",
        option: "",
        about: "keep N processes (of an elastic pool: at most), until the next reload",
    },
    Word {
        name: "stop",
        value: "",
        option: "--now",
        about: "let it finish the requests in flight and end; --now breaks them off",
    },
];

pub(super) const COMMON: &[Common] = &[
    Common {
        name: "control",
        letter: None,
        value: "PATH",
        about: "the server's control socket; without it, the one in the runtime folder ($RUNTIME_DIRECTORY, \
            $XDG_RUNTIME_DIR, /run/rwsgi or /tmp/rwsgi-UID)",
    },
    Common {
        name: "help",
        letter: Some('h'),
        value: "",
        about: "print this and exit",
    },
    Common {
        name: "version",
        letter: Some('V'),
        value: "",
        about: "print the version and exit",
    },
];

pub(super) const ENVIRONMENT: &str = "RWSGI_CONTROL for --control";

pub(super) const EXIT_CODES: &str =
    "0; 1 when the server has not done it; 64 for a wrong command line; 69 when no server answers";

/// The maximum line length of the page.
const WIDTH: usize = 108;

impl Word {
    /// The command with its value and option.
    pub(super) fn usage(&self) -> String {
        let option = match self.option {
            "" => String::new(),
            option => format!("[{option}]"),
        };
        format!("{} {}{option}", self.name, self.value)
            .trim_end()
            .to_owned()
    }
}

impl Common {
    /// The option with its placeholder.
    pub(super) fn usage(&self) -> String {
        let letter = self
            .letter
            .map_or_else(|| " ".repeat(4), |letter| format!("-{letter}, "));
        format!("{letter}--{} {}", self.name, self.value)
            .trim_end()
            .to_owned()
    }
}

/// The names of the commands, for a sentence.
pub(super) fn names() -> String {
    let names: Vec<_> = COMMANDS.iter().map(|word| word.name).collect();
    let (last, others) = names.split_last().expect("there are commands");
    format!("{} and {last}", others.join(", "))
}

/// The page of `--help`.
pub(super) fn help() -> String {
    let mut page =
        "rwsgictl [--control PATH] COMMAND\n\nAsks a running rwsgi.\n\nCommands:\n".to_owned();
    for word in COMMANDS {
        fill(
            &mut page,
            &format!("  {}", word.usage()),
            20,
            word.about,
            WIDTH,
        );
    }
    page += "\nOptions:\n";
    for option in COMMON {
        fill(
            &mut page,
            &format!("  {}", option.usage()),
            23,
            option.about,
            WIDTH,
        );
    }
    page + &format!("\nIn the environment: {ENVIRONMENT}.\n\nExits with {EXIT_CODES}.\n")
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::*;
    use crate::config::print::completions::{command, hint, scripts};
    use crate::config::print::man::Page;
    use crate::config::print::{SHARE, check_fresh};

    fn man() -> String {
        let about = "asks a running rwsgi";
        let mut page = Page::new("rwsgictl", about);
        page.section("SYNOPSIS")
            .paragraph("`rwsgictl` [`--control` PATH] COMMAND")
            .section("COMMANDS");
        for word in COMMANDS {
            page.item(&word.usage(), &[word.about.to_owned()]);
        }
        page.section("OPTIONS");
        for option in COMMON {
            page.item(option.usage().trim_start(), &[option.about.to_owned()]);
        }
        page.section("ENVIRONMENT")
            .paragraph(&format!("{ENVIRONMENT}."))
            .section("EXIT STATUS")
            .paragraph(&format!("{EXIT_CODES}."))
            .section("SEE ALSO")
            .paragraph("`rwsgi`(1)");
        page.render()
    }

    #[test]
    fn the_man_page_is_fresh() {
        check_fresh(&format!("{SHARE}/man/man1/rwsgictl.1"), &man());
    }

    fn flag(name: &'static str) -> Arg {
        Arg::new(name).long(name).action(ArgAction::SetTrue)
    }

    fn clap() -> Command {
        let options = COMMON.iter().map(|option| {
            let arg = flag(option.name).help(option.about).global(true);
            let arg = option
                .letter
                .into_iter()
                .fold(arg, |arg, letter| arg.short(letter));
            if option.value.is_empty() {
                arg
            } else {
                arg.action(ArgAction::Set)
                    .value_name(option.value)
                    .value_hint(hint(option.value))
            }
        });
        let commands = COMMANDS.iter().map(|word| {
            let mut command = command(word.name).about(word.about);
            if !word.value.is_empty() {
                command = command.arg(Arg::new(word.value).value_hint(hint(word.value)));
            }
            if let Some(option) = word.option.strip_prefix("--") {
                command = command.arg(flag(option));
            }
            command
        });
        command("rwsgictl").args(options).subcommands(commands)
    }

    #[test]
    fn the_completions_are_fresh() {
        for (file, script) in scripts(&clap()) {
            check_fresh(&file, &script);
        }
    }
}
