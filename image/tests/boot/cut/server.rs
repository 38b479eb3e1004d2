//! A disk for QEMU that writes down all that is done to it: a server of the Network Block Device protocol on a UNIX
//! socket, with a write cache that a power cut empties.
//!
//! Numbers and layouts are those of <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>: fixed newstyle
//! negotiation, of whose options only `NBD_OPT_GO` opens the one export; then simple replies to reads, writes (with or
//! without forced unit access) and flushes. Zeroing and trimming are not offered, so that a client writes zeros.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::net::{RecvFlags, recv};

use super::disk::{Disk, SECTOR};
use super::journal::{Event, Journal};

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// `NBD_FLAG_FIXED_NEWSTYLE`, `NBD_FLAG_NO_ZEROES`.
const HANDSHAKE_FLAGS: u16 = 1 | 2;
/// `NBD_FLAG_HAS_FLAGS`, `NBD_FLAG_SEND_FLUSH`, `NBD_FLAG_SEND_FUA`.
const EXPORT_FLAGS: u16 = 1 | 4 | 8;

const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_ERROR_UNSUPPORTED: u32 = (1 << 31) + 1;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// `NBD_CMD_FLAG_FUA`.
const THROUGH: u16 = 1;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const ERROR_INVALID: u32 = 22;

/// The most bytes of one request, as the export says, and of one option.
const LARGEST: u32 = 32 << 20;
const LARGEST_OPTION: u32 = 64 << 10;

/// How it shows that a client has gone, be it in the middle of something.
const HAS_GONE: [ErrorKind; 3] = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];

/// A server of one disk to one client.
#[derive(Debug)]
pub(crate) struct Server {
    socket: PathBuf,
    happened: Arc<AtomicUsize>,
    thread: JoinHandle<io::Result<Journal>>,
}

impl Server {
    /// Serves `disk` on a socket that is made at `socket`.
    pub(crate) fn start(disk: Disk, socket: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let happened = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&happened);
        let thread = std::thread::spawn(move || {
            let (client, _) = listener.accept()?;
            let mut journal = Journal { disk: disk.clone(), events: Vec::new() };
            match serve(client, disk, &mut journal.events, &counter) {
                Err(error) if !HAS_GONE.contains(&error.kind()) => Err(error),
                _ => Ok(journal),
            }
        });
        Ok(Self { socket: socket.to_owned(), happened, thread })
    }

    /// How QEMU is told of the disk: the value of its option `-drive`, without the part that says what it is for.
    pub(crate) fn drive(&self) -> String {
        format!("driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={}", self.socket.display())
    }

    /// How many events have reached the disk. What was acknowledged to somebody before this was called needs no later
    /// one.
    pub(crate) fn happened(&self) -> usize {
        self.happened.load(Ordering::SeqCst)
    }

    /// What was done to the disk, once the client has gone.
    pub(crate) fn finish(self) -> io::Result<Journal> {
        self.thread.join().expect("the server does not panic")
    }
}

/// One client, from its first byte to its last.
fn serve(client: UnixStream, mut disk: Disk, events: &mut Vec<Event>, happened: &AtomicUsize) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 20, client);
    negotiate(&mut input, disk.size)?;
    loop {
        // All that was sent is read before any of it is answered: so what is answered is answered before what comes
        // next was sent, but for what the client sends in the very moment between.
        let mut requests = Vec::new();
        while requests.is_empty() || is_more(&input)? {
            requests.push(Request::read(&mut input)?);
        }
        let answered = events.len();
        let mut replies = Vec::new();
        for request in requests {
            if request.kind == DISCONNECT {
                return Ok(());
            }
            request.carry_out(&mut disk, events, answered, &mut replies)?;
        }
        happened.store(events.len(), Ordering::SeqCst);
        input.get_mut().write_all(&replies)?;
    }
}

