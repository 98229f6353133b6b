//! Which system calls change files, and which file that is: read from the registers and from `/proc`.
//!
//! A call that changes a file and is not in the table is not a kill point (`io_uring` would be one).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use nix::libc::{self, c_long, user_regs_struct};
use nix::unistd::Pid;

/// Where a call says which file it changes, by the number of its argument.
#[derive(Clone, Copy)]
enum Which {
    /// An open file.
    File(usize),
    /// A path, relative to the working folder.
    Path(usize),
    /// A folder and a path in it.
    At(usize, usize),
    /// The same, if these flags are among those in another argument.
    Opened(usize, usize, usize),
    /// An open file, if these bits are set in arguments: `mmap`.
    Mapped,
    /// An open file, if the request shares content.
    Cloned,
}

/// `FICLONE` and `FICLONERANGE`; `linux/fs.h`.
const CLONES: [u64; 2] = [0x4004_9409, 0x4020_940d];

#[rustfmt::skip]
const TABLE: &[(c_long, &str, Which)] = {
    use Which::{At, Cloned, File, Mapped, Opened, Path};
    &[
        (libc::SYS_write, "write", File(0)),
        (libc::SYS_pwrite64, "pwrite64", File(0)),
        (libc::SYS_writev, "writev", File(0)),
        (libc::SYS_pwritev, "pwritev", File(0)),
        (libc::SYS_pwritev2, "pwritev2", File(0)),
        (libc::SYS_sendfile, "sendfile", File(0)),
        (libc::SYS_splice, "splice", File(2)),
        (libc::SYS_copy_file_range, "copy_file_range", File(2)),
        (libc::SYS_ftruncate, "ftruncate", File(0)),
        (libc::SYS_truncate, "truncate", Path(0)),
        (libc::SYS_fallocate, "fallocate", File(0)),
        (libc::SYS_ioctl, "ioctl(FICLONE)", Cloned),
        (libc::SYS_mmap, "mmap(shared)", Mapped),
        (libc::SYS_fsync, "fsync", File(0)),
        (libc::SYS_fdatasync, "fdatasync", File(0)),
        (libc::SYS_syncfs, "syncfs", File(0)),
        (libc::SYS_sync_file_range, "sync_file_range", File(0)),
        (libc::SYS_fchmod, "fchmod", File(0)),
        (libc::SYS_chmod, "chmod", Path(0)),
        (libc::SYS_fchmodat, "fchmodat", At(0, 1)),
        (libc::SYS_fchmodat2, "fchmodat2", At(0, 1)),
        (libc::SYS_fchown, "fchown", File(0)),
        (libc::SYS_chown, "chown", Path(0)),
        (libc::SYS_lchown, "lchown", Path(0)),
        (libc::SYS_fchownat, "fchownat", At(0, 1)),
        (libc::SYS_utimensat, "utimensat", At(0, 1)),
        (libc::SYS_utimes, "utimes", Path(0)),
        (libc::SYS_utime, "utime", Path(0)),
        (libc::SYS_open, "open", Opened(usize::MAX, 0, 1)),
        (libc::SYS_openat, "openat", Opened(0, 1, 2)),
        (libc::SYS_creat, "creat", Path(0)),
        (libc::SYS_mkdir, "mkdir", Path(0)),
        (libc::SYS_mkdirat, "mkdirat", At(0, 1)),
        (libc::SYS_mknod, "mknod", Path(0)),
        (libc::SYS_mknodat, "mknodat", At(0, 1)),
        (libc::SYS_symlink, "symlink", Path(1)),
        (libc::SYS_symlinkat, "symlinkat", At(1, 2)),
        (libc::SYS_link, "link", Path(1)),
        (libc::SYS_linkat, "linkat", At(2, 3)),
        (libc::SYS_rename, "rename", Path(1)),
        (libc::SYS_renameat, "renameat", At(2, 3)),
        (libc::SYS_renameat2, "renameat2", At(2, 3)),
        (libc::SYS_unlink, "unlink", Path(0)),
        (libc::SYS_unlinkat, "unlinkat", At(0, 1)),
        (libc::SYS_rmdir, "rmdir", Path(0)),
        (libc::SYS_setxattr, "setxattr", Path(0)),
        (libc::SYS_fsetxattr, "fsetxattr", File(0)),
    ]
};

