//! The user of the serving processes: sets supplementary groups, group and user, and verifies each.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Uid, geteuid, getgrouplist, getgroups, getresgid, getresuid, setgroups, setresgid,
    setresuid,
};
use tracing::error;

use crate::process::exit::ExitReason;
use crate::sys::fork::{Side, fork, leave};
use crate::sys::wait::{Exit, until_ended};

/// A user, as `--user` names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    uid: Uid,
    /// The entry in the user database, if there is one.
    entry: Option<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    gid: Gid,
    home: PathBuf,
}

/// A group, as `--group` names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(Gid);

/// The user and groups of the front, molds and children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    user: User,
    gid: Gid,
    groups: Vec<Gid>,
}

/// Why a process cannot change its identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A number has no entry in the user database, and so no group.
    #[error("user {0} has no entry in the user database, and so no group: give --group as well")]
    NoGroup(Uid),
    /// The groups of the user are not known.
    #[error("the groups of {name} cannot be looked up")]
    Unknown {
        /// The user.
        name: String,
        /// Why.
        source: Errno,
    },
    /// The kernel refuses.
    #[error("cannot set {what}; only root, with CAP_SETUID and CAP_SETGID, becomes another user")]
    Refused {
        /// What was to be set.
        what: String,
        /// Why.
        source: Errno,
    },
    /// The kernel reported success, but the identity is another.
    #[error("{0} was set and is another one now")]
    Another(String),
    /// The process could become root again.
    #[error("root could be regained as user {0}")]
    Regained(Uid),
}

/// (uid_t) -1 means "unchanged" in the calls below.
const NOBODY_AT_ALL: u32 = u32::MAX;

impl User {
    /// The user of this name or number. The error is the end of a sentence.
    ///
    /// # Errors
    /// When there is no such user. A name needs an entry in the user database, a number does not.
    pub fn find(text: &str) -> Result<Self, String> {
        let number = number(text)?.map(Uid::from_raw);
        let found = match number {
            Some(uid) => nix::unistd::User::from_uid(uid),
            None => nix::unistd::User::from_name(text),
        };
        let found =
            found.map_err(|errno| format!("cannot be looked up in the user database: {errno}"))?;
        let uid = number
            .or_else(|| found.as_ref().map(|found| found.uid))
            .ok_or("is no user of this machine")?;
        let entry = found.map(|found| Entry {
            name: found.name,
            gid: found.gid,
            home: found.dir,
        });
        Ok(Self { uid, entry })
    }
}

impl Group {
    pub(crate) fn gid(self) -> Gid {
        self.0
    }

    /// The group of this name or number. The error is the end of a sentence.
    ///
    /// # Errors
    /// When there is no group of that name.
    pub fn find(text: &str) -> Result<Self, String> {
        if let Some(number) = number(text)? {
            return Ok(Self(Gid::from_raw(number)));
        }
        nix::unistd::Group::from_name(text)
            .map_err(|errno| format!("cannot be looked up in the group database: {errno}"))?
            .map(|found| Self(found.gid))
            .ok_or_else(|| "is no group of this machine".to_owned())
    }
}

/// The number that a text of digits denotes.
fn number(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number != NOBODY_AT_ALL => Ok(Some(number)),
        _ => Err(format!("must be below {NOBODY_AT_ALL}")),
    }
}

impl Identity {
    /// Combines the given values. Without a user, this process's is kept; without a group, the user's is used.
    ///
    /// # Errors
    /// When the group cannot be derived.
    pub fn of(user: Option<&User>, group: Option<Group>) -> Result<Option<Self>, IdentityError> {
        let user = match (user, group) {
            (None, None) => return Ok(None),
            (Some(user), _) => user.clone(),
            (None, Some(_)) => User {
                uid: geteuid(),
                entry: None,
            },
        };
        let gid = group
            .map(|group| group.0)
            .or_else(|| user.entry.as_ref().map(|entry| entry.gid))
            .ok_or(IdentityError::NoGroup(user.uid))?;
        let groups = match &user.entry {
            Some(entry) => groups_of(&entry.name, gid)?,
            None => vec![gid],
        };
        Ok(Some(Self { user, gid, groups }))
    }

