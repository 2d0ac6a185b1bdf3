//! An assembler for classic BPF (bpf(4), Linux's networking/filter.rst): steps with labels in, instructions out.
//!
//! Conditional jumps reach 255 instructions, unconditional ones any; so a conditional step jumps around an
//! unconditional jump, and the length of a program never matters.

use socket2::SockFilter;

/// Instructions that the kernel takes (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

/// A place in the program, which need not be known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// What A is compared with, and how.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Equal(u32),
    AnyBit(u32),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Plain { code: u32, k: u32 },
    JumpIf(Test, Label),
    Jump(Label),
    Here(Label),
}

impl Step {
    fn length(self) -> usize {
        match self {
            Step::Plain { .. } | Step::Jump(_) => 1,
            Step::JumpIf(..) => 2,
            Step::Here(_) => 0,
        }
    }
}

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Program {
    steps: Vec<Step>,
    labels: usize,
}

const HALF: u32 = libc::BPF_LD | libc::BPF_H;
const BYTE: u32 = libc::BPF_LD | libc::BPF_B;
const WORD: u32 = libc::BPF_LD | libc::BPF_W;

impl Program {
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }

    pub fn here(&mut self, label: Label) {
        self.steps.push(Step::Here(label));
    }

    /// A = 16 bits at this offset of the captured bytes.
    pub fn load_half(&mut self, offset: u32) {
        self.plain(HALF | libc::BPF_ABS, offset);
    }

    /// A = 16 bits at X + offset.
    pub fn load_half_x(&mut self, offset: u32) {
        self.plain(HALF | libc::BPF_IND, offset);
    }

    /// A = the byte at X + offset.
    pub fn load_byte_x(&mut self, offset: u32) {
        self.plain(BYTE | libc::BPF_IND, offset);
    }

    /// A = 32 bits at X + offset.
    pub fn load_word_x(&mut self, offset: u32) {
        self.plain(WORD | libc::BPF_IND, offset);
    }

    /// A = what the kernel knows of the packet beside its bytes (`SKF_AD_…`).
    pub fn load_ancillary(&mut self, what: libc::c_int) {
        self.plain(WORD | libc::BPF_ABS, (libc::SKF_AD_OFF + what) as u32);
    }

    pub fn set_x(&mut self, value: u32) {
        self.plain(libc::BPF_LDX | libc::BPF_IMM, value);
    }

    pub fn and(&mut self, mask: u32) {
        self.plain(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask);
    }

    /// X = X + (A & 15) * 4, where A holds the first byte of an IPv4 header and X its place.
    pub fn skip_ipv4_header(&mut self) {
        self.and(0xf);
        self.plain(libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K, 2);
        self.plain(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0);
        self.plain(libc::BPF_MISC | libc::BPF_TAX, 0);
    }

    pub fn jump_if(&mut self, test: Test, to: Label) {
        self.steps.push(Step::JumpIf(test, to));
    }

    pub fn jump(&mut self, to: Label) {
        self.steps.push(Step::Jump(to));
    }

    /// The end: this many bytes of the packet are captured; 0 none.
    pub fn give(&mut self, bytes: u32) {
        self.plain(libc::BPF_RET | libc::BPF_K, bytes);
    }

    fn plain(&mut self, code: u32, k: u32) {
        self.steps.push(Step::Plain { code, k });
    }

    /// The instructions; `None` when the kernel would not take so many.
    pub fn assemble(&self) -> Option<Vec<SockFilter>> {
        let mut places = vec![0; self.labels + 1];
        let mut at = 0;
        for step in &self.steps {
            if let Step::Here(label) = step {
                places[label.0] = at;
            }
            at += step.length();
        }
        let mut code = Vec::with_capacity(at);
        self.steps.iter().for_each(|step| emit(*step, &places, &mut code));
        (code.len() <= LONGEST).then_some(code)
    }
}

fn emit(step: Step, places: &[usize], code: &mut Vec<SockFilter>) {
    match step {
        Step::Plain { code: operation, k } => code.push(SockFilter::new(operation as u16, 0, 0, k)),
        Step::JumpIf(test, to) => {
            let (operation, k) = match test {
                Test::Equal(k) => (libc::BPF_JEQ, k),
                Test::AnyBit(k) => (libc::BPF_JSET, k),
            };
            code.push(SockFilter::new((libc::BPF_JMP | operation | libc::BPF_K) as u16, 0, 1, k));
            emit(Step::Jump(to), places, code);
        }
        Step::Jump(to) => {
            // Labels lie ahead: classic BPF has no way back, and the compiler above writes none.
            let distance = places[to.0].saturating_sub(code.len() + 1) as u32;
            code.push(SockFilter::new((libc::BPF_JMP | libc::BPF_JA) as u16, 0, 0, distance));
        }
        Step::Here(_) => {}
    }
}
