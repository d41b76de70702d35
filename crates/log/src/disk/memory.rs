//! A disk in memory that can lose power.

mod gate;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use gate::Gate;

use super::{Disk, DiskFile};

/// A simulated disk that remembers what was flushed and what was merely written, so that [`MemoryDisk::crash`]
/// can show what a power cut leaves. Clones share the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct State {
    /// What the running program sees.
    tree: Tree,
    /// The names that survive a power cut.
    durable_tree: Tree,
    /// Changes of names since, oldest first.
    unsynced_names: Vec<NameChange>,
    contents: Vec<Content>,
    now_ms: i64,
    syncs: u64,
    syncs_until_power_cut: Option<u64>,
    power_is_cut: bool,
}

type Tree = BTreeMap<PathBuf, Entry>;
type ContentId = usize;

#[derive(Clone, Copy)]
enum Entry {
    Directory,
    File(ContentId),
}

enum NameChange {
    Add(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    durable_bytes: Vec<u8>,
    /// Changes since the last flush, oldest first.
    unsynced: Vec<ContentChange>,
    modified_ms: i64,
}

enum ContentChange {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl MemoryDisk {
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// How many flushes there were: of a file, or of a directory; a group flush counts each of its
    /// files and directories.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Moves the clock that says when files were written to. It starts at 0.
    pub fn set_time(&self, now_ms: i64) {
        self.lock().now_ms = now_ms;
    }

    /// Lets `syncs` flushes (counted from the start of this disk) through and cuts the power when the next one
    /// begins. The program runs on unaware, but nothing it does from then on reaches the durable image.
    pub fn freeze_at_sync(&self, syncs: u64) {
        let mut state = self.lock();
        state.syncs_until_power_cut = Some(syncs);
        state.power_is_cut = state.syncs > syncs;
    }

    /// Lets every flush from now on wait, whoever asked for it with it: for [`MemoryDisk::let_one_sync_through`], or for
    /// [`MemoryDisk::release_syncs`]. Files and directories that are flushed together wait once.
    pub fn hold_syncs(&self) {
        self.gate.hold();
    }

    /// Whether a flush waits.
    pub fn holds_a_sync(&self) -> bool {
        self.gate.holds_one()
    }

    /// Lets one flush that waits go on; false if none waits.
    pub fn let_one_sync_through(&self) -> bool {
        self.gate.let_one_through()
    }

    /// Lets all flushes go on, and holds no more.
    pub fn release_syncs(&self) {
        self.gate.open();
    }

