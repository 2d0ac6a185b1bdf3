//! What describes a property of a workload: its option, what it is by default, and its columns in csv.

use super::Workload;
use crate::units::Transport;

/// What a load has, and how it is called wherever it is typed, handed on or listed.
pub struct Property {
    /// What is typed after `--`; `None` of what follows from other properties, or from the target.
    pub option: Option<&'static str>,
    pub short: Option<char>,
    pub value: Value,
    /// One line, without the default.
    pub help: &'static str,
    /// More lines for the long help; may be empty.
    pub details: &'static str,
    /// Options that cannot be asked for together with it.
    pub excludes: &'static [&'static str],
    /// The transport that has it; `None` of what all have.
    pub only: Option<Transport>,
    pub compare: InCompare,
    /// What it is unless typed, to `ringload` and to `ringmark compare`.
    pub defaults: [Preset; 2],
    pub column: Option<Column>,
    /// As it would be typed; `None` where nothing is to be asked for.
    pub get: fn(&Workload) -> Option<String>,
    /// Takes what was typed; fails with what would be a value of it.
    pub set: fn(&mut Workload, &str) -> Result<(), String>,
}

/// What is typed after an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Flag,
    /// Any text that [`Property::set`] takes, and what the help calls it.
    Text(&'static str),
    /// One of these words, each with what it means. The second name is that of the value.
    OneOf(&'static str, &'static [(&'static str, &'static str)]),
    /// The name of a protocol that the generator speaks in datagrams: those are registered where they are implemented.
    DatagramProtocol(&'static str),
}

/// How `ringmark compare` has a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InCompare {
    Same,
    /// Under another name, because its own means something else there.
    Named(&'static str),
    /// Several of them, separated by commas, make several cells; the words say so.
    Several(&'static str),
    /// Decided by the comparison itself.
    Not,
}

/// What a property is where it was not typed.
#[derive(Clone, Copy, Debug)]
pub enum Preset {
    /// Not asked for.
    None,
    /// As if this had been typed.
    Is(&'static str),
    /// It follows from others, in words and in fact; or it is left to whoever makes the workload.
    Follows(&'static str, fn(&mut Workload)),
}

/// Whose defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    Ringload,
    Compare,
}

/// A column of csv; the name is as lasting as those of the schema.
#[derive(Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub value: fn(&Workload) -> String,
}

impl Property {
    pub fn default(&self, whose: Defaults) -> Preset {
        self.defaults[whose as usize]
    }
}

impl Preset {
    pub(super) fn fill(self, property: &Property, workload: &mut Workload) -> Result<(), String> {
        match self {
            Preset::None => Ok(()),
            Preset::Is(typed) => (property.set)(workload, typed),
            Preset::Follows(_, fill) => {
                fill(workload);
                Ok(())
            }
        }
    }
}

/// What most properties are like.
pub(super) const PLAIN: Property = Property {
    option: None,
    short: None,
    value: Value::Text("N"),
    help: "",
    details: "",
    excludes: &[],
    only: None,
    compare: InCompare::Same,
    defaults: [Preset::None; 2],
    column: None,
    get: |_| None,
    set: |_, _| Ok(()),
};
