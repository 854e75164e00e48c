//! Skipping items of any kind: without recursion, to a bounded depth, and refusing what is not well-formed.

use super::{ARRAY, BYTES, INDEFINITE, MAP, Reader, Result, SIMPLE, TAG, TEXT};
use crate::{limits, repo::DecodeError};

/// What is left to skip of an array or map.
#[derive(Clone, Copy)]
enum Open {
    /// So many items.
    Items(u64),
    /// Items up to a break; `keyed` when it is a map, and `odd` when a key waits for its value.
    UntilBreak { keyed: bool, odd: bool },
}

/// What was skipped.
enum Skipped {
    /// An item.
    Whole,
    /// The header of an array or map.
    Opened(Open),
    /// A break.
    Break,
}

impl Reader<'_> {
    /// Skips one item of any kind.
    pub(in crate::repo) fn skip(&mut self, field: &'static str) -> Result<()> {
        match self.skip_head(field)? {
            Skipped::Whole => Ok(()),
            Skipped::Opened(open) => self.skip_rest(open, field),
            Skipped::Break => Err(DecodeError::Malformed { field, at: self.at - 1 }),
        }
    }

    /// Skips what is left of an array or map, and of those within it, on a stack of fixed size.
    fn skip_rest(&mut self, open: Open, field: &'static str) -> Result<()> {
        let mut stack = [open; limits::NESTING];
        let mut depth = 1;
        while depth > 0 {
            let top = &mut stack[depth - 1];
            let start = self.at;
            match top {
                Open::Items(0) => {
                    depth -= 1;
                    continue;
                }
                Open::Items(n) => *n -= 1,
                Open::UntilBreak { odd, .. } => *odd = !*odd,
            }
            match self.skip_head(field)? {
                Skipped::Whole => {}
                Skipped::Opened(_) if depth == limits::NESTING => {
                    return Err(DecodeError::TooDeep { field, at: start });
                }
                Skipped::Opened(open) => {
                    stack[depth] = open;
                    depth += 1;
                }
                // A map's break must not stand between a key and its value. `odd` counts the break itself already.
                Skipped::Break => match stack[depth - 1] {
                    Open::UntilBreak { keyed, odd } if odd || !keyed => depth -= 1,
                    _ => return Err(DecodeError::Malformed { field, at: start }),
                },
            }
        }
        Ok(())
    }

    /// Skips a scalar, a string, or the header of an array or map.
    fn skip_head(&mut self, field: &'static str) -> Result<Skipped> {
        let mut head = self.head(field)?;
        while head.major == TAG {
            head = self.head(field)?;
            if head.is_break() {
                return Err(DecodeError::Malformed { field, at: head.at });
            }
        }
        match (head.major, head.info) {
            (BYTES | TEXT, INDEFINITE) => {
                while let Some(piece) = self.piece(head.major, field)? {
                    self.take(piece.argument, field)?;
                }
            }
            (BYTES | TEXT, _) => {
                self.take(head.argument, field)?;
            }
            (ARRAY | MAP, INDEFINITE) => {
                return Ok(Skipped::Opened(Open::UntilBreak {
                    keyed: head.major == MAP,
                    odd: false,
                }));
            }
            (ARRAY, _) => return Ok(Skipped::Opened(Open::Items(head.argument))),
            // More items than a frame can hold need not be counted exactly.
            (MAP, _) => return Ok(Skipped::Opened(Open::Items(head.argument.saturating_mul(2)))),
            (SIMPLE, INDEFINITE) => return Ok(Skipped::Break),
            _ => {}
        }
        Ok(Skipped::Whole)
    }
}