    /// The disk as the next start finds it after a power cut now: what was flushed, and nothing else.
    /// With a seed, a random part of the unflushed changes is there too: some of the writes of each file, the
    /// last of them torn, or zeros where they should be; and some of the changed names.
    pub fn crash(&self, torn: Option<u64>) -> MemoryDisk {
        let state = self.lock();
        let mut chance = torn.map(Chance);
        let mut names = state.durable_tree.clone();
        let kept = chance.as_mut().map_or(0, |chance| chance.up_to(state.unsynced_names.len()));
        state.unsynced_names[..kept].iter().for_each(|change| change.apply(&mut names));
        let contents = state.contents.iter().map(|content| Content {
            modified_ms: content.modified_ms,
            ..Content::durable(content.after_crash(&mut chance))
        });
        let contents = contents.collect();
        let tree = reachable(&names);
        let now_ms = state.now_ms;
        let after = State { durable_tree: tree.clone(), tree, contents, now_ms, ..State::default() };
        MemoryDisk { state: Arc::new(Mutex::new(after)), gate: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let names: Vec<_> = state.tree.keys().collect();
        formatter.debug_struct("MemoryDisk").field("syncs", &state.syncs).field("names", &names).finish()
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let ancestors: Vec<_> = dir.ancestors().filter(|ancestor| *ancestor != Path::new("")).collect();
        for ancestor in ancestors.into_iter().rev() {
            if !state.tree.contains_key(ancestor) {
                state.change_name(NameChange::Add(ancestor.to_owned(), Entry::Directory));
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let children = state.tree.keys().filter(|path| path.parent() == Some(dir));
        Ok(children.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.directory(path.parent().unwrap_or(Path::new("")))?;
        let id = match state.tree.get(path) {
            Some(Entry::File(id)) => *id,
            Some(Entry::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            None => {
                let id = state.contents.len();
                state.contents.push(Content::default());
                state.change_name(NameChange::Add(path.to_owned(), Entry::File(id)));
                id
            }
        };
        Ok(Arc::new(MemoryFile { state: self.state.clone(), gate: self.gate.clone(), id }))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let Some(Entry::File(_)) = state.tree.get(path) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.lock().change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if !state.tree.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.directory(to.parent().unwrap_or(Path::new("")))?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let _pass = self.gate.pass();
        let mut state = self.lock();
        state.directory(dir)?;
        if !state.count_sync() {
            return Ok(());
        }
        let changes = std::mem::take(&mut state.unsynced_names);
        let (inside, elsewhere) = changes.into_iter().partition(|change| change.is_in(dir));
        state.unsynced_names = elsewhere;
        let inside: Vec<NameChange> = inside;
        inside.iter().for_each(|change| change.apply(&mut state.durable_tree));
        Ok(())
    }

    fn sync(&self, files: &[Arc<dyn DiskFile>], dirs: &[PathBuf]) -> io::Result<()> {
        let _pass = self.gate.pass();
        files.iter().try_for_each(|file| file.sync_data())?;
        dirs.iter().try_for_each(|dir| self.sync_dir(dir))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl State {
    fn directory(&self, path: &Path) -> io::Result<()> {
        match self.tree.get(path) {
            Some(Entry::Directory) => Ok(()),
            None if path == Path::new("") => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.tree);
        if !self.power_is_cut {
            self.unsynced_names.push(change);
        }
    }

    /// Counts a flush; false when the power was cut before it.
    fn count_sync(&mut self) -> bool {
        self.syncs += 1;
        self.power_is_cut |= self.syncs_until_power_cut.is_some_and(|limit| self.syncs > limit);
        !self.power_is_cut
    }
}

impl NameChange {
    fn apply(&self, tree: &mut Tree) {
        match self {
            NameChange::Add(path, entry) => {
                tree.insert(path.clone(), *entry);
            }
            NameChange::Remove(path) => tree.retain(|other, _| !other.starts_with(path)),
            NameChange::Rename(from, to) => {
                if let Some(entry) = tree.remove(from) {
                    tree.insert(to.clone(), entry);
                }
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        match self {
            NameChange::Add(path, _) | NameChange::Remove(path) => path.parent() == Some(dir),
            NameChange::Rename(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

/// A file whose directory did not survive is lost with it.
fn reachable(names: &Tree) -> Tree {
    let is_reachable = |path: &Path| {
        path.ancestors().skip(1).all(|parent| parent == Path::new("") || names.contains_key(parent))
    };
    names.iter().filter(|(path, _)| is_reachable(path)).map(|(path, entry)| (path.clone(), *entry)).collect()
}

impl Content {
    fn durable(bytes: Vec<u8>) -> Content {
        Content { durable_bytes: bytes.clone(), bytes, ..Content::default() }
    }

    fn after_crash(&self, chance: &mut Option<Chance>) -> Vec<u8> {
        let mut bytes = self.durable_bytes.clone();
        let Some(chance) = chance else { return bytes };
        let whole = chance.up_to(self.unsynced.len());
        self.unsynced[..whole].iter().for_each(|change| change.apply(&mut bytes));
        if let Some(change) = self.unsynced.get(whole) {
            change.apply_torn(&mut bytes, chance);
        }
        bytes
    }
}

impl ContentChange {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            ContentChange::SetLen(len) => bytes.resize(*len as usize, 0),
            ContentChange::Write(position, written) => {
                let start = *position as usize;
                let end = start + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[start..end].copy_from_slice(written);
            }
        }
    }

    /// A torn write leaves its beginning, or its beginning and then zeros where the rest should be.
    fn apply_torn(&self, bytes: &mut Vec<u8>, chance: &mut Chance) {
        let ContentChange::Write(position, written) = self else {
            return;
        };
        let mut torn = written[..chance.up_to(written.len())].to_vec();
        if chance.up_to(1) == 0 {
            torn.resize(written.len(), 0);
        }
        ContentChange::Write(*position, torn).apply(bytes);
    }
}

struct MemoryFile {
    state: Arc<Mutex<State>>,
    gate: Arc<Gate>,
    id: ContentId,
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MemoryFile({})", self.id)
    }
}

impl MemoryFile {
    fn change(&self, change: ContentChange) {
        let mut state = self.state.lock();
        let (power_is_cut, now_ms) = (state.power_is_cut, state.now_ms);
        let content = &mut state.contents[self.id];
        change.apply(&mut content.bytes);
        content.modified_ms = now_ms;
        if !power_is_cut {
            content.unsynced.push(change);
        }
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.state.lock();
        let rest = state.contents[self.id].bytes.get(position as usize..).unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.change(ContentChange::Write(position, bytes.to_vec()));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().contents[self.id].bytes.len() as u64)
    }

    fn modified_ms(&self) -> io::Result<i64> {
        Ok(self.state.lock().contents[self.id].modified_ms)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(ContentChange::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let _pass = self.gate.pass();
        let mut state = self.state.lock();
        if state.count_sync() {
            let content = &mut state.contents[self.id];
            for change in std::mem::take(&mut content.unsynced) {
                change.apply(&mut content.durable_bytes);
            }
        }
        Ok(())
    }
}

/// Numbers from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    /// A number from zero to `max`, both included.
    fn up_to(&mut self, max: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % (max as u64 + 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_flushed_survives() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("a")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        file.write_all_at(b"flushed", 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(b" not", 7).unwrap();
        assert_eq!(content(&disk, "a"), b"flushed not");
        assert_eq!(content(&disk.crash(None), "a"), b"flushed");
    }

    #[test]
    fn a_file_whose_name_was_not_flushed_is_lost() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("a")).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        assert!(disk.crash(None).list(Path::new("")).unwrap().is_empty());
    }

    #[test]
    fn a_file_in_a_directory_whose_name_was_not_flushed_is_lost() {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("d/e")).unwrap();
        disk.open(Path::new("d/e/a")).unwrap();
        disk.sync_dir(Path::new("d/e")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        assert!(disk.crash(None).list(Path::new("d/e")).unwrap().is_empty());
        disk.sync_dir(Path::new("d")).unwrap();
        assert_eq!(disk.crash(None).list(Path::new("d/e")).unwrap(), ["a"]);
    }

    #[test]
    fn a_torn_write_leaves_a_beginning_or_zeros() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("a")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        file.write_all_at(b"abcdef", 0).unwrap();
        for seed in 0..100 {
            let left = content(&disk.crash(Some(seed)), "a");
            let kept = left.iter().take_while(|byte| **byte != 0).count();
            assert_eq!(left[..kept], b"abcdef"[..kept]);
            assert!(left[kept..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_flush_that_is_held_makes_nothing_durable_until_it_goes_on() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("a")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        file.write_all_at(b"1", 0).unwrap();
        disk.hold_syncs();
        let flushing = std::thread::spawn({
            let disk = disk.clone();
            move || (0..2).try_for_each(|_| disk.sync(std::slice::from_ref(&file), &[PathBuf::new()]))
        });
        for durable in [&b""[..], b"1"] {
            while !disk.holds_a_sync() {
                std::thread::yield_now();
            }
            assert_eq!(content(&disk.crash(None), "a"), durable);
            assert!(disk.let_one_sync_through());
        }
        flushing.join().unwrap().unwrap();
        assert!(!disk.let_one_sync_through());
        disk.hold_syncs();
        disk.release_syncs();
        disk.sync_dir(Path::new("")).unwrap();
        assert!(!disk.holds_a_sync());
    }

    #[test]
    fn after_the_power_cut_nothing_reaches_the_durable_image() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("a")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        disk.freeze_at_sync(2);
        for byte in [b"1", b"2", b"3"] {
            file.write_all_at(byte, 0).unwrap();
            file.sync_data().unwrap();
        }
        assert_eq!(disk.syncs(), 4);
        assert_eq!(content(&disk, "a"), b"3");
        assert_eq!(content(&disk.crash(None), "a"), b"1");
    }

    fn content(disk: &MemoryDisk, path: &str) -> Vec<u8> {
        super::super::read_all(&*disk.open(Path::new(path)).unwrap()).unwrap()
    }
}
