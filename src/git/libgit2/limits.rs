//! Process-wide settings of C libraries: libgit2's time-outs, configuration, certificates and memory, and malloc's
//! heaps.
//!
//! The only module with `unsafe`: these options are plain globals in C without a lock, and an allocator is C as well.
#![allow(unsafe_code)]

use std::env;
use std::ffi::{CString, c_char, c_int, c_ulong, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use git2::ConfigLevel;

use crate::git::http::{certificates, timeouts};
use crate::git::libgit2::memory;
use crate::git::libgit2::memory::Budget;

/// Makes the settings that are no longer possible once there is a second thread, or libgit2 was used.
pub fn prepare_process() {
    share_one_heap();
    initialise_without_certificates();
    accept_partial_chains();
}

/// Makes OpenSSL accept any trusted certificate as the end of a server's chain: an intermediate, or the server's own.
/// By default only a root can end a chain. Git does the same (curl sets this flag for each connection).
///
/// Neither client has an option for it, but both verify by the parameters of this name. Only the first call of a
/// process has an effect.
fn accept_partial_chains() {
    /// OpenSSL's `X509_VERIFY_PARAM`. Only pointers to it are held.
    #[repr(C)]
    struct Parameters {
        opaque: [u8; 0],
    }
    unsafe extern "C" {
        fn X509_VERIFY_PARAM_new() -> *mut Parameters;
        fn X509_VERIFY_PARAM_free(parameters: *mut Parameters);
        fn X509_VERIFY_PARAM_set1_name(parameters: *mut Parameters, name: *const c_char) -> c_int;
        fn X509_VERIFY_PARAM_set_flags(parameters: *mut Parameters, flags: c_ulong) -> c_int;
        fn X509_VERIFY_PARAM_set_purpose(parameters: *mut Parameters, purpose: c_int) -> c_int;
        fn X509_VERIFY_PARAM_set_trust(parameters: *mut Parameters, trust: c_int) -> c_int;
        fn X509_VERIFY_PARAM_add0_table(parameters: *mut Parameters) -> c_int;
    }
    /// `X509_V_FLAG_PARTIAL_CHAIN`, `X509_PURPOSE_SSL_SERVER` and `X509_TRUST_SSL_SERVER` (`openssl/x509_vfy.h`, `x509.h`).
    const PARTIAL_CHAIN: c_ulong = 0x80000;
    const PURPOSE: c_int = 2;
    const TRUST: c_int = 3;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the pointer comes from OpenSSL and is checked; OpenSSL owns it once it is in the table. The table
        // has no lock, and is read when a server's certificate is verified. The program calls this while it has one
        // thread. Tests call it before they create the first client, and `Once` blocks other threads until the table
        // is written.
        unsafe {
            let parameters = X509_VERIFY_PARAM_new();
            if parameters.is_null() {
                return;
            }
            let set = X509_VERIFY_PARAM_set1_name(parameters, c"ssl_server".as_ptr()) == 1
                && X509_VERIFY_PARAM_set_flags(parameters, PARTIAL_CHAIN) == 1
                && X509_VERIFY_PARAM_set_purpose(parameters, PURPOSE) == 1
                && X509_VERIFY_PARAM_set_trust(parameters, TRUST) == 1
                && X509_VERIFY_PARAM_add0_table(parameters) == 1;
            if !set {
                X509_VERIFY_PARAM_free(parameters);
            }
        }
    });
}

/// Makes libgit2 initialise OpenSSL without the certificates of `SSL_CERT_FILE`. Reading and keeping all of them would
/// take a megabyte and some ten milliseconds, whether or not https is ever used. If it is, [`trust`] reads them.
#[expect(clippy::disallowed_methods, reason = "they race with other threads, and there are none yet")]
fn initialise_without_certificates() {
    const CERTIFICATES: &str = "SSL_CERT_FILE";
    let named = env::var_os(CERTIFICATES);
    // SAFETY: there is no other thread that could read the environment meanwhile.
    unsafe { env::remove_var(CERTIFICATES) };
    libgit2_sys::init();
    if let Some(named) = named {
        // SAFETY: as above; libgit2 starts no threads.
        unsafe { env::set_var(CERTIFICATES, named) };
    }
}

