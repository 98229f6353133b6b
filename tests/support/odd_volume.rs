//! A real file system (FUSE) that passes everything on to a folder and lacks what is asked for: the exchange of two names,
//! modes, symbolic links, flock, fsync on folders, shared memory maps. It stands in for NFS, SMB, exFAT, 9p and their like.
//!
//! The kernel's own FUSE client is between it and the program, so each refusal reaches the program as on such a volume. It
//! needs `/dev/fuse` and the right to mount. Linux only.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::{Errno, FdFlags};

/// Features that the volume lacks; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lacks {
    /// `RENAME_EXCHANGE` is answered by EINVAL.
    pub exchange: bool,
    /// Every file and folder has this mode, whatever it is set to; setting one is not an error.
    pub fixed_mode: Option<u32>,
    /// Setting a mode is EPERM.
    pub chmod: bool,
    /// `symlink` is EPERM.
    pub symlinks: bool,
    /// `flock` is ENOLCK.
    pub flock: bool,
    /// `fsync` of a folder is EINVAL.
    pub fsync_on_folders: bool,
    /// Mapping a file shared is ENODEV.
    pub shared_maps: bool,
}

/// Mounted until it is dropped.
pub struct OddVolume {
    at: PathBuf,
    server: Option<JoinHandle<()>>,
}

impl OddVolume {
    /// Mounts it at a folder, which is made. `None`: that cannot be done here.
    pub fn mount(at: &Path, backing: &Path, lacks: Lacks) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        fs::create_dir_all(backing).unwrap();
        let mounted = Self::try_mount(at, backing, lacks);
        if mounted.is_none() {
            super::skip("/dev/fuse, and to be root, to mount");
        }
        mounted
    }

    fn try_mount(at: &Path, backing: &Path, lacks: Lacks) -> Option<Self> {
        let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
        rustix::io::fcntl_setfd(&device, FdFlags::empty()).unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let mount = Command::new("mount").args(["-i", "-t", "fuse", "-o", &options, "odd"]).arg(at).output().ok()?;
        rustix::io::fcntl_setfd(&device, FdFlags::CLOEXEC).unwrap();
        if !mount.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&mount.stderr));
            return None;
        }
        let top = rustix::fs::open(backing, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let server = std::thread::spawn(move || Server::new(device, top, lacks).run());
        Some(Self { at: at.to_owned(), server: Some(server) })
    }
}

impl Drop for OddVolume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        // It ends when the last process has left the volume, which a failing test does not wait for.
        drop(self.server.take());
    }
}

struct Node {
    file: OwnedFd,
    key: (u64, u64),
    lookups: u64,
}

struct Server {
    device: OwnedFd,
    lacks: Lacks,
    nodes: HashMap<u64, Node>,
    ids: HashMap<(u64, u64), u64>,
    next: u64,
    files: HashMap<u64, fs::File>,
    folders: HashMap<u64, Vec<(u64, u32, Vec<u8>)>>,
}

/// An answer under construction.
#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }
}

/// A request being read.
struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn u32(&mut self) -> u32 {
        let (head, rest) = self.0.split_at(4);
        self.0 = rest;
        u32::from_ne_bytes(head.try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        let (head, rest) = self.0.split_at(8);
        self.0 = rest;
        u64::from_ne_bytes(head.try_into().unwrap())
    }

    fn name(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let name = &self.0[..end];
        self.0 = &self.0[end + 1..];
        name
    }
}

