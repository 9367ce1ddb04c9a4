//! A plan as text: one line per step.

use crate::{Operand, Place, Plan, SlotId, Step};
use std::fmt::{self, Formatter};
use sublet_units::Bytes;

/// Totals, then inputs, steps and outputs. A slot is `%3 f32[2,8] @128` (`@` its offset in the arena, or
/// `dynamic`), a weight `w5`, a value known beforehand `#0 i64[2]`; `[4]` at the end of a step means that it
/// waits for the first four segments. Bodies of control flow are indented.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} steps, arena {}, {} known values of {}, {} segments",
            self.steps.len(),
            Bytes::from(self.arena_bytes),
            self.literals.len(),
            self.literals.iter().map(|literal| Bytes::from(literal.bytes().len())).sum::<Bytes>(),
            self.segments,
        )?;
        self.body(f, "")
    }
}

impl Plan {
    fn body(&self, f: &mut Formatter<'_>, indent: &str) -> fmt::Result {
        for input in &self.inputs {
            write!(f, "{indent}  in {} ", input.name)?;
            self.slot_text(f, input.slot)?;
            writeln!(f)?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            write!(f, "{indent}{index:>4} ")?;
            self.step(f, step)?;
            for body in &step.bodies {
                body.body(f, &format!("{indent}     | "))?;
            }
        }
        for output in &self.outputs {
            write!(f, "{indent} out {} ", output.name)?;
            self.operand(f, Some(output.from))?;
            writeln!(f)?;
        }
        Ok(())
    }

    fn step(&self, f: &mut Formatter<'_>, step: &Step) -> fmt::Result {
        write!(f, "{} = {}(", step.name, step.op)?;
        for (index, &input) in step.inputs.iter().enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            self.operand(f, input)?;
        }
        f.write_str(") -> ")?;
        for (index, output) in step.outputs.iter().enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            self.operand(f, output.map(Operand::Slot))?;
        }
        writeln!(f, " [{}]", step.segments)
    }

    fn operand(&self, f: &mut Formatter<'_>, operand: Option<Operand>) -> fmt::Result {
        match operand {
            None => f.write_str("_"),
            Some(Operand::Slot(id)) => self.slot_text(f, id),
            Some(Operand::Weight(id)) => write!(f, "w{}", id.0),
            Some(Operand::Literal(index)) => {
                write!(f, "#{index} {:?}", self.literals[index as usize])
            }
        }
    }

    fn slot_text(&self, f: &mut Formatter<'_>, id: SlotId) -> fmt::Result {
        let slot = self.slot(id);
        match &slot.place {
            Place::Arena { offset, shape } => {
                write!(f, "%{} {}{shape:?} @{offset}", id.0, slot.dtype)
            }
            Place::Dynamic => write!(f, "%{} {} dynamic", id.0, slot.dtype),
        }
    }
}
