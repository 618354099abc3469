//! A store as an archive, piece by piece.

use std::vec::IntoIter;

use super::Head;
use super::encode::Encoder;
use crate::snapshot::Snapshot;
use crate::{Error, Key, KeyValue, Position, Store};

/// How large pieces are, but for the last and for one with a large value in it.
const PIECE_BYTES: usize = 64 << 10;

/// An archive that is being made from one revision of a store. What it holds in memory does not grow with the store, but for
/// what a [`Snapshot`] of a local engine holds.
pub struct Export<'a> {
    snapshot: Snapshot<'a>,
    carried: fn(&Key) -> bool,
    /// None when the end was given.
    encoder: Option<Encoder>,
    /// What was written before the first key.
    begun: Vec<u8>,
    page: IntoIter<KeyValue>,
    position: Position,
}

impl std::fmt::Debug for Export<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("position", &self.position).finish_non_exhaustive()
    }
}

impl<'a> Export<'a> {
    /// Begins one of the store as it is now. Keys that are not `carried` are left out, and so are those under leases.
    ///
    /// # Errors
    /// What [`Store::snapshot`] answers.
    pub async fn begin(store: &'a dyn Store, carried: fn(&Key) -> bool) -> Result<Self, Error> {
        let snapshot = store.snapshot().await?;
        let position = snapshot.position();
        let (begun, page) = (Vec::new(), Vec::new().into_iter());
        let mut export = Self { snapshot, carried, encoder: None, begun, page, position };
        export.rewind()?;
        Ok(export)
    }

    /// Begins anew: the same pieces come again. So whoever has to say how long an archive is before it comes can see, and
    /// need not keep it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], which nobody has seen yet.
    pub fn rewind(&mut self) -> Result<(), Error> {
        self.snapshot.rewind();
        self.page = Vec::new().into_iter();
        self.begun.clear();
        let encoder = Encoder::begin(&Head::of(self.position), &mut self.begun)
            .map_err(|error| Error::InvalidArgument { field: "head", reason: error.to_string() })?;
        self.encoder = Some(encoder);
        Ok(())
    }

    /// The position at which the store is read.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The next bytes of the archive; none at its end. Pieces have about 64 KiB.
    ///
    /// # Errors
    /// What [`Store::range`] answers. What was given so far is no archive then, and readers notice that.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(None) };
        let mut piece = std::mem::take(&mut self.begun);
        while piece.len() < PIECE_BYTES {
            if let Some(pair) = self.page.next() {
                if pair.entry.lease.is_none() && (self.carried)(&pair.key) {
                    encoder.entry(&pair, &mut piece);
                }
                continue;
            }
            self.page = self.snapshot.next().await?.into_iter();
            if self.page.len() == 0 {
                encoder.end(&mut piece);
                return Ok(Some(piece));
            }
        }
        self.encoder = Some(encoder);
        Ok(Some(piece))
    }
}
