//! Addresses of listeners, as given on the command line. Nothing is opened or resolved here.

use std::fmt;
use std::net::Ipv6Addr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a listener: the value of `--bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name or IP address (IPv6 without its brackets) and a port; port 0 lets the kernel pick one.
    Tcp {
        /// The host; `0.0.0.0` when only a port was given.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(UnixPlace),
    /// An inherited socket that already listens, by its number.
    Fd(RawFd),
}

/// A unix socket, and who may connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixPlace {
    /// Where its file is.
    pub path: PathBuf,
    /// The mode of the file, whatever the umask is; without one, it is that of a group alone where there is one, and for all
    /// else.
    pub mode: Option<u16>,
    /// The name or number of the file's group; without one, it is that of the user who serves.
    pub group: Option<String>,
}

/// Why a text is not an [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A host without `:PORT`.
    #[error("has no port: write HOST:PORT, :PORT, unix:PATH or fd://N")]
    NoPort,
    /// The port is not a number from 0 to 65535.
    #[error("has a port that is not a number from 0 to 65535")]
    Port,
    /// Colons in the host, but no brackets around it.
    #[error("has an IPv6 address without brackets: write [ADDRESS]:PORT")]
    Unbracketed,
    /// The text in brackets is not an IPv6 address.
    #[error("has brackets around what is not an IPv6 address")]
    Ipv6,
    /// The host has a character that is invalid in names and addresses.
    #[error("has a host that is neither a name nor an IP address")]
    Host,
    /// `unix:` without a path.
    #[error("names no path after unix:")]
    NoPath,
    /// `unix:PATH?` with something else than `mode=` and `group=`.
    #[error(
        "has something behind the path that is neither mode=0660 nor group=NAME: write unix:PATH?mode=0660&group=NAME"
    )]
    UnixOption,
    /// The mode of a unix socket is none.
    #[error("has a mode that is not an octal number from 0 to 0777")]
    Mode,
    /// `fd://` without the number of a descriptor.
    #[error("has no descriptor's number after fd://")]
    Descriptor,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(place) = text.strip_prefix("unix:") {
            return place.parse().map(Self::Unix);
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return number
                .parse()
                .ok()
                .filter(|fd| *fd >= 0)
                .map(Self::Fd)
                .ok_or(AddressError::Descriptor);
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        let host = host_name(host, text)?;
        // `u16::from_str` would accept a sign.
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = if digits { port.parse().ok() } else { None }.ok_or(AddressError::Port)?;
        Ok(Self::Tcp { host, port })
    }
}

impl FromStr for UnixPlace {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (path, options) = text
            .split_once('?')
            .map_or((text, None), |(path, options)| (path, Some(options)));
        if path.is_empty() {
            return Err(AddressError::NoPath);
        }
        let mut place = Self::from(PathBuf::from(path));
        for option in options.into_iter().flat_map(|options| options.split('&')) {
            match option.split_once('=') {
                Some(("mode", mode)) => place.mode = Some(mode_of(mode)?),
                Some(("group", group)) if !group.is_empty() => place.group = Some(group.to_owned()),
                _ => return Err(AddressError::UnixOption),
            }
        }
        Ok(place)
    }
}

impl From<PathBuf> for UnixPlace {
    fn from(path: PathBuf) -> Self {
        let (mode, group) = (None, None);
        Self { path, mode, group }
    }
}

impl UnixPlace {
    /// The mode of its file. Who connects needs the right to write.
    pub(crate) fn mode(&self) -> u16 {
        let default = if self.group.is_some() { 0o660 } else { 0o666 };
        self.mode.unwrap_or(default)
    }
}

fn mode_of(text: &str) -> Result<u16, AddressError> {
    // `from_str_radix` takes a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u16::from_str_radix(text, 8)
        .ok()
        .filter(|mode| digits && *mode <= 0o777);
    mode.ok_or(AddressError::Mode)
}