type Answer = Result<Out, Errno>;

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// A path that leads to what an `O_PATH` descriptor stands for.
fn path_of(file: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

impl Server {
    fn new(device: OwnedFd, top: OwnedFd, lacks: Lacks) -> Self {
        let root = Node { file: top, key: (0, 0), lookups: 1 };
        Self {
            device,
            lacks,
            nodes: HashMap::from([(1, root)]),
            ids: HashMap::new(),
            next: 2,
            files: HashMap::new(),
            folders: HashMap::new(),
        }
    }

    fn run(mut self) {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let length = match rustix::io::read(&self.device, &mut buffer) {
                Ok(length) => length,
                Err(Errno::INTR | Errno::NOENT | Errno::AGAIN) => continue,
                // It was unmounted.
                Err(_) => return,
            };
            let mut request = In(&buffer[..length]);
            let (_, operation) = (request.u32(), request.u32());
            let (unique, node) = (request.u64(), request.u64());
            request.0 = &request.0[16..];
            if matches!(operation, 2 | 36 | 42) {
                self.forget(operation, node, request);
                continue;
            }
            let (error, body) = match self.answer(operation, node, request) {
                Ok(out) => (0, out.0),
                Err(errno) => (-errno.raw_os_error(), Vec::new()),
            };
            let length = u32::try_from(16 + body.len()).unwrap();
            let mut answer = length.to_ne_bytes().to_vec();
            answer.extend(error.to_ne_bytes());
            answer.extend(unique.to_ne_bytes());
            answer.extend(body);
            let _ = rustix::io::write(&self.device, &answer);
        }
    }

    fn forget(&mut self, operation: u32, node: u64, mut request: In<'_>) {
        let mut one = |node: u64, times: u64| {
            if let Some(known) = self.nodes.get_mut(&node).filter(|_| node != 1) {
                known.lookups = known.lookups.saturating_sub(times);
                if known.lookups == 0 {
                    self.ids.remove(&known.key);
                    self.nodes.remove(&node);
                }
            }
        };
        match operation {
            2 => one(node, request.u64()),
            42 => {
                let count = request.u32();
                let _ = request.u32();
                (0..count).for_each(|_| one(request.u64(), request.u64()));
            }
            _ => {}
        }
    }

    fn node(&self, id: u64) -> Result<&OwnedFd, Errno> {
        self.nodes.get(&id).map(|node| &node.file).ok_or(Errno::STALE)
    }

    fn attributes(&self, file: &OwnedFd) -> Result<Out, Errno> {
        let stat = rustix::fs::statat(file, "", AtFlags::EMPTY_PATH)?;
        let fixed = self.lacks.fixed_mode.filter(|_| FileType::from_raw_mode(stat.st_mode) != FileType::Symlink);
        let mode = fixed.map_or(stat.st_mode, |fixed| (stat.st_mode & !0o7777) | fixed);
        let out = Out::default().u64(stat.st_ino).u64(stat.st_size.cast_unsigned()).u64(stat.st_blocks.cast_unsigned());
        let seconds = [stat.st_atime, stat.st_mtime, stat.st_ctime];
        let parts = [stat.st_atime_nsec, stat.st_mtime_nsec, stat.st_ctime_nsec];
        let out = seconds.into_iter().fold(out, |out, seconds| out.u64(seconds.cast_unsigned()));
        let out = parts.into_iter().fold(out, |out, part| out.u32(u32::try_from(part).unwrap()));
        let out = out.u32(mode).u32(u32::try_from(stat.st_nlink).unwrap()).u32(stat.st_uid).u32(stat.st_gid);
        Ok(out.u32(0).u32(4096).u32(0))
    }

    /// Nothing is cached: the folder behind may change by itself.
    fn entry(&mut self, parent: u64, name: &[u8]) -> Answer {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.node(parent)?, name, flags, Mode::empty())?;
        let stat = rustix::fs::statat(&file, "", AtFlags::EMPTY_PATH)?;
        let attributes = self.attributes(&file)?;
        let key = (stat.st_dev, stat.st_ino);
        let next = self.next;
        let id = *self.ids.entry(key).or_insert(next);
        self.next = self.next.max(id + 1);
        self.nodes.entry(id).or_insert(Node { file, key, lookups: 0 }).lookups += 1;
        let mut out = Out::default().u64(id).u64(0).u64(0).u64(0).u32(0).u32(0);
        out.0.extend(attributes.0);
        Ok(out)
    }

    fn opened(&mut self, file: fs::File) -> Out {
        let handle = self.next;
        self.next += 1;
        self.files.insert(handle, file);
        Out::default().u64(handle).u32(u32::from(self.lacks.shared_maps)).u32(0)
    }

    fn answer(&mut self, operation: u32, node: u64, mut request: In<'_>) -> Answer {
        let done = Out::default;
        match operation {
            // LOOKUP
            1 => self.entry(node, request.name()),
            // GETATTR
            3 => {
                let mut out = done().u64(0).u32(0).u32(0);
                out.0.extend(self.attributes(self.node(node)?)?.0);
                Ok(out)
            }
            // SETATTR
            4 => self.set_attributes(node, request),
            // READLINK
            5 => Ok(Out(rustix::fs::readlinkat(self.node(node)?, "", Vec::new())?.into_bytes())),
            // SYMLINK
            6 => {
                let (name, target) = (request.name(), request.name());
                if self.lacks.symlinks {
                    return Err(Errno::PERM);
                }
                rustix::fs::symlinkat(target, self.node(node)?, name)?;
                self.entry(node, name)
            }
            // MKDIR
            9 => {
                let (mode, _) = (request.u32(), request.u32());
                let name = request.name();
                rustix::fs::mkdirat(self.node(node)?, name, Mode::RWXU)?;
                self.entry(node, name)?;
                self.set_mode_of(node, name, mode)?;
                self.entry(node, name)
            }
            // UNLINK, RMDIR
            10 => rustix::fs::unlinkat(self.node(node)?, request.name(), AtFlags::empty()).map(|()| done()),
            11 => rustix::fs::unlinkat(self.node(node)?, request.name(), AtFlags::REMOVEDIR).map(|()| done()),
            // RENAME, RENAME2
            12 | 45 => {
                let to = request.u64();
                let flags = if operation == 45 { (request.u32(), request.u32()).0 } else { 0 };
                let flags = RenameFlags::from_bits_retain(flags);
                if self.lacks.exchange && flags.contains(RenameFlags::EXCHANGE) {
                    return Err(Errno::INVAL);
                }
                let (old, new) = (request.name(), request.name());
                rustix::fs::renameat_with(self.node(node)?, old, self.node(to)?, new, flags).map(|()| done())
            }
            // LINK
            13 => {
                let from = path_of(self.node(request.u64())?);
                let name = request.name();
                rustix::fs::linkat(CWD, &from, self.node(node)?, name, AtFlags::SYMLINK_FOLLOW)?;
                self.entry(node, name)
            }
            // OPEN
            14 => {
                let flags = OFlags::from_bits_retain(request.u32()) & (OFlags::RWMODE | OFlags::APPEND | OFlags::TRUNC);
                let file = rustix::fs::open(path_of(self.node(node)?), flags | OFlags::CLOEXEC, Mode::empty())?;
                Ok(self.opened(file.into()))
            }
            // READ
            15 => {
                let (handle, offset) = (request.u64(), request.u64());
                let mut content = vec![0; request.u32() as usize];
                let file = self.files.get(&handle).ok_or(Errno::BADF)?;
                let length = file.read_at(&mut content, offset).map_err(errno)?;
                content.truncate(length);
                Ok(Out(content))
            }
            // WRITE
            16 => {
                let (handle, offset, size) = (request.u64(), request.u64(), request.u32());
                let file = self.files.get(&handle).ok_or(Errno::BADF)?;
                let written = file.write_at(&request.0[20..20 + size as usize], offset).map_err(errno)?;
                Ok(done().u32(u32::try_from(written).unwrap()).u32(0))
            }
            // STATFS
            17 => {
                let state = rustix::fs::statvfs(path_of(self.node(node)?))?;
                let out = done().u64(state.f_blocks).u64(state.f_bfree).u64(state.f_bavail);
                let out = out.u64(state.f_files).u64(state.f_ffree).u32(u32::try_from(state.f_bsize).unwrap());
                let out = out.u32(255).u32(u32::try_from(state.f_frsize).unwrap());
                Ok((0..7).fold(out, |out, _| out.u32(0)))
            }
            // RELEASE
            18 => {
                self.files.remove(&request.u64());
                Ok(done())
            }
            // FSYNC
            20 => {
                let file = self.files.get(&request.u64()).ok_or(Errno::BADF)?;
                file.sync_all().map_err(errno).map(|()| done())
            }
            // FSYNCDIR
            30 if self.lacks.fsync_on_folders => Err(Errno::INVAL),
            // FLUSH, FSYNCDIR, ACCESS, DESTROY
            25 | 30 | 34 | 38 => Ok(done()),
            // INIT
            26 => {
                let (_, _, ahead) = (request.u32(), request.u32(), request.u32());
                // Big writes; locks of flock, if it is to be refused here and not kept by the kernel.
                let flags = (1 << 5) | if self.lacks.flock { 1 << 10 } else { 0 };
                let out = done().u32(7).u32(31).u32(ahead).u32(flags).u32(0).u32(128 << 10).u32(1);
                Ok((0..9).fold(out, |out, _| out.u32(0)))
            }
            // OPENDIR, READDIR, RELEASEDIR
            27 => self.open_folder(node),
            28 => {
                let (handle, offset, size) = (request.u64(), request.u64(), request.u32() as usize);
                self.read_folder(handle, offset, size)
            }
            29 => {
                self.folders.remove(&request.u64());
                Ok(done())
            }
            // SETLK, SETLKW
            32 | 33 => Err(Errno::NOLCK),
            // CREATE
            35 => {
                let (flags, mode, _, _) = (request.u32(), request.u32(), request.u32(), request.u32());
                let name = request.name();
                let flags = OFlags::from_bits_retain(flags) & (OFlags::RWMODE | OFlags::EXCL | OFlags::TRUNC);
                let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(self.node(node)?, name, flags, Mode::RUSR | Mode::WUSR)?;
                self.set_mode_of(node, name, mode)?;
                let mut out = self.entry(node, name)?;
                out.0.extend(self.opened(file.into()).0);
                Ok(out)
            }
            _ => Err(Errno::NOSYS),
        }
    }

    fn set_mode_of(&self, parent: u64, name: &[u8], mode: u32) -> Result<(), Errno> {
        let path = path_of(self.node(parent)?).join(std::ffi::OsStr::from_bytes(name));
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777)).map_err(errno)
    }

    fn set_attributes(&mut self, node: u64, mut request: In<'_>) -> Answer {
        let (valid, _, _, size, _) = (request.u32(), request.u32(), request.u64(), request.u64(), request.u64());
        let (atime, mtime, _) = (request.u64(), request.u64(), request.u64());
        let (atime_part, mtime_part, _) = (request.u32(), request.u32(), request.u32());
        let (mode, _) = (request.u32(), request.u32());
        let (uid, gid) = (request.u32(), request.u32());
        let path = path_of(self.node(node)?);
        if valid & 1 != 0 {
            if self.lacks.chmod {
                return Err(Errno::PERM);
            }
            if self.lacks.fixed_mode.is_none() {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777)).map_err(errno)?;
            }
        }
        if valid & 6 != 0 {
            let (uid, gid) = ((valid & 2 != 0).then_some(uid), (valid & 4 != 0).then_some(gid));
            std::os::unix::fs::chown(&path, uid, gid).map_err(errno)?;
        }
        if valid & 8 != 0 {
            let file = fs::File::options().write(true).open(&path).map_err(errno)?;
            file.set_len(size).map_err(errno)?;
        }
        if valid & 0x1b0 != 0 {
            let time = |set: u32, now: u32, seconds: u64, part: u32| {
                let nanoseconds = match (valid & now != 0, valid & set != 0) {
                    (true, _) => UTIME_NOW,
                    (_, true) => i64::from(part),
                    _ => UTIME_OMIT,
                };
                Timespec { tv_sec: seconds.cast_signed(), tv_nsec: nanoseconds }
            };
            let last_access = time(16, 128, atime, atime_part);
            let times = Timestamps { last_access, last_modification: time(32, 256, mtime, mtime_part) };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty())?;
        }
        let mut out = Out::default().u64(0).u32(0).u32(0);
        out.0.extend(self.attributes(self.node(node)?)?.0);
        Ok(out)
    }

    fn open_folder(&mut self, node: u64) -> Answer {
        let mut entries = vec![(1, 4, b".".to_vec()), (1, 4, b"..".to_vec())];
        for entry in fs::read_dir(path_of(self.node(node)?)).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            // No type: the kernel asks for it.
            entries.push((std::os::unix::fs::DirEntryExt::ino(&entry), 0, entry.file_name().as_bytes().to_vec()));
        }
        let handle = self.next;
        self.next += 1;
        self.folders.insert(handle, entries);
        Ok(Out::default().u64(handle).u32(0).u32(0))
    }

    fn read_folder(&self, handle: u64, offset: u64, size: usize) -> Answer {
        let entries = self.folders.get(&handle).ok_or(Errno::BADF)?;
        let mut out = Out::default();
        for (number, (inode, kind, name)) in entries.iter().enumerate().skip(usize::try_from(offset).unwrap()) {
            let length = u32::try_from(name.len()).unwrap();
            if out.0.len() + (24 + name.len()).next_multiple_of(8) > size {
                break;
            }
            out = out.u64(*inode).u64(number as u64 + 1).u32(length).u32(*kind);
            out.0.extend(name);
            out.0.resize(out.0.len().next_multiple_of(8), 0);
        }
        Ok(out)
    }
}