/// Makes all threads allocate from one heap.
///
/// glibc gives each thread its own heap, and memory that a large sync frees in one is of no use to the others: after a
/// clone of 20,000 files that was 8 MiB instead of 5.
fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number that malloc reads when a thread allocates for the first time, and there is no other thread
    // yet. A failure leaves the number as it was.
    unsafe {
        let _ = libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Returns free memory in the middle of the heap to the system, which malloc would keep: two megabytes after a clone
/// of 20,000 files. Other threads cannot allocate for that moment, so it is called when the process is idle.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and malloc's own lock.
    unsafe {
        let _ = libc::malloc_trim(0);
    }
}

/// Sets the limits. Only the first call of a process has an effect.
///
/// The time-outs bound each single read, not the whole: a server that sends a byte at a time is the watchdog's task.
pub(crate) fn apply(timeout: Duration) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        accept_partial_chains();
        // A server may need long to put a pack together, so only the whole operation has a limit.
        let silence = milliseconds(timeout);
        let connect = milliseconds(timeouts::connect(timeout));
        // SAFETY: libgit2 reads these globals only in its own calls. Every use of libgit2 in this program goes through
        // `Engine::new`, which calls this first, and `Once` blocks other threads until all are written; they are never
        // written again. These values are valid by construction, so errors cannot occur; one would only mean that a
        // default stays.
        unsafe {
            let _ = git2::opts::set_server_timeout_in_milliseconds(silence);
            let _ = git2::opts::set_server_connect_timeout_in_milliseconds(connect);
            // The configuration of the image or of a user must not change the behavior. Only the store's own file
            // counts, and `store::repository` checks that.
            for level in [ConfigLevel::System, ConfigLevel::Global, ConfigLevel::XDG, ConfigLevel::ProgramData] {
                let _ = git2::opts::set_search_path(level, "");
            }
            // A volume with fsGroup, or an emptyDir, belongs to root. The check protects from hooks and configuration
            // of another user: no hooks are run, and no configuration but the store's own is trusted.
            let _ = git2::opts::set_verify_owner_validation(false);
            // libgit2 copies the struct. Blocks come from the C library before and after, so either may free any of
            // them.
            MEMORY.allow(memory::budget());
            let _ = libgit2_sys::git_libgit2_opts(
                libgit2_sys::GIT_OPT_SET_ALLOCATOR.cast_signed(),
                std::ptr::from_ref(&Allocator { malloc, realloc, free }),
            );
        }
    });
}

/// Makes libgit2 read the certificates that the system trusts, and those in `ca_file`, before it uses https. Only the
/// first call of a process has an effect.
///
/// They take a megabyte and some ten milliseconds, and where a server speaks version 2 the crate's own client is used
/// instead.
pub(crate) fn trust(ca_file: Option<&Path>, store: &Path) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let found = openssl_probe::probe();
        let of_the_system = found.cert_file.map(|file| without_mark(file, &store.join("pushsync-home/system.pem")));
        let given = ca_file.map(|file| without_mark(file.to_owned(), &store.join("pushsync-home/ca.pem")));
        // SAFETY: this writes no global. It adds to the certificate store behind one, under OpenSSL's own lock.
        // `apply` has initialised libgit2 and so created the global, which lives as long as the process. Unreadable
        // certificates are not trusted, and the connection reports that.
        unsafe {
            if let Some(file) = of_the_system {
                let _ = git2::opts::set_ssl_cert_file(file);
            }
            for folder in found.cert_dir {
                let _ = git2::opts::set_ssl_cert_dir(folder);
            }
            if let Some(ca_file) = given {
                let _ = git2::opts::set_ssl_cert_file(ca_file);
            }
        }
    });
}

