//! What `ps` and `top` show of a process.
#![expect(
    unsafe_code,
    reason = "the title is written over the arguments that the kernel laid out"
)]

use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::sync::Mutex;

use super::procfs::{self, Stat};

/// Where the title may be written, once [`prepare`] has found and emptied it.
static SPACE: Mutex<Option<Space>> = Mutex::new(None);

/// The bytes at which the kernel finds this process's command line.
struct Space {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the bytes are part of the process's first stack, which is mapped as long as the process lives.
unsafe impl Send for Space {}

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Makes room for titles: to be called once at the start, after the arguments have been read and while there is one
/// thread only. What was typed (it may hold secrets) is then gone from the list of processes with the first title.
///
/// Without `/proc`, or with several threads, titles stay as short as a thread's name.
pub fn prepare() {
    if procfs::threads() != Some(1) {
        return;
    }
    let Some(bounds) = Stat::of("self").as_ref().and_then(Bounds::read) else {
        return;
    };
    let end = if bounds.environment_start == bounds.arguments_end {
        move_environment_away();
        bounds.environment_end
    } else {
        bounds.arguments_end
    };
    let start = std::ptr::with_exposed_provenance_mut(bounds.arguments_start);
    if let (Some(start), Some(length @ 2..)) =
        (NonNull::new(start), end.checked_sub(bounds.arguments_start))
    {
        *SPACE.lock().expect("nothing panics with the lock held") = Some(Space { start, length });
    }
}

/// Names this process: `title` in full where there is room for it, and its `name` (15 bytes) as a thread's name.
///
/// To be called while the process has one thread: right after its start or the fork that made it.
pub(crate) fn set(title: &str, name: &str) {
    if let Ok(name) = CString::new(name) {
        // Longer names are cut by the kernel.
        let _ = nix::sys::prctl::set_name(&name);
    }
    if let Some(space) = &*SPACE.lock().expect("nothing panics with the lock held") {
        let shown = title.as_bytes();
        let shown = &shown[..shown.len().min(space.length - 1)];
        // SAFETY: `prepare` has found these bytes to be the arguments and the environment on the stack, whose strings
        // nobody uses any more: the environment has moved, and arguments are read before.
        unsafe { space.start.write_bytes(0, space.length) };
        // SAFETY: as above, and at least one byte shorter.
        unsafe {
            space
                .start
                .copy_from_nonoverlapping(NonNull::from(shown).cast(), shown.len())
        };
    }
}

/// Gives the environment another place, so that its first one can be written over.
fn move_environment_away() {
    let mut moved = Vec::new();
    // SAFETY: one thread only, as `prepare` has counted, so nobody changes the variable meanwhile.
    let mut at = unsafe { environ };
    while !at.is_null() {
        // SAFETY: `at` has not passed the null pointer that ends the array.
        let entry = unsafe { *at };
        if entry.is_null() {
            break;
        }
        // SAFETY: entries are strings that end with a zero byte.
        let text = unsafe { CStr::from_ptr(entry) };
        moved.push(text.to_owned().into_raw());
        // SAFETY: the entry just read was not the last one.
        at = unsafe { at.add(1) };
    }
    moved.push(std::ptr::null_mut());
    // Both the array and the strings live as long as the process: others may keep pointers into the environment.
    let moved = moved.leak().as_mut_ptr();
    // SAFETY: one thread only, as above; `moved` is an array as the C library expects it.
    unsafe { environ = moved };
}

/// The addresses at which the kernel laid out arguments and environment.
#[derive(Debug, PartialEq, Eq)]
struct Bounds {
    arguments_start: usize,
    arguments_end: usize,
    environment_start: usize,
    environment_end: usize,
}

impl Bounds {
    /// Reads fields 48 to 51.
    fn read(stat: &Stat) -> Option<Self> {
        let mut numbers = 48..=51;
        let mut next = || {
            let address = stat.field(numbers.next()?)?.parse().ok()?;
            Some(address).filter(|address| *address != 0)
        };
        Some(Self {
            arguments_start: next()?,
            arguments_end: next()?,
            environment_start: next()?,
            environment_end: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_this_process_enclose_its_arguments() {
        let bounds = Bounds::read(&Stat::of("self").unwrap()).unwrap();
        let typed: usize = std::env::args_os().map(|argument| argument.len() + 1).sum();
        assert_eq!(bounds.arguments_end - bounds.arguments_start, typed);
    }
}
