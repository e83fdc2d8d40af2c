//! The source of a history's random choices: a seed, or the script of a history to play again.

/// Numbers that decide what happens. The smaller a number is, the less happens. So a history gets
/// simpler if its numbers are made smaller or left out.
#[derive(Debug)]
pub(super) struct Tape {
    state: u64,
    script: Option<Vec<u32>>,
    taken: Vec<u32>,
    records: bool,
}

impl Tape {
    pub(super) fn seeded(seed: u64, records: bool) -> Self {
        Self {
            state: seed,
            script: None,
            taken: Vec::new(),
            records,
        }
    }

    /// The numbers of the script, and zeros after its end.
    pub(super) fn scripted(mut script: Vec<u32>) -> Self {
        script.reverse();
        Self {
            script: Some(script),
            ..Self::seeded(0, true)
        }
    }

    /// The numbers that were taken.
    pub(super) fn into_taken(self) -> Vec<u32> {
        self.taken
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let bound = bound.max(1);
        let number = match &mut self.script {
            Some(script) => script.pop().unwrap_or(0).min(bound - 1),
            None => self.random() % bound,
        };
        if self.records {
            self.taken.push(number);
        }
        number
    }

    /// True in one of `count` cases.
    pub(super) fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == count - 1
    }

    /// One of the choices. The first one makes the least trouble.
    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        let count = u32::try_from(choices.len()).unwrap_or(u32::MAX);
        choices[self.below(count) as usize]
    }

    /// The generator of `SplitMix64`.
    fn random(&mut self) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from(mixed >> 33).unwrap_or(0)
    }
}