/// Whether the client has sent more than was read.
fn is_more(input: &BufReader<UnixStream>) -> io::Result<bool> {
    if !input.buffer().is_empty() {
        return Ok(true);
    }
    match recv(input.get_ref(), &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Agrees with the client on the export.
fn negotiate(input: &mut BufReader<UnixStream>, size: u64) -> io::Result<()> {
    let greeting = [&MAGIC.to_be_bytes()[..], &OPTION_MAGIC.to_be_bytes(), &HANDSHAKE_FLAGS.to_be_bytes()].concat();
    input.get_mut().write_all(&greeting)?;
    let _client_flags: [u8; 4] = take(input)?;
    loop {
        if u64::from_be_bytes(take(input)?) != OPTION_MAGIC {
            return Err(io::Error::new(ErrorKind::InvalidData, "an option has the wrong magic number"));
        }
        let (option, length) = (u32::from_be_bytes(take(input)?), u32::from_be_bytes(take(input)?));
        if length > LARGEST_OPTION {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("an option of {length} bytes")));
        }
        io::copy(&mut input.by_ref().take(length.into()), &mut io::sink())?;
        let reply = |kind: u32, data: &[u8]| -> io::Result<Vec<u8>> {
            let length = u32::try_from(data.len()).map_err(io::Error::other)?.to_be_bytes();
            let (option, kind) = (option.to_be_bytes(), kind.to_be_bytes());
            Ok([&OPTION_REPLY_MAGIC.to_be_bytes()[..], &option, &kind, &length, data].concat())
        };
        match option {
            OPTION_GO => {
                let export = [&INFO_EXPORT.to_be_bytes()[..], &size.to_be_bytes(), &EXPORT_FLAGS.to_be_bytes()];
                let sizes = [u32::try_from(SECTOR).map_err(io::Error::other)?, 4096, LARGEST].map(u32::to_be_bytes);
                let blocks = [&INFO_BLOCK_SIZE.to_be_bytes()[..], &sizes.concat()];
                let replies = [
                    reply(REPLY_INFO, &export.concat())?,
                    reply(REPLY_INFO, &blocks.concat())?,
                    reply(REPLY_ACK, &[])?,
                ];
                return input.get_mut().write_all(&replies.concat());
            }
            // It has no reply that refuses: the connection is closed.
            OPTION_EXPORT_NAME => return Err(ErrorKind::BrokenPipe.into()),
            _ => input.get_mut().write_all(&reply(REPLY_ERROR_UNSUPPORTED, &[])?)?,
        }
    }
}

/// What a client wants.
struct Request {
    flags: u16,
    kind: u16,
    cookie: [u8; 8],
    offset: u64,
    length: u32,
    /// What is to be written.
    data: Vec<u8>,
}

impl Request {
    /// Reads one.
    fn read(input: &mut impl Read) -> io::Result<Self> {
        if u32::from_be_bytes(take(input)?) != REQUEST_MAGIC {
            return Err(io::Error::new(ErrorKind::InvalidData, "a request has the wrong magic number"));
        }
        let (flags, kind) = (u16::from_be_bytes(take(input)?), u16::from_be_bytes(take(input)?));
        let (cookie, offset) = (take(input)?, u64::from_be_bytes(take(input)?));
        let length = u32::from_be_bytes(take(input)?);
        if length > LARGEST {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a request for {length} bytes")));
        }
        let mut data = vec![0; if kind == WRITE { usize::try_from(length).map_err(io::Error::other)? } else { 0 }];
        input.read_exact(&mut data)?;
        Ok(Self { flags, kind, cookie, offset, length, data })
    }

