//! Parses and formats numbers, sizes and durations.

use std::time::Duration;

/// The units of a size, largest first.
const SIZES: [(&str, u64); 3] = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// The units of a duration in milliseconds, largest first.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a whole number, without a sign.
pub(crate) fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// Parses a size: bytes, or a number with `K`, `M` or `G` (powers of 1024, in either case).
pub(crate) fn size(text: &str) -> Option<u64> {
    let (digits, unit) = split(text);
    let factor = if unit.is_empty() {
        1
    } else {
        factor(&SIZES, &unit.to_ascii_uppercase())?
    };
    number(digits)?.checked_mul(factor)
}

/// Parses a duration: seconds, or a number with `ms`, `s`, `m` or `h`.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let (digits, unit) = split(text);
    let factor = factor(&TIMES, if unit.is_empty() { "s" } else { unit })?;
    number(digits)?
        .checked_mul(factor)
        .map(Duration::from_millis)
}

/// A size in the largest unit that is exact.
pub(crate) fn show_size(size: u64) -> String {
    show(&SIZES, size)
}

/// A duration in the largest unit that is exact, to the millisecond.
pub(crate) fn show_time(time: Duration) -> String {
    show(&TIMES, u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn show(units: &[(&str, u64)], value: u64) -> String {
    match units
        .iter()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
    {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => value.to_string(),
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("8190", 8190),
            ("1K", 1024),
            ("8m", 8 << 20),
            ("1G", 1 << 30),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "K",
            "1T",
            "1 K",
            "-1",
            "+1",
            "1.5M",
            "1KB",
            "99999999999999999999",
            "99999999999999G",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn a_bare_time_is_in_seconds() {
        for (text, millis) in [
            ("30", 30_000),
            ("0", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(time(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "1.5s",
            "5 s",
            "-1s",
            "1d",
            "1S",
            "99999999999999999h",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn displayed_values_parse_back() {
        for bytes in [0, 1, 1023, 1024, 1536, 8 << 20, 1 << 40] {
            assert_eq!(size(&show_size(bytes)), Some(bytes));
        }
        for millis in [0, 1, 999, 1000, 1500, 90_000, 86_400_000] {
            let value = Duration::from_millis(millis);
            assert_eq!(time(&show_time(value)), Some(value));
        }
        assert_eq!(
            (show_size(256 << 10), show_time(Duration::from_secs(90))),
            ("256K".to_owned(), "90s".to_owned())
        );
    }
}