/// Calls that wait for a file without changing it. `open` and `openat` are in the other table if they make a file.
#[rustfmt::skip]
const READS: &[(c_long, &str, Which)] = {
    use Which::{At, File, Path};
    &[
        (libc::SYS_read, "read", File(0)),
        (libc::SYS_pread64, "pread64", File(0)),
        (libc::SYS_readv, "readv", File(0)),
        (libc::SYS_getdents64, "getdents64", File(0)),
        (libc::SYS_fstat, "fstat", File(0)),
        (libc::SYS_fstatfs, "fstatfs", File(0)),
        (libc::SYS_flock, "flock", File(0)),
        (libc::SYS_open, "open", Path(0)),
        (libc::SYS_openat, "openat", At(0, 1)),
        (libc::SYS_openat2, "openat2", At(0, 1)),
        (libc::SYS_stat, "stat", Path(0)),
        (libc::SYS_lstat, "lstat", Path(0)),
        (libc::SYS_statfs, "statfs", Path(0)),
        (libc::SYS_newfstatat, "newfstatat", At(0, 1)),
        (libc::SYS_statx, "statx", At(0, 1)),
        (libc::SYS_access, "access", Path(0)),
        (libc::SYS_faccessat, "faccessat", At(0, 1)),
        (libc::SYS_faccessat2, "faccessat2", At(0, 1)),
        (libc::SYS_readlink, "readlink", Path(0)),
        (libc::SYS_readlinkat, "readlinkat", At(0, 1)),
    ]
};

/// The call that a thread is about to make, and the file it changes; `None`: it changes none.
pub(super) fn changing(thread: Pid, registers: &user_regs_struct) -> Option<(&'static str, PathBuf)> {
    known(TABLE, thread, registers)
}

/// The same for a call that asks for a file in any way.
pub(super) fn asking(thread: Pid, registers: &user_regs_struct) -> Option<(&'static str, PathBuf)> {
    changing(thread, registers).or_else(|| known(READS, thread, registers))
}

fn known(
    table: &[(c_long, &'static str, Which)],
    thread: Pid,
    registers: &user_regs_struct,
) -> Option<(&'static str, PathBuf)> {
    let number = c_long::try_from(registers.orig_rax).ok()?;
    let (_, name, which) = table.iter().find(|(known, ..)| *known == number)?;
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
    let path = match *which {
        Which::File(at) => open_file(thread, arguments[at])?,
        Which::Path(at) => named(thread, None, arguments[at])?,
        Which::At(folder, at) => named(thread, Some(arguments[folder]), arguments[at])?,
        Which::Opened(folder, at, flags) => {
            if arguments[flags] & flag(libc::O_CREAT | libc::O_TRUNC) == 0 {
                return None;
            }
            named(thread, arguments.get(folder).copied(), arguments[at])?
        }
        Which::Mapped => {
            let shared = arguments[3] & flag(libc::MAP_SHARED) != 0 && arguments[2] & flag(libc::PROT_WRITE) != 0;
            open_file(thread, shared.then_some(arguments[4])?)?
        }
        Which::Cloned => open_file(thread, CLONES.contains(&arguments[1]).then_some(arguments[0])?)?,
    };
    Some((name, path))
}

fn flag(bits: i32) -> u64 {
    u64::from(bits.cast_unsigned())
}

/// Only the lower half of the register counts.
fn lower(register: u64) -> u32 {
    u32::try_from(register & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The path of an open file; sockets and pipes have none that is absolute.
fn open_file(thread: Pid, number: u64) -> Option<PathBuf> {
    let number = lower(number);
    let path = std::fs::read_link(format!("/proc/{thread}/fd/{number}")).ok()?;
    path.is_absolute().then_some(path)
}

fn named(thread: Pid, folder: Option<u64>, address: u64) -> Option<PathBuf> {
    let folder = folder.map(|number| lower(number).cast_signed()).filter(|number| *number != libc::AT_FDCWD);
    let base = || match folder {
        Some(number) => open_file(thread, u64::from(number.cast_unsigned())),
        None => std::fs::read_link(format!("/proc/{thread}/cwd")).ok(),
    };
    if address == 0 {
        // `futimens`: the open file itself.
        return base();
    }
    let path = PathBuf::from(OsString::from_vec(text(thread, address)?));
    if path.is_absolute() { Some(path) } else { Some(base()?.join(path)) }
}

/// A string of the tracee, up to its end.
fn text(thread: Pid, mut address: u64) -> Option<Vec<u8>> {
    let memory = std::fs::File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut text = Vec::new();
    while text.len() < 8192 {
        // Never over the end of a page: the next one may not be there.
        let mut piece = vec![0; usize::try_from(4096 - address % 4096).ok()?.min(256)];
        let read = memory.read_at(&mut piece, address).ok()?;
        match piece[..read].iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend(&piece[..end]);
                return Some(text);
            }
            None if read == 0 => return None,
            None => text.extend(&piece[..read]),
        }
        address += read as u64;
    }
    None
}
