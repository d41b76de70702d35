//! Answers, and how they leave: bytes, and parts of files that are sent without being copied.

use std::io::{self, IoSlice};

use cauce_kafka::{Encoded, Response, Splice};
use cauce_log::Region;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Pieces that the system takes at once.
const SLICES_MAX: usize = 1024;

/// An answer, and the parts of files it refers to, in the order in which they are spliced in.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: Response,
    pub(super) regions: Vec<Region>,
}

impl<R: Into<Response>> From<R> for Reply {
    fn from(response: R) -> Reply {
        Reply { response: response.into(), regions: Vec::new() }
    }
}

/// Writes a message, and waits for the client to take it.
pub(super) async fn send(stream: &TcpStream, message: &Encoded, regions: &[Region]) -> io::Result<()> {
    let mut regions = regions.iter();
    let mut pending: Vec<&[u8]> = Vec::new();
    let mut at = 0;
    for (position, splice) in &message.splices {
        pending.push(&message.bytes[at..*position]);
        at = *position;
        match splice {
            Splice::Bytes(bytes) => pending.push(bytes),
            Splice::Elsewhere(length) => {
                let region = regions.next().expect("a region for each splice that is elsewhere");
                debug_assert_eq!(region.bytes, *length as u64);
                write_all(stream, std::mem::take(&mut pending), Then::More).await?;
                send_region(stream, region).await?;
            }
        }
    }
    pending.push(&message.bytes[at..]);
    write_all(stream, pending, Then::Nothing).await
}

/// What comes after some bytes: if more does, they need no packet of their own.
enum Then {
    More,
    Nothing,
}

async fn write_all(stream: &TcpStream, mut pieces: Vec<&[u8]>, then: Then) -> io::Result<()> {
    let flags = match then {
        Then::More => SendFlags::MORE,
        Then::Nothing => SendFlags::empty(),
    };
    pieces.retain(|piece| !piece.is_empty());
    let mut slices: Vec<IoSlice<'_>> = pieces.into_iter().map(IoSlice::new).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let slices = &left[..left.len().min(SLICES_MAX)];
        let send = || Ok(rustix::net::sendmsg(stream, slices, &mut SendAncillaryBuffer::default(), flags)?);
        let count = stream.async_io(Interest::WRITABLE, send).await?;
        IoSlice::advance_slices(&mut left, count);
    }
    Ok(())
}

/// From the file to the socket, where the system can.
async fn send_region(stream: &TcpStream, region: &Region) -> io::Result<()> {
    let Some(file) = region.fd() else {
        let bytes = region.read()?;
        return write_all(stream, vec![&bytes], Then::Nothing).await;
    };
    let (mut position, end) = (region.position, region.position + region.bytes);
    while position < end {
        let left = (end - position) as usize;
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                Ok(rustix::fs::sendfile(stream, file, Some(&mut position), left)?)
            })
            .await?;
        if sent == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before its batches do"));
        }
    }
    Ok(())
}