    /// Does it; `answered` events were answered when it was sent.
    fn carry_out(
        self,
        disk: &mut Disk,
        events: &mut Vec<Event>,
        answered: usize,
        replies: &mut Vec<u8>,
    ) -> io::Result<()> {
        let end = self.offset.checked_add(self.length.into());
        let are_whole = [self.offset, self.length.into()].iter().all(|bytes| bytes.is_multiple_of(SECTOR as u64));
        let is_sound = end.is_some_and(|end| end <= disk.size) && are_whole;
        let mut read = Vec::new();
        let mut error = 0;
        match self.kind {
            READ if is_sound => {
                read.resize(usize::try_from(self.length).map_err(io::Error::other)?, 0);
                disk.read(self.offset, &mut read)?;
            }
            WRITE if is_sound => {
                disk.write(self.offset, &self.data);
                let through = self.flags & THROUGH != 0;
                events.push(Event::Write { offset: self.offset, data: self.data, through });
            }
            FLUSH => events.push(Event::Flush { covers: answered }),
            _ => error = ERROR_INVALID,
        }
        for part in [&REPLY_MAGIC.to_be_bytes()[..], &error.to_be_bytes(), &self.cookie, &read] {
            replies.extend_from_slice(part);
        }
        Ok(())
    }
}

