//! Watches a tree between its check and its use as a standby tree, so that changes by other processes are noticed without a
//! second walk.
//!
//! The source is inotify(7). It reports writes through a descriptor that was open before, names that are created by a
//! process whose working directory is in the tree, and changes by root. It does not report writes through memory maps and
//! through second hard links, nor changes by other machines on a network file system, where trees are therefore not
//! watched. So a watched tree is compared with its commit later, and an unwatched one right after it was published. It must
//! not know of commits.

use std::os::fd::OwnedFd;

use crate::publish::folder::baseline::Baseline;

#[cfg(target_os = "linux")]
pub(crate) use linux::Watch;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Watch;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{HashMap, HashSet};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, AsRawFd};
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
    use rustix::fs::{FsWord, Stat};
    use rustix::io::Errno;

    use super::{Baseline, OwnedFd};
    use crate::publish::folder;

    /// The most folders of a watched tree: each takes about a kilobyte of the kernel's memory, and the number of watches is
    /// limited for all processes of a user (`fs.inotify.max_user_watches`).
    const MOST_FOLDERS: usize = 4096;

    /// Local file systems, all of whose changes the kernel sees: tmpfs, ext4, XFS, btrfs (statfs(2)).
    const LOCAL: [FsWord; 4] = [0x0102_1994, 0xef53, 0x5846_5342, 0x9123_683e];

    /// The reported changes of a folder and its files. Reads are not reported, and this program may rename the folder.
    const CHANGES: WatchFlags = WatchFlags::MODIFY
        .union(WatchFlags::ATTRIB)
        .union(WatchFlags::CREATE)
        .union(WatchFlags::DELETE)
        .union(WatchFlags::MOVED_FROM)
        .union(WatchFlags::MOVED_TO)
        .union(WatchFlags::DELETE_SELF)
        .union(WatchFlags::ONLYDIR)
        .union(WatchFlags::EXCL_UNLINK);

    /// The watched folders of a tree.
    #[derive(Debug)]
    pub(crate) struct Watch {
        reports: OwnedFd,
        /// Paths inside the tree.
        folders: HashMap<i32, Vec<u8>>,
        /// True once other processes changed something, or may have done so without a report.
        disturbed: AtomicBool,
    }

    impl Watch {
        /// Creates a watch without folders. `None` where changes are not reported reliably, or not at all.
        pub(crate) fn begin(top: &OwnedFd) -> Option<Self> {
            let is_local = rustix::fs::fstatfs(top).is_ok_and(|state| LOCAL.contains(&state.f_type));
            let reports = is_local.then(|| init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK))?.ok()?;
            Some(Self { reports, folders: HashMap::new(), disturbed: AtomicBool::new(false) })
        }

        /// Watches an open folder with that path inside the tree. To be called before the folder's entries are read.
        pub(crate) fn add(&mut self, folder: &OwnedFd, path: &[u8]) {
            if *self.disturbed.get_mut() {
                return;
            }
            let at = format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd());
            match add_watch(&self.reports, at, CHANGES) {
                Ok(watched) if self.folders.len() < MOST_FOLDERS => {
                    self.folders.insert(watched, path.to_vec());
                }
                _ => self.give_up(),
            }
        }

        /// Ends the watch, because a tree has to be watched completely or not at all.
        fn give_up(&mut self) {
            *self.disturbed.get_mut() = true;
            self.folders = HashMap::new();
            // Dropping the last descriptor removes its watches, and keeps no reports.
            if let Ok(empty) = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
                self.reports = empty;
            }
        }

        /// Returns true if no change was reported since the last call or [`Self::settle`].
        pub(crate) fn is_quiet(&self) -> bool {
            if !self.is_disturbed() {
                self.read(|_, _, _| false);
            }
            !self.is_disturbed()
        }

        /// Skips the reports of changes by this program, which the baseline contains.
        pub(crate) fn settle(&self, baseline: &Baseline, top: &OwnedFd) {
            if self.is_disturbed() {
                return;
            }
            // Each file that is written is reported several times. Later reports are left to the next call.
            let mut reported = HashSet::new();
            self.read(|kind, path, name| {
                reported.insert((path.to_vec(), name.to_vec()));
                // The content of a new folder is not watched.
                !kind.contains(ReadFlags::ISDIR) || !kind.intersects(ReadFlags::CREATE.union(ReadFlags::MOVED_TO))
            });
            if !reported.iter().all(|(path, name)| is_ours(baseline, top, path, name)) {
                self.disturbed.store(true, Ordering::Relaxed);
            }
        }

        fn is_disturbed(&self) -> bool {
            self.disturbed.load(Ordering::Relaxed)
        }

        /// Reads the reports, until one is not skipped.
        fn read(&self, mut pass_over: impl FnMut(ReadFlags, &[u8], &[u8]) -> bool) {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(&self.reports, &mut buffer);
            let quiet = loop {
                match reader.next() {
                    Ok(report) => {
                        let name = report.file_name().map_or(&b""[..], |name| name.to_bytes());
                        // The report about a folder that this program removed.
                        let is_end = report.events().contains(ReadFlags::IGNORED);
                        // A report without a folder means that the kernel's queue overflowed.
                        let path = self.folders.get(&report.wd());
                        if !is_end && !path.is_some_and(|path| pass_over(report.events(), path, name)) {
                            break false;
                        }
                    }
                    Err(Errno::INTR) => {}
                    Err(errno) => break errno == Errno::AGAIN,
                }
            };
            if !quiet {
                self.disturbed.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Returns true if a path is in the state in which this program left it: the file itself, or no file in an unchanged
    /// folder.
    fn is_ours(baseline: &Baseline, top: &OwnedFd, path: &[u8], name: &[u8]) -> bool {
        let (mut path, mut name) = (path.to_vec(), name.to_vec());
        loop {
            match stat_of(top, &path, &name) {
                Ok(Some(stat)) => return baseline.holds(&path, &name, &stat),
                Err(_) => return false,
                Ok(None) if path.is_empty() && name.is_empty() => return false,
                Ok(None) if name.is_empty() => {
                    // The folder is gone, so the one above it is checked.
                    path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                }
                Ok(None) => name.clear(),
            }
        }
    }

    /// Returns the `stat` of a name in a folder, or of the folder itself if the name is empty. No link is followed.
    fn stat_of(top: &OwnedFd, path: &[u8], name: &[u8]) -> Result<Option<Stat>, Errno> {
        let mut folder = folder::open(top, b".")?;
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            folder = match folder::open(&folder, part) {
                Ok(inner) => inner,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(errno),
            };
        }
        if name.is_empty() { rustix::fs::fstat(&folder).map(Some) } else { folder::stat(&folder, name) }
    }

    #[cfg(test)]
    mod tests {
        use std::fs;
        use std::io::Write as _;
        use std::thread;
        use std::time::Duration;

        use super::*;
        use crate::publish::folder::Stamp;
        use crate::publish::folder::baseline::{Mark, mark_folder};

        type Act = (&'static str, fn(&std::path::Path));

        struct Site {
            folder: tempfile::TempDir,
            top: OwnedFd,
            watch: Watch,
            baseline: Baseline,
        }

        /// Creates a watched folder with a file and a folder; `None` where watches are not available.
        fn site() -> Option<Site> {
            let folder = tempfile::TempDir::new().unwrap();
            fs::create_dir(folder.path().join("d")).unwrap();
            fs::write(folder.path().join("d/inner"), "1").unwrap();
            fs::write(folder.path().join("file"), "1").unwrap();
            let top = folder::open_path(&folder.path().canonicalize().unwrap()).unwrap();
            thread::sleep(Duration::from_millis(30));
            let baseline = Baseline::at(Stamp::now(&top, b"moment").unwrap());
            thread::sleep(Duration::from_millis(30));
            let mut watch = Watch::begin(&top)?;
            watch.add(&top, b"");
            watch.add(&folder::open(&top, b"d").unwrap(), b"d");
            Some(Site { folder, top, watch, baseline })
        }

        #[test]
        fn every_change_of_others_is_noticed_and_reading_is_none() {
            let acts: [Act; 7] = [
                ("edits a file", |top| fs::write(top.join("d/inner"), "2").unwrap()),
                ("makes a file", |top| fs::write(top.join("d/new"), "2").unwrap()),
                ("removes a file", |top| fs::remove_file(top.join("file")).unwrap()),
                ("renames a file", |top| fs::rename(top.join("file"), top.join("d/file")).unwrap()),
                ("makes a folder", |top| fs::create_dir(top.join("new")).unwrap()),
                ("removes a folder", |top| fs::remove_dir_all(top.join("d")).unwrap()),
                ("changes a time", |top| {
                    let file = fs::File::options().write(true).open(top.join("file")).unwrap();
                    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
                }),
            ];
            for (what, act) in acts {
                let Some(site) = site() else { return };
                let top = site.folder.path();
                fs::read(top.join("d/inner")).unwrap();
                fs::read_dir(top).unwrap().for_each(drop);
                assert!(site.watch.is_quiet());
                act(top);
                assert!(!site.watch.is_quiet(), "{what}");
                assert!(!site.watch.is_quiet(), "{what}: it is not forgotten");
                let Some(site) = self::site() else { return };
                act(site.folder.path());
                site.watch.settle(&site.baseline, &site.top);
                assert!(!site.watch.is_quiet(), "{what}: the baseline does not know of it");
            }
        }

        #[test]
        fn a_descriptor_that_was_open_before_is_noticed() {
            let folder = tempfile::TempDir::new().unwrap();
            let mut file = fs::File::create(folder.path().join("file")).unwrap();
            let top = folder::open_path(&folder.path().canonicalize().unwrap()).unwrap();
            let Some(mut watch) = Watch::begin(&top) else { return };
            watch.add(&top, b"");
            assert!(watch.is_quiet());
            file.write_all(b"1").unwrap();
            assert!(!watch.is_quiet());
        }

        #[test]
        fn what_the_baseline_knows_is_passed_over() {
            let Some(site) = site() else { return };
            let Site { folder, top, watch, baseline } = &site;
            let path = folder.path();
            fs::remove_file(path.join("d/inner")).unwrap();
            fs::remove_file(path.join("file")).unwrap();
            fs::write(path.join("file"), "2").unwrap();
            let d = folder::open(top, b"d").unwrap();
            let marks = vec![
                (b"file".to_vec(), Mark::of(&folder::stat(top, b"file").unwrap().unwrap())),
                (Vec::new(), mark_folder(top, [&b"file"[..], b"d"]).unwrap().unwrap()),
                (b"d".to_vec(), mark_folder(&d, []).unwrap().unwrap()),
            ];
            let baseline = baseline.with(marks);
            watch.settle(&baseline, top);
            assert!(watch.is_quiet());
            // A removed folder's own reports arrive after it is gone.
            fs::remove_dir(path.join("d")).unwrap();
            let above = mark_folder(top, [&b"file"[..]]).unwrap().unwrap();
            watch.settle(&baseline.with(vec![(Vec::new(), above)]), top);
            assert!(watch.is_quiet());
            fs::write(path.join("file"), "3").unwrap();
            assert!(!watch.is_quiet());
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::{Baseline, OwnedFd};

    /// No tree is watched on this system.
    #[derive(Debug)]
    pub(crate) enum Watch {}

    impl Watch {
        pub(crate) fn begin(_top: &OwnedFd) -> Option<Self> {
            None
        }

        pub(crate) fn add(&mut self, _folder: &OwnedFd, _path: &[u8]) {
            match *self {}
        }

        pub(crate) fn is_quiet(&self) -> bool {
            match *self {}
        }

        pub(crate) fn settle(&self, _baseline: &Baseline, _top: &OwnedFd) {
            match *self {}
        }
    }
}