/// The host of `text`, which is `host:port`, without brackets.
fn host_name(host: &str, text: &str) -> Result<String, AddressError> {
    if host.is_empty() {
        return Ok("0.0.0.0".to_owned());
    }
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner
            .parse::<Ipv6Addr>()
            .map(|_| inner.to_owned())
            .map_err(|_| AddressError::Ipv6);
    }
    if text.starts_with('[') && text.ends_with(']') {
        return Err(AddressError::NoPort);
    }
    // `::1` splits into the host `:` and the port 1.
    if text.parse::<Ipv6Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::Unbracketed);
    }
    if host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    {
        Ok(host.to_owned())
    } else {
        Err(AddressError::Host)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(place) => place.fmt(f),
            Self::Fd(fd) => write!(f, "fd://{fd}"),
        }
    }
}

impl fmt::Display for UnixPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.path.display())?;
        let mode = self.mode.map(|mode| format!("mode={mode:04o}"));
        let group = self.group.as_ref().map(|group| format!("group={group}"));
        let options: Vec<String> = mode.into_iter().chain(group).collect();
        if options.is_empty() {
            return Ok(());
        }
        write!(f, "?{}", options.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `text` and expects it to be displayed as `shown`.
    fn check(text: &str, shown: &str) {
        assert_eq!(
            text.parse::<Address>().map(|address| address.to_string()),
            Ok(shown.to_owned()),
            "{text}"
        );
    }

    #[test]
    fn an_address_is_displayed_as_given() {
        for text in [
            "127.0.0.1:8000",
            "localhost:0",
            "[::1]:8000",
            "[::]:80",
            "unix:/run/a b.sock",
            "unix:x",
            "unix:x?mode=0660",
            "unix:x?group=www-data",
            "unix:x?mode=0600&group=33",
            "fd://3",
        ] {
            check(text, text);
        }
        check(":8000", "0.0.0.0:8000");
        check("unix:x?group=a&mode=666", "unix:x?mode=0666&group=a");
    }

    #[test]
    fn a_unix_socket_is_for_all_unless_it_has_a_group() {
        for (text, mode) in [
            ("x", 0o666),
            ("x?group=a", 0o660),
            ("x?group=a&mode=0640", 0o640),
        ] {
            assert_eq!(text.parse::<UnixPlace>().unwrap().mode(), mode, "{text}");
        }
    }

    #[test]
    fn the_host_is_kept_without_brackets() {
        let address = Address::Tcp {
            host: "::1".to_owned(),
            port: 8000,
        };
        assert_eq!("[::1]:8000".parse(), Ok(address));
    }

    #[test]
    fn an_invalid_address_is_refused_with_its_reason() {
        for (text, error) in [
            ("", AddressError::NoPort),
            ("8000", AddressError::NoPort),
            ("localhost", AddressError::NoPort),
            ("[::1]", AddressError::NoPort),
            ("localhost:", AddressError::Port),
            ("localhost:http", AddressError::Port),
            ("localhost:+80", AddressError::Port),
            (":65536", AddressError::Port),
            ("::1", AddressError::Unbracketed),
            ("fe80::1:8000", AddressError::Unbracketed),
            ("[localhost]:80", AddressError::Ipv6),
            ("http://localhost:80", AddressError::Host),
            ("a b:80", AddressError::Host),
            ("unix:", AddressError::NoPath),
            ("unix:?mode=0660", AddressError::NoPath),
            ("unix:x?", AddressError::UnixOption),
            ("unix:x?owner=a", AddressError::UnixOption),
            ("unix:x?group=", AddressError::UnixOption),
            ("unix:x?mode=rw", AddressError::Mode),
            ("unix:x?mode=", AddressError::Mode),
            ("unix:x?mode=1777", AddressError::Mode),
            ("unix:x?mode=+660", AddressError::Mode),
            ("fd://", AddressError::Descriptor),
            ("fd://-1", AddressError::Descriptor),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