/// The next bytes.
fn take<const COUNT: usize>(input: &mut impl Read) -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 8 * SECTOR as u64;

    /// A client on a server, past the greeting.
    struct Client {
        server: Server,
        stream: UnixStream,
        _folder: tempfile::TempDir,
    }

    impl Client {
        fn connect() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let image = folder.path().join("image");
            std::fs::write(&image, [7; SECTOR]).expect("written");
            let disk = Disk::open(&image, SIZE).expect("opened");
            let socket = folder.path().join("disk.sock");
            let server = Server::start(disk, &socket).expect("started");
            let mut stream = UnixStream::connect(socket).expect("it listens");
            let greeting: [u8; 18] = take(&mut stream).expect("greeted");
            assert_eq!(&greeting, b"NBDMAGICIHAVEOPT\0\x03");
            stream.write_all(&3_u32.to_be_bytes()).expect("read");
            Self { server, stream, _folder: folder }
        }

        /// Sends an option; answers the kind and the data of the first reply.
        fn option(&mut self, option: u32, data: &[u8]) -> (u32, Vec<u8>) {
            let length = u32::try_from(data.len()).expect("short").to_be_bytes();
            let message = [&OPTION_MAGIC.to_be_bytes()[..], &option.to_be_bytes(), &length, data].concat();
            self.stream.write_all(&message).expect("read");
            self.option_reply(option)
        }

        fn option_reply(&mut self, expected: u32) -> (u32, Vec<u8>) {
            assert_eq!(u64::from_be_bytes(take(&mut self.stream).expect("a reply")), OPTION_REPLY_MAGIC);
            assert_eq!(u32::from_be_bytes(take(&mut self.stream).expect("a reply")), expected);
            let kind = u32::from_be_bytes(take(&mut self.stream).expect("a reply"));
            let length = u32::from_be_bytes(take(&mut self.stream).expect("a reply"));
            let mut data = vec![0; length.try_into().expect("short")];
            self.stream.read_exact(&mut data).expect("a reply");
            (kind, data)
        }

        fn opened() -> Self {
            let mut client = Self::connect();
            let (kind, data) = client.option(OPTION_GO, &[0; 6]);
            assert_eq!((kind, &data[..2], &data[2..10]), (REPLY_INFO, &[0, 0][..], &SIZE.to_be_bytes()[..]));
            assert_eq!(u16::from_be_bytes([data[10], data[11]]), EXPORT_FLAGS, "it has a cache that can be flushed");
            let (kind, data) = client.option_reply(OPTION_GO);
            assert_eq!((kind, data[..6].to_vec()), (REPLY_INFO, vec![0, 3, 0, 0, 2, 0]), "blocks of 512 bytes");
            assert_eq!(client.option_reply(OPTION_GO), (REPLY_ACK, vec![]));
            client
        }

        /// Sends requests (kind, flags, sector, bytes) at once; the cookies are their numbers.
        fn send(&mut self, requests: &[(u16, u16, u64, u32)]) {
            let mut all = Vec::new();
            for (cookie, (kind, flags, sector, length)) in (0_u64..).zip(requests) {
                let offset = sector * SECTOR as u64;
                all.extend([&REQUEST_MAGIC.to_be_bytes()[..], &flags.to_be_bytes(), &kind.to_be_bytes()].concat());
                all.extend([&cookie.to_be_bytes()[..], &offset.to_be_bytes(), &length.to_be_bytes()].concat());
                let data = if *kind == WRITE { *length } else { 0 };
                all.extend(vec![9; data.try_into().expect("short")]);
            }
            self.stream.write_all(&all).expect("read");
        }

        /// The error and the data of a reply.
        fn reply(&mut self, cookie: u64, length: usize) -> (u32, Vec<u8>) {
            assert_eq!(u32::from_be_bytes(take(&mut self.stream).expect("a reply")), REPLY_MAGIC);
            let error = u32::from_be_bytes(take(&mut self.stream).expect("a reply"));
            assert_eq!(u64::from_be_bytes(take(&mut self.stream).expect("a reply")), cookie);
            let mut data = vec![0; length];
            self.stream.read_exact(&mut data).expect("a reply");
            (error, data)
        }

        fn finish(self) -> Vec<Event> {
            drop(self.stream);
            self.server.finish().expect("no trouble").events
        }
    }

    #[test]
    fn what_is_not_offered_is_refused_and_the_client_may_go_on() {
        let mut client = Client::connect();
        /// `NBD_OPT_STRUCTURED_REPLY`, which QEMU asks for first.
        const STRUCTURED_REPLY: u32 = 8;
        assert_eq!(client.option(STRUCTURED_REPLY, &[]), (REPLY_ERROR_UNSUPPORTED, vec![]));
        assert_eq!(client.option(OPTION_GO, &[0; 6]).0, REPLY_INFO);
        assert_eq!(client.finish(), []);
    }

    #[test]
    fn what_was_written_is_read_back_and_written_down() {
        let mut client = Client::opened();
        let sector = u32::try_from(SECTOR).expect("small");
        client.send(&[(WRITE, 0, 2, sector)]);
        assert_eq!(client.reply(0, 0), (0, vec![]));
        assert_eq!(client.server.happened(), 1);
        client.send(&[(FLUSH, 0, 0, 0)]);
        assert_eq!(client.reply(0, 0), (0, vec![]));
        client.send(&[(READ, 0, 0, 3 * sector)]);
        assert_eq!(client.reply(0, 3 * SECTOR), (0, [[7; SECTOR], [0; SECTOR], [9; SECTOR]].concat()));
        client.send(&[(WRITE, THROUGH, 0, sector)]);
        assert_eq!(client.reply(0, 0), (0, vec![]));
        let written = |sector: u64, through| {
            let offset = sector * SECTOR as u64;
            Event::Write { offset, data: vec![9; SECTOR], through }
        };
        assert_eq!(client.finish(), [written(2, false), Event::Flush { covers: 1 }, written(0, true)]);
    }

    #[test]
    fn a_flush_that_was_sent_before_an_answer_covers_nothing_of_that() {
        let mut client = Client::opened();
        let sector = u32::try_from(SECTOR).expect("small");
        client.send(&[(WRITE, 0, 0, sector), (FLUSH, 0, 0, 0)]);
        assert_eq!([client.reply(0, 0).0, client.reply(1, 0).0], [0, 0]);
        client.send(&[(FLUSH, 0, 0, 0)]);
        assert_eq!(client.reply(0, 0).0, 0);
        let flushes = client.finish().into_iter().filter(|event| matches!(event, Event::Flush { .. }));
        assert_eq!(flushes.collect::<Vec<_>>(), [Event::Flush { covers: 0 }, Event::Flush { covers: 2 }]);
    }

    #[test]
    fn what_lies_behind_the_disk_or_is_no_whole_sector_is_refused() {
        let mut client = Client::opened();
        let sector = u32::try_from(SECTOR).expect("small");
        client.send(&[
            (WRITE, 0, 8, sector),
            (READ, 0, 7, 2 * sector),
            (READ, 0, 0, 100),
            (READ, 0, u64::MAX >> 9, 512),
        ]);
        for cookie in 0..4 {
            assert_eq!(client.reply(cookie, 0), (ERROR_INVALID, vec![]), "request {cookie}");
        }
        assert_eq!(client.finish(), []);
    }
}