    /// The usual environment variables of a user, from the user database.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let Some(entry) = &self.user.entry else {
            return Vec::new();
        };
        let home = entry.home.to_string_lossy().into_owned();
        [
            ("HOME", home),
            ("USER", entry.name.clone()),
            ("LOGNAME", entry.name.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Changes this process's groups, group and user in this order, since each step needs a right that the next one
    /// drops.
    ///
    /// # Errors
    /// When a step is refused or has no effect. The process must not continue then.
    pub fn assume(&self) -> Result<(), IdentityError> {
        let (uid, gid) = (self.user.uid, self.gid);
        // A process that already has this user may not set groups; it keeps the groups that it was started with.
        if !geteuid().is_root() && self.is_held()? {
            return Ok(());
        }
        let groups = || format!("the groups of user {uid}");
        setgroups(&self.groups).map_err(refused(groups()))?;
        setresgid(gid, gid, gid).map_err(refused(format!("group {gid}")))?;
        setresuid(uid, uid, uid).map_err(refused(format!("user {uid}")))?;
        let mut now = getgroups().map_err(refused(groups()))?;
        let mut wanted = self.groups.clone();
        for list in [&mut now, &mut wanted] {
            list.sort_by_key(|gid| gid.as_raw());
            list.dedup();
        }
        if now != wanted {
            return Err(IdentityError::Another(groups()));
        }
        if !self.is_held()? {
            return Err(IdentityError::Another(format!("user {uid}, group {gid}")));
        }
        let root = Uid::from_raw(0);
        if !uid.is_root() && setresuid(root, root, root).is_ok() {
            return Err(IdentityError::Regained(uid));
        }
        Ok(())
    }

    /// Tests in a forked process whether this identity can be assumed and `look` succeeds: `look` reports errors
    /// itself, and returns the exit code.
    ///
    /// # Errors
    /// The exit code, when it is not zero.
    pub fn rehearse(&self, look: impl FnOnce() -> u8) -> Result<(), u8> {
        let ended = match fork() {
            Ok(Side::Child) => leave(match self.assume() {
                Ok(()) => look(),
                Err(problem) => report_error(&problem),
            }),
            Ok(Side::Parent(pid)) => until_ended(pid),
            Err(errno) => Err(errno),
        };
        match ended {
            Ok(Exit::Code(0)) => Ok(()),
            Ok(Exit::Code(code)) => Err(code),
            Ok(Exit::Signal { .. }) => Err(ExitReason::Internal.code()),
            Err(errno) => {
                error!(%errno, "cannot see whether the user can be changed");
                Err(ExitReason::CannotStart.code())
            }
        }
    }

    /// The owner and group for files of this user.
    pub(crate) fn owner(&self) -> (Uid, Gid) {
        (self.user.uid, self.gid)
    }

    /// Whether it is a user other than this process's.
    pub(crate) fn is_another(&self) -> bool {
        self.user.uid != geteuid()
    }

    /// The user, and all groups.
    pub(crate) fn rights(&self) -> (Uid, Vec<Gid>) {
        let own = [self.gid].into_iter();
        (
            self.user.uid,
            own.chain(self.groups.iter().copied()).collect(),
        )
    }

    /// Real, effective and saved ids are all this user's.
    fn is_held(&self) -> Result<bool, IdentityError> {
        let users = getresuid().map_err(refused("a look at the user".to_owned()))?;
        let groups = getresgid().map_err(refused("a look at the group".to_owned()))?;
        let (uid, gid) = (self.user.uid, self.gid);
        Ok([users.real, users.effective, users.saved] == [uid; 3]
            && [groups.real, groups.effective, groups.saved] == [gid; 3])
    }
}

/// Reports why the identity cannot be assumed; returns the exit code.
pub(crate) fn report_error(problem: &IdentityError) -> u8 {
    let cause = std::error::Error::source(problem).map(|cause| format!(": {cause}"));
    let cause = cause.unwrap_or_default();
    error!(
        error = format!("{problem}{cause}"),
        "cannot become the user of --user and --group"
    );
    ExitReason::CannotStart.code()
}

/// The application runs as root in this process.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The effective user of this process.
#[must_use]
pub fn own_uid() -> u32 {
    geteuid().as_raw()
}

/// Sets the umask of this process and its children.
pub fn set_umask(mask: u32) {
    umask(Mode::from_bits_truncate(mask));
}

fn groups_of(name: &str, gid: Gid) -> Result<Vec<Gid>, IdentityError> {
    let unknown = |source| IdentityError::Unknown {
        name: name.to_owned(),
        source,
    };
    let text = CString::new(name).map_err(|_| unknown(Errno::EINVAL))?;
    getgrouplist(&text, gid).map_err(unknown)
}

fn refused(what: String) -> impl FnOnce(Errno) -> IdentityError {
    |source| IdentityError::Refused { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_have_names_and_numbers() {
        let root = User::find("root").unwrap();
        assert_eq!(root, User::find("0").unwrap());
        assert_eq!(Group::find("root"), Group::find("0"));
        assert_eq!(
            User::find("nobody-of-this-name"),
            Err("is no user of this machine".to_owned())
        );
        assert_eq!(
            Group::find("nobody-of-this-name"),
            Err("is no group of this machine".to_owned())
        );
        for text in ["4294967295", "99999999999"] {
            let must = Err("must be below 4294967295".to_owned());
            assert_eq!(User::find(text).map(|_| ()), must);
            assert_eq!(Group::find(text).map(|_| ()), must);
        }
        assert!(User::find("").is_err());
    }

    #[test]
    fn a_number_without_an_entry_needs_a_group() {
        let stranger = User::find("4294967000").unwrap();
        let without = Identity::of(Some(&stranger), None).unwrap_err();
        assert!(without.to_string().contains("4294967000"), "{without}");
        let group = Group::find("0").unwrap();
        let with = Identity::of(Some(&stranger), Some(group)).unwrap().unwrap();
        assert_eq!(with.groups, [Gid::from_raw(0)]);
        assert_eq!(with.variables(), []);
        assert_eq!(Identity::of(None, None).unwrap(), None);
    }
}
