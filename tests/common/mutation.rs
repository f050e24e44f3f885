//! Damaged and hostile variants of good files.

use latco_plan::Noise;
use mutatis::{Candidates, Mutate, Result, Session};

/// Changes bytes of files: single ones, and in the larger ways that parsers stumble over.
pub struct Mutation {
    session: Session,
    choices: Noise,
    edits: Edits,
}

impl Mutation {
    /// Edits that `seed` determines; `tokens` are words that the files' format knows.
    pub fn new(seed: u64, tokens: &'static [&'static str]) -> Self {
        Self {
            session: Session::new().seed(seed),
            choices: Noise::new(seed),
            edits: Edits { tokens },
        }
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        let share = 0.5 + 0.5 * f64::from(self.choices.uniform_scalar());
        ((share * count as f64) as usize).min(count - 1)
    }

    /// `bytes` after an edit, and as often as not another, and another.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        loop {
            let edited = match self.below(2) {
                0 => self.session.mutate(bytes),
                _ => self.session.mutate_with(&mut self.edits, bytes),
            };
            edited.expect("there is always an edit");
            if self.below(2) == 0 {
                return;
            }
        }
    }
}

/// Edits of many bytes at once.
struct Edits {
    tokens: &'static [&'static str],
}

/// Numbers at the edges of their types, which lengths and counts are replaced with.
const EDGES: [u64; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

impl Mutate<Vec<u8>> for Edits {
    fn mutate(&mut self, candidates: &mut Candidates, bytes: &mut Vec<u8>) -> Result<()> {
        candidates.mutation(|context| {
            let random = context.rng();
            let edge = EDGES[random.gen_index(EDGES.len()).unwrap_or(0)];
            let width = [1, 2, 4, 8][random.gen_index(4).unwrap_or(0)];
            let at = random.gen_index(bytes.len()).unwrap_or(0);
            for (byte, edge) in bytes[at..].iter_mut().zip(&edge.to_le_bytes()[..width]) {
                *byte = *edge;
            }
            Ok(())
        })?;
        candidates.mutation(|context| {
            let random = context.rng();
            let token = self.tokens[random.gen_index(self.tokens.len()).unwrap_or(0)];
            let at = random.gen_index(bytes.len() + 1).unwrap_or(0);
            let replaced = random.gen_index(bytes.len() - at + 1).unwrap_or(0).min(16);
            bytes.splice(at..at + replaced, token.bytes());
            Ok(())
        })?;
        candidates.mutation(|context| {
            let range = any_range(context.rng(), bytes.len());
            bytes.drain(range);
            Ok(())
        })?;
        candidates.mutation(|context| {
            let random = context.rng();
            let copied = bytes[any_range(random, bytes.len())].to_vec();
            let at = random.gen_index(bytes.len() + 1).unwrap_or(0);
            bytes.splice(at..at, copied);
            Ok(())
        })?;
        candidates.mutation(|context| {
            bytes.truncate(context.rng().gen_index(bytes.len()).unwrap_or(0));
            Ok(())
        })
    }
}

/// At most 64 bytes, so that files keep their size by and large.
fn any_range(random: &mut mutatis::Rng, length: usize) -> std::ops::Range<usize> {
    let start = random.gen_index(length).unwrap_or(0);
    let most = (length - start).min(64);
    start..start + random.gen_index(most + 1).unwrap_or(0)
}