/// Returns the file, or a copy of it without its byte order mark, which makes OpenSSL miss the certificate after it.
fn without_mark(file: PathBuf, copy: &Path) -> PathBuf {
    let Ok(text) = fs::read(&file) else { return file };
    let Some(text) = text.strip_prefix(certificates::BYTE_ORDER_MARK) else { return file };
    let written = copy.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(copy, text));
    if written.is_ok() { copy.to_owned() } else { file }
}

/// Writes a `known_hosts` where libgit2 looks for one, so that it requests the right type of host key.
///
/// A server presents one of its keys, and libssh2 prefers ECDSA: that would fail against a file that lists only the
/// RSA key of the host. libgit2 orders its preferences by `HOME/.ssh/known_hosts`, so its home is set to a folder in
/// the store. `auth::known_hosts` decides whether the key is right, so a failed write is no failure here. Returns true
/// if the file had another content before.
pub(crate) fn prefer_known_keys(store: &Path, known_hosts: &str) -> bool {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    let home = HOME.get_or_init(|| {
        let home = store.join("pushsync-home");
        if let Ok(path) = CString::new(home.as_os_str().as_bytes()) {
            // SAFETY: the option takes one C string and copies it. The global is read when an SSH connection is made,
            // and when a configured path begins with `~`, which the store's configuration does not have. Every SSH
            // connection of this program calls this first, and `OnceLock` blocks other threads until it is written. It
            // is never written again.
            unsafe {
                let _ = libgit2_sys::git_libgit2_opts(libgit2_sys::GIT_OPT_SET_HOMEDIR.cast_signed(), path.as_ptr());
            }
        }
        home
    });
    let folder = home.join(".ssh");
    let path = folder.join("known_hosts");
    if fs::read_to_string(&path).is_ok_and(|text| text == known_hosts) {
        return false;
    }
    let _ = fs::create_dir_all(&folder);
    // Another process on the volume may have put a symlink there, which must not be followed.
    let _ = fs::remove_file(&path);
    if let Ok(mut file) = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        let _ = std::io::Write::write_all(&mut file, known_hosts.as_bytes());
    }
    true
}

/// The large blocks that libgit2 holds.
static MEMORY: Budget = Budget::new();

/// libgit2's `git_allocator` (git2/sys/alloc.h).
#[repr(C)]
struct Allocator {
    malloc: unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

/// SAFETY of the three: they pass their arguments to the function of the C library with the same contract, and count.
/// Nothing in them can panic.
unsafe extern "C" fn malloc(bytes: usize, _: *const c_char, _: c_int) -> *mut c_void {
    if !MEMORY.take(bytes) {
        return std::ptr::null_mut();
    }
    let block = unsafe { libc::malloc(bytes) };
    MEMORY.replace(bytes, unsafe { size(block) });
    block
}

unsafe extern "C" fn realloc(block: *mut c_void, bytes: usize, _: *const c_char, _: c_int) -> *mut c_void {
    let before = unsafe { size(block) };
    // While a block is moved, both exist.
    if !MEMORY.take(bytes) {
        return std::ptr::null_mut();
    }
    let moved = unsafe { libc::realloc(block, bytes) };
    if moved.is_null() {
        MEMORY.replace(bytes, 0);
    } else {
        MEMORY.replace(bytes, unsafe { size(moved) });
        MEMORY.replace(before, 0);
    }
    moved
}

unsafe extern "C" fn free(block: *mut c_void) {
    MEMORY.replace(unsafe { size(block) }, 0);
    unsafe { libc::free(block) };
}

/// Returns the size of a block according to the C library; 0 for none, and where the library does not say: then
/// nothing is counted.
unsafe fn size(block: *mut c_void) -> usize {
    #[cfg(target_os = "linux")]
    return unsafe { libc::malloc_usable_size(block) };
    #[cfg(not(target_os = "linux"))]
    return 0;
}

fn milliseconds(duration: Duration) -> i32 {
    // 0 would mean no time-out.
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX).max(1)
}
